"""Runs the real app in the real server, on a free port, in the test's own event loop or in its own thread."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter

from llava_gateway.api.app import create_app
from llava_gateway.api.deps import gateway_in
from llava_gateway.api.server import Server, bound, build_server
from llava_gateway.engines.base import Engine
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.settings import Settings


def has_ipv6() -> bool:
    try:
        bound(socket.AF_INET6, "::1", 0).close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@dataclass(frozen=True)
class Served:
    """A running server. `client` has its address as base."""

    port: int
    gateway: Gateway
    server: Server
    client: httpx2.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, **body: Any) -> httpx2.Response:
        return await self.client.post("/ask", json={"prompt": "Hi", **body})

    async def session(self, **body: Any) -> str:
        """Create a session. Returns its id."""
        response = await self.client.post("/sessions", json=body)
        return str(response.json()["id"])

    async def turns(self, session_id: str) -> list[dict[str, Any]]:
        response = await self.client.get(f"/sessions/{session_id}")
        turns: list[dict[str, Any]] = response.json()["turns"]
        return turns

    @asynccontextmanager
    async def stream(self, path: str = "/ask", **body: Any) -> AsyncIterator[Events]:
        """Read an answer as an event stream; leaving early disconnects."""
        async with self.client.stream("POST", path, json={"prompt": "Hi", **body}, headers={"Accept": "text/event-stream"}) as response:
            yield Events(response)


class Events:
    """The events of an event stream, each as (name, data)."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.comments: list[str] = []

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> tuple[str, dict[str, Any]]:
        name = ""
        async for line in self._lines:
            if line.startswith(":"):
                self.comments.append(line)
            elif line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return name, json.loads(line.removeprefix("data: "))
        raise StopAsyncIteration

    async def rest(self) -> list[tuple[str, dict[str, Any]]]:
        return [event async for event in self]


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until the condition is true, for changes without an event to await; the limit suits the slowest machine."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(
    settings: Settings, engines: Sequence[Engine] | None = None, *, routers: Sequence[APIRouter] = (), fetcher: Fetcher | None = None
) -> AsyncIterator[Served]:
    """Run the server in this event loop, so that a test can await changes inside it; `routers` are further APIs in it."""
    app = create_app(settings, engines, fetcher)
    for router in routers:
        app.include_router(router)
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = build_server(settings, listening.set_result, app)
    running = asyncio.create_task(server.serve())
    try:
        port = await listening
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            yield Served(port, gateway_in(app), server, client)
    finally:
        server.should_exit = True
        gateway_in(app).end_grace_period()
        await running


@contextmanager
def served_in_thread(settings: Settings, engines: Sequence[Engine] | None = None) -> Iterator[str]:
    """Run a server as in production, with its own event loop; `engines` None: those of the settings. Yields its address."""
    listening = threading.Event()
    ports: list[int] = []

    def announce(port: int) -> None:
        ports.append(port)
        listening.set()

    server = build_server(settings, announce, None if engines is None else create_app(settings, engines))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert listening.wait(60), "the server did not start"
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        server.should_exit = True
        thread.join()
