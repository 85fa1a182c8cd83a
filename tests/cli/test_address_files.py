"""Commands find the gateways that `serve` started, and only those."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.cli.client import gateway_version
from tests.cli.program import Done, run, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folder is another one there")
ANYWHERE = {"LLAVA_GATEWAY_PORT": "", "LLAVA_GATEWAY_HOST": ""}


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """Make the folder of a user without a running gateway."""
    if gateway_version("http://127.0.0.1:8000") is not None:
        pytest.skip("a gateway runs on the port that is asked first")
    folder = tmp_path / "runtime"
    folder.mkdir()
    return folder


def sessions(runtime: Path, *arguments: str, **variables: str) -> Done:
    given: dict[str, Any] = {**ANYWHERE, "XDG_RUNTIME_DIR": str(runtime), **variables}
    return run("sessions", *arguments, **given)


def left(runtime: Path, url: str, pid: int) -> Path:
    """Write an address file without a gateway."""
    folder = runtime / "llava-gateway"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{pid}.json"
    file.write_text(json.dumps({"url": url, "pid": pid}))
    return file


async def test_every_command_finds_a_gateway_on_another_port(runtime: Path, red_circle: Path) -> None:
    variables: dict[str, Any] = {**ANYWHERE, "XDG_RUNTIME_DIR": str(runtime)}
    async with serving("--engine", "embedded", **variables) as (url, process):
        asked = await asyncio.to_thread(run, "ask", str(red_circle), "What shape is this?", "-v", **variables)
        chatted = await asyncio.to_thread(run, "chat", "-v", stdin=b"Hello\n", **variables)
        listed = await asyncio.to_thread(run, "models", **variables)
        found = await asyncio.to_thread(sessions, runtime)
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert "circle" in asked.out
    assert f"Asking the gateway at {url}." in asked.err
    assert f"Asking the gateway at {url}." in chatted.err
    assert "demo" in listed.out
    assert (found.code, "(no title)" in found.out or "Hello" in found.out) == (0, True)
    assert list((runtime / "llava-gateway").iterdir()) == []


async def test_the_note_is_private_and_holds_no_key(runtime: Path) -> None:
    variables: dict[str, Any] = {"XDG_RUNTIME_DIR": str(runtime), "LLAVA_GATEWAY_API_KEY": "a secret"}
    async with serving("--engine", "embedded", **variables) as (url, process):
        (file,) = (runtime / "llava-gateway").iterdir()
        assert json.loads(file.read_text()) == {"url": url, "pid": process.pid}
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_settings_that_name_an_address_mean_it(runtime: Path) -> None:
    async with serving("--engine", "embedded", XDG_RUNTIME_DIR=str(runtime)):
        done = await asyncio.to_thread(sessions, runtime, LLAVA_GATEWAY_PORT="9")
    assert done.code == 1
    assert "No gateway answers at http://127.0.0.1:9." in done.err


def test_a_note_of_a_process_that_is_gone_is_removed(runtime: Path, demo_url: str) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    file = left(runtime, demo_url, gone.pid)
    assert demo_url not in sessions(runtime, LLAVA_GATEWAY_HOST="").err
    assert not file.exists()


def test_an_address_at_which_nothing_answers_is_named(runtime: Path) -> None:
    left(runtime, "http://127.0.0.1:9", os.getpid())
    done = sessions(runtime)
    assert done.code == 1
    assert "No gateway answers at http://127.0.0.1:8000 or http://127.0.0.1:9." in done.err


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_a_folder_that_others_can_use_is_not_trusted(mode: int, runtime: Path, demo_url: str) -> None:
    left(runtime, demo_url, os.getpid()).parent.chmod(mode)
    assert sessions(runtime).code == 1
    (runtime / "llava-gateway").chmod(0o700)
    assert sessions(runtime).code == 0


def test_what_is_no_note_is_passed_over(runtime: Path, demo_url: str) -> None:
    folder = left(runtime, demo_url, os.getpid()).parent
    for number, text in enumerate(("", "[]", '{"url": 1}', '{"pid": "x", "url": "y"}')):
        (folder / f"x{number}.json").write_text(text)
    assert sessions(runtime).code == 0


def test_the_address_from_the_environment_goes_first(runtime: Path) -> None:
    done = sessions(runtime, LLAVA_GATEWAY_URL="http://127.0.0.1:7")
    assert "No gateway answers at http://127.0.0.1:7." in done.err
