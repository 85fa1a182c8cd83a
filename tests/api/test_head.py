"""HEAD has the status and headers of GET on every route that takes GET, and produces no body."""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter

from llava_gateway import api
from llava_gateway.api import archives
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

BESIDE = (
    "/",
    "/docs",
    "/openapi.json",
    "/static/js/main.js",
    "/static/nothing",
    "/nothing",
    "/healthz?x=1",
    "/sessions?q=",
    "/sessions?p=1",
)
OF_THIS_RESPONSE = {"date", "x-request-id", "transfer-encoding"}
"""Headers that differ between responses, or that describe the transfer of a body."""


def routes(method: str) -> Iterator[str]:
    """Return the paths of all routes that take `method`, including those that are not described."""
    for module in pkgutil.iter_modules(api.__path__):
        router = getattr(importlib.import_module(f"{api.__name__}.{module.name}"), "router", None)
        for route in router.routes if isinstance(router, APIRouter) else ():
            if method in getattr(route, "methods", ()):
                yield getattr(route, "path", "")


def status_and_headers(response: httpx2.Response) -> tuple[int, dict[str, str]]:
    return response.status_code, {name: value for name, value in response.headers.items() if name not in OF_THIS_RESPONSE}


def test_head_is_get_without_a_body(demo: httpx2.Client, red_circle: bytes) -> None:
    session_id = demo.post("/sessions", json={}).json()["id"]
    answer = demo.post(f"/sessions/{session_id}/turns", files={"image": red_circle}).json()
    names = defaultdict(lambda: "demo", session_id=session_id, image_id=answer["images"][0]["id"])
    paths = sorted({path.format_map(names) for path in routes("GET")} | set(BESIDE))
    assert len(paths) > 20
    for path in paths:
        for accept in ("*/*", "application/json"):
            with demo.stream("GET", path, headers={"Accept": accept}) as got:  # /events never ends
                if "content-length" in got.headers:
                    got.read()
            head = demo.head(path, headers={"Accept": accept})
            (status, headers), (head_status, head_headers) = status_and_headers(got), status_and_headers(head)
            assert (head_status, head.content) == (status, b""), path
            if "content-length" not in head_headers:  # the body is not drawn or packed
                headers.pop("content-length", "")
            if path == "/metrics":  # its figures have grown by the questions in between
                del headers["content-length"], head_headers["content-length"]
            assert head_headers == headers, path


def test_head_of_what_is_known_already(demo: httpx2.Client) -> None:
    path = f"/sessions/{demo.post('/sessions', json={}).json()['id']}"
    head = demo.head(path)
    assert demo.head(path, headers={"If-None-Match": head.headers["etag"]}).status_code == 304


def test_head_is_refused_where_get_is(demo: httpx2.Client) -> None:
    for path in set(routes("POST")) - set(routes("GET")):
        address = path.format_map(defaultdict(lambda: "0"))
        refused = demo.head(address)
        assert status_and_headers(refused) == status_and_headers(demo.get(address)), path
        assert refused.status_code == (404 if path == "/sessions/import" else 405)  # which may be the id of a session


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/healthz", "GET, HEAD"),
        ("/sessions/0", "GET, PATCH, DELETE, HEAD"),
        ("/sessions", "GET, POST, DELETE, HEAD"),
        ("/static/js/main.js", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/ask", "POST"),
    ],
)
def test_a_wrong_method_says_all_that_are_right(demo: httpx2.Client, path: str, allow: str) -> None:
    refused = demo.put(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)
    assert refused.json()["error"]["values"] == {"allowed": allow.split(", ")}


async def test_nothing_is_packed_or_drawn_for_head(serve: Serve, red_circle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(ScriptedEngine())
    made: list[str] = []

    def packed(*_: Any) -> Iterator[bytes]:
        made.append("packed")
        yield b"some"
        made.append("packed to the end")

    async def drawn(*_: Any) -> bytes:
        made.append("drawn")
        return b"a drawing"

    monkeypatch.setattr(archives, "package", packed)
    monkeypatch.setattr(served.gateway.images, "view", drawn)
    image_id = (await served.client.post("/images", files={"image": red_circle})).json()["id"]
    export, view = f"/sessions/{await served.session()}/export", f"/images/{image_id}/view"
    for path in (export, view):
        assert (await served.client.head(path)).status_code == 200
    assert made == []
    for path in (export, view):
        assert (await served.client.get(path)).status_code == 200
    assert made == ["packed", "packed to the end", "drawn"]


def test_head_adds_no_operation_to_the_description(demo: httpx2.Client) -> None:
    described = {method for operations in demo.get("/openapi.json").json()["paths"].values() for method in operations}
    assert described == {"get", "post", "patch", "delete"}
