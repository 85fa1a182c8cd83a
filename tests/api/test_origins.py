"""The names that programs may use for the gateway, and the pages of other sites that may use it."""

from __future__ import annotations

import socket

import httpx2
import pytest
from starlette.datastructures import Headers

from llava_gateway.api.origins import AllowedOrigins, is_from_program, is_private_name
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

NODE = {"Accept-Language": "*", "Sec-Fetch-Mode": "cors", "User-Agent": "node"}
PAGE = "http://localhost:3000"


def code(response: httpx2.Response) -> str:
    found: str = response.json()["error"]["code"]
    return found


@pytest.mark.parametrize(
    "host", ["host.docker.internal", "box.local:8000", "x.localhost", "10.1.2.3", "192.168.1.5:8000", "172.17.0.1", "[fd00::1]:8000"]
)
@pytest.mark.parametrize("program", [{}, NODE], ids=["program", "node"])
def test_programs_may_use_private_names(demo: httpx2.Client, host: str, program: dict[str, str]) -> None:
    assert demo.get("/models", headers={"Host": host, **program}).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "http://box.local:8000"},
        {"Referer": "http://box.local:8000/"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Accept-Language": "en-US,en;q=0.9"},
        {"Accept-Language": ""},
    ],
)
def test_browsers_may_not(demo: httpx2.Client, sent: dict[str, str]) -> None:
    response = demo.get("/models", headers={"Host": "box.local:8000", **sent})
    assert (response.status_code, code(response)) == (403, "host_not_allowed")


@pytest.mark.parametrize("host", ["evil.example", "8.8.8.8", "internal.evil.com", "local.", "[2606:4700::1]", ""])
def test_public_names_are_refused_from_programs_too(demo: httpx2.Client, host: str) -> None:
    response = demo.get("/models", headers={"Host": host})
    assert (response.status_code, code(response)) == (403, "host_not_allowed")


def test_the_name_of_this_machine_is_private() -> None:
    assert is_private_name(socket.gethostname().lower())
    assert not is_private_name("example.com")


def test_what_marks_a_program() -> None:
    assert is_from_program(Headers({"user-agent": "curl/8"}))
    assert is_from_program(Headers(NODE))
    assert not is_from_program(Headers({**NODE, "sec-fetch-site": "none"}))


@pytest.mark.parametrize(
    ("listed", "origin", "allowed"),
    [
        ("http://localhost:3000", "http://localhost:3000", True),
        ("http://localhost:3000", "HTTP://LOCALHOST:3000", True),
        ("http://localhost:3000", "http://localhost:3001", False),
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost:1.evil.example", False),
        ("http://localhost:*", "http://localhost.evil.example", False),
        ("app://*", "app://obsidian.md", True),
        ("app://*", "app://", True),
        ("app://*", "apps://x", False),
        ("ollama", "http://127.0.0.1:9", True),
        ("ollama", "tauri://localhost", True),
        ("ollama", "chrome-extension://x", False),
        ("ollama", "null", False),
        ("ollama", "https://example.com", False),
    ],
)
def test_origins_are_compared_as_a_whole(listed: str, origin: str, allowed: bool) -> None:
    assert AllowedOrigins([listed]).allows(origin) is allowed


@pytest.mark.parametrize("listed", ["localhost:3000", "*", "null", "http://", "http://a/b", "http://*.example.org", "http://a:x"])
def test_what_is_no_origin_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(allowed_origins=(listed,))


async def test_a_listed_page_may_ask(serve: Serve) -> None:
    client = (await serve(ScriptedEngine(), allowed_origins=(PAGE,))).client
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, x-stainless-os"}
    preflight = await client.options("/ask", headers={"Origin": PAGE, "Sec-Fetch-Site": "same-site", **wanted})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert preflight.headers["access-control-allow-headers"] == "content-type, x-stainless-os"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    answer = await client.post("/ask", json={"prompt": "Hi"}, headers={"Origin": PAGE, "Sec-Fetch-Site": "same-site"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (200, PAGE, "Origin")
    front = await client.get("/", headers={"Origin": PAGE})
    assert front.headers["vary"] == "Accept, Origin"  # what the route itself depends on stays
    missing = await client.get("/sessions/none", headers={"Origin": PAGE})
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, PAGE)


async def test_a_listed_page_needs_the_key_and_may_not_change_models(serve: Serve) -> None:
    client = (await serve(ScriptedEngine(), allowed_origins=(PAGE,), api_key="secret")).client
    wanted = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    assert (await client.options("/ask", headers=wanted)).status_code == 204
    assert (await client.post("/ask", json={"prompt": "Hi"}, headers={"Origin": PAGE})).status_code == 401
    key = {"Authorization": "Bearer secret", "Origin": PAGE}
    assert (await client.post("/ask", json={"prompt": "Hi"}, headers=key)).status_code == 200
    refused = await client.post("/models/pull", json={"model": "x"}, headers=key)
    assert (refused.status_code, code(refused)) == (403, "local_only")


async def test_other_pages_get_no_preflight(serve: Serve) -> None:
    client = (await serve(ScriptedEngine(), allowed_origins=(PAGE,))).client
    wanted = {"Origin": "http://localhost:3001", "Access-Control-Request-Method": "POST"}
    response = await client.options("/ask", headers=wanted)
    assert (response.status_code, code(response)) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in response.headers
