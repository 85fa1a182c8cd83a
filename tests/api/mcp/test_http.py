"""POST /mcp with the client of the protocol's own package, in both generations of the protocol."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import AsyncGenerator
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from types import ModuleType
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from llava_gateway.api.mcp import http
from llava_gateway.api.mcp.tools import TOOLS
from llava_gateway.chat import EngineEvent, EngineRequest, TextDelta
from llava_gateway.errors import UpstreamDisconnected
from tests.api.conftest import Serve
from tests.pdfs import pdf
from tests.sample_images import encoded, noise
from tests.scripted_engine import ScriptedEngine, says, says_then_waits
from tests.serving import Served, until

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
HEADERS = {"Accept": "application/json, text/event-stream"}


def data_url(data: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@MODES
async def test_a_second_question_needs_no_upload(serve: Serve, red_circle: bytes, mode: Any) -> None:
    served = await serve(ScriptedEngine(says("Red.")))
    async with Client(f"{served.url}/mcp", mode=mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [*TOOLS]
        first = await client.call_tool("look_at_image", {"image": data_url(red_circle), "question": "Which colour?"})
        assert first.structured_content is not None
        (image,) = first.structured_content["images"]
        assert text_of(first).splitlines()[:3] == ["Red.", "", f"image_id: {image['image_id']}"]
        again = await client.call_tool("read_text", {"image": image["image_id"]})
        assert (again.is_error, again.structured_content and again.structured_content["images"]) == (False, [image])


async def test_a_page_of_a_pdf_and_several_images(serve: Serve, red_circle: bytes, blue_square: bytes) -> None:
    engine = ScriptedEngine(says("Two."))
    served = await serve(engine)
    async with Client(f"{served.url}/mcp") as client:
        pages = {"pdf": data_url(pdf("One", "Two")), "page": 2, "question": "What?"}
        assert not (await client.call_tool("describe_pdf_page", pages)).is_error
        both = {"images": [data_url(red_circle), data_url(blue_square)], "question": "Which?"}
        found = await client.call_tool("compare_images", both)
    assert found.structured_content is not None
    assert len(found.structured_content["images"]) == 2
    assert [len(request.images) for request in engine.requests] == [1, 2]


@MODES
async def test_errors_say_what_to_do(serve: Serve, mode: Any) -> None:
    async def breaks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.model:
            raise UpstreamDisconnected
        yield TextDelta("")

    served = await serve(ScriptedEngine(breaks))
    async with Client(f"{served.url}/mcp", mode=mode) as client:
        for arguments in (
            {"image": "photo.jpg", "question": "Why?"},
            {"image": data_url(b"no image"), "question": "Why?"},
            {"image": "ab" * 32, "question": "Why?"},
            {"image": "https://host.example/a.png", "question": "Why?"},
            {"question": "Why?"},
        ):
            result = await client.call_tool("look_at_image", arguments)
            assert result.is_error
            assert not text_of(result).startswith("Error executing tool")
        unknown = await client.call_tool("nothing", {})
        assert unknown.is_error


async def test_a_client_that_leaves_stops_the_engine(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine(says_then_waits("Red."))
    served = await serve(engine)
    arguments = {"image": data_url(red_circle), "question": "Why?"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "look_at_image", "arguments": arguments}}
    async with served.client.stream("POST", "/mcp", json=call, headers=HEADERS):
        await until(lambda: engine.running == 1)
    await until(lambda: engine.running == 0)


async def status(served: Served, **headers: str) -> int:
    return (await served.client.post("/mcp", json=PING, headers={**HEADERS, **headers})).status_code


async def test_the_rules_of_all_routes_hold(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), api_key="secret")
    key = {"Authorization": "Bearer secret"}
    assert await status(served) == 401
    assert await status(served, **key) == 200
    assert await status(served, **key, Host="evil.example") == 403
    assert await status(served, **key, Origin="http://evil.example") == 403
    assert (await served.client.get("/mcp", headers=key)).status_code == 405


@pytest.mark.wording
@pytest.mark.parametrize("found", ["1.9.4", None])
async def test_without_the_package_the_command_to_install_it_is_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(http, "version", version)
    served = await serve(ScriptedEngine())
    response: httpx2.Response = await served.client.post("/mcp", json=PING, headers=HEADERS)
    assert (response.status_code, response.json()["error"]["reason"]) == (404, "mcp_missing")
    assert "pip install 'llava-gateway[mcp]'" in response.json()["error"]["hint"]


async def test_the_package_is_imported_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def watched(name: str) -> ModuleType:
        threads.append(threading.current_thread())
        return import_module(name)

    monkeypatch.setattr(http, "import_module", watched)
    served = await serve(ScriptedEngine())
    assert await status(served) == 200
    assert threads
    assert threading.current_thread() not in threads


async def test_large_images_are_taken(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says("Grey.")))
    image = encoded(noise(1600, 1200, random.Random(1)))
    assert len(image) > 5 * 1024**2
    async with Client(f"{served.url}/mcp") as client:
        found = await client.call_tool("look_at_image", {"image": data_url(image), "question": "Which colour?"})
    assert not found.is_error


async def test_bodies_have_the_bounds_of_all_bodies(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    values = {**PING, "params": {"_meta": {"values": [[]] * 100_000}}}
    assert (await served.client.post("/mcp", json=values, headers=HEADERS)).status_code == 400
