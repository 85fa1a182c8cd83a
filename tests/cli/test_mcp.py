"""`llava-gateway mcp` with the client of the protocol's own package, in both generations of the protocol."""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ListRootsResult, Root, TextContent
from typer.testing import CliRunner

from llava_gateway.api.mcp import http
from llava_gateway.cli import mcp_server
from llava_gateway.cli.main import app
from llava_gateway.cli.mcp_server import folders, read_file
from llava_gateway.errors import InvalidRequest
from llava_gateway.settings import Settings
from tests.cli.program import environment
from tests.scripted_engine import ScriptedEngine, says_then_waits
from tests.serving import serving, until

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
QUESTION = "What color is the circle?"


def server(folder: Path, *flags: str, **variables: str) -> StdioServerParameters:
    arguments = ["-m", "llava_gateway", "mcp", *flags]
    return StdioServerParameters(command=sys.executable, args=arguments, cwd=str(folder), env=environment(**variables))


async def refused(url: str) -> dict[str, str]:
    """Return the gateway's own error about a file that is no image."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        body = {"prompt": QUESTION, "images": [base64.b64encode(b"no image").decode()]}
        error: dict[str, str] = (await http.post(f"{url}/ask", json=body, timeout=60)).json()["error"]
        return error


def copied(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(file, folder)


async def look(client: Client, image: str) -> tuple[bool, str]:
    """Ask about an image. Returns (is it an error, the first line)."""
    result = await client.call_tool("look_at_image", {"image": image, "question": QUESTION})
    (content,) = result.content
    assert isinstance(content, TextContent)
    return bool(result.is_error), content.text.partition("\n")[0]


@MODES
async def test_paths_are_those_of_the_working_directory(demo_url: str, red_circle: Path, tmp_path: Path, mode: Any) -> None:
    folder = tmp_path / "work"
    copied(red_circle, folder / "inner")
    async with Client(server(folder, "--url", demo_url), mode=mode) as client:
        assert await look(client, "inner/a red circle.png") == (False, "The circle is red.")
        assert await look(client, (folder / "inner" / red_circle.name).as_uri()) == (False, "The circle is red.")
        assert (await look(client, str(red_circle)))[0]
        assert (await look(client, "missing.png"))[0]


@MODES
async def test_roots_of_the_client_take_the_place_of_it(demo_url: str, red_circle: Path, tmp_path: Path, mode: Any) -> None:
    work, root = tmp_path / "work", tmp_path / "a root"
    copied(red_circle, work)
    copied(red_circle, root)

    async def roots(context: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=root.as_uri())])

    async with Client(server(work, "--url", demo_url), mode=mode, list_roots_callback=roots) as client:
        assert await look(client, str(root / red_circle.name)) == (False, "The circle is red.")
        assert await look(client, red_circle.name) == (False, "The circle is red.")
        assert (await look(client, str(work / red_circle.name)))[0]


async def test_without_a_gateway_one_is_started(red_circle: Path) -> None:
    async with Client(server(red_circle.parent)) as client:
        assert await look(client, red_circle.name) == (False, "The circle is red.")


async def test_an_agent_that_gives_up_stops_the_engine(red_circle: Path) -> None:
    engine = ScriptedEngine(says_then_waits("Red."))
    async with (
        serving(Settings(port=0, image_workers=1), [engine]) as served,
        Client(server(red_circle.parent, "--url", served.url)) as client,
    ):
        asking = asyncio.create_task(look(client, red_circle.name))
        await until(lambda: engine.running == 1)
        asking.cancel()
        await until(lambda: engine.running == 0)


async def test_errors_of_the_gateway_reach_the_agent(demo_url: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"no image")
    async with Client(server(tmp_path, "--url", demo_url)) as client:
        error = await refused(demo_url)
        assert await look(client, "text.png") == (True, f"{error['message']} {error['hint']}")
    async with Client(server(tmp_path, "--url", "http://127.0.0.1:9")) as client:
        assert (await look(client, "text.png"))[0]


@pytest.mark.wording
def test_without_the_package_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(http, "version", version)
    done = CliRunner().invoke(app, ["mcp"])
    assert done.exit_code == 1
    assert "pip install 'llava-gateway[mcp]'" in done.stderr


def test_folders_are_those_of_the_client_and_of_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    assert folders(None, ()) == (tmp_path,)
    assert folders((), ()) == ()
    assert folders(None, [other]) == (other,)
    assert folders((other.as_uri(),), [tmp_path]) == (other, tmp_path)
    monkeypatch.chdir(tmp_path.anchor)
    assert folders(None, ()) == ()


def test_a_file_outside_the_folders_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"bytes")
    (inside / "link.png").symlink_to(outside / "a.png")
    allowed = (inside,)
    assert base64.b64decode(read_file("a.png", "image", allowed)) == b"bytes"

    def reason(name: str) -> str:
        with pytest.raises(InvalidRequest) as caught:
            read_file(name, "image", allowed)
        assert caught.value.param == "image"
        return caught.value.reason

    for name in ("../out/a.png", "link.png", str(outside / "a.png"), str(outside / "missing.png"), "~/a.png", "/etc/passwd"):
        assert reason(name) == "path_outside"
    assert reason("missing.png") == reason(".") == "path_missing"
    assert reason("a\0.png") == reason("a" * 500) == "path_unreadable"
    monkeypatch.setattr(mcp_server, "MOST_BYTES", 4)
    assert reason("a.png") == "path_too_large"
