"""Clients that stop reading a response, whatever its route; and those that never read or never send the rest while the server stops."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import pytest
from PIL import Image
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_gateway.chat import EngineEvent, EngineRequest, TextDelta
from llava_gateway.settings import Settings
from tests import sample_images
from tests.api.conftest import Serve
from tests.clock import time_passes
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving, until

QUESTION = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
HALF = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"


def narrow(served: Served) -> None:
    """Give new connections of the server a small buffer, so that little of a response fits into the kernel."""
    for listener in served.server.servers[0].sockets:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


@contextmanager
def connected(served: Served) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        yield client


def connections(served: Served) -> list[HttpToolsProtocol]:
    return [one for one in served.server.server_state.connections if isinstance(one, HttpToolsProtocol)]


async def floods(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    while True:
        yield TextDelta("x" * 10_000)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "path",
    [
        "/sessions",
        "/sessions/{}",
        "/sessions/{}/export?format=json",
        "/sessions/{}/export",
        "/images/{}",
        "/static/built/page.js",
        "/openapi.json",
    ],
)
async def test_who_does_not_read_is_cut_off_on_every_route(serve: Serve, caplog: pytest.LogCaptureFixture, path: str) -> None:
    caplog.set_level("INFO")
    served = await serve(ScriptedEngine(), stall_timeout=0.2)
    text = random.Random(1).randbytes(450_000).hex()  # which a zip file can't make much smaller
    for _ in range(200):
        await served.session(title="x" * 200)
    session_id = await served.session(system=text)
    if path.startswith("/images"):
        noise = Image.frombytes("RGB", (300, 300), random.Random(1).randbytes(270_000))
        stored = await served.client.post("/images", files={"image": sample_images.encoded(noise)})
        session_id = stored.json()["id"]
    narrow(served)
    ours = len(connections(served))
    with connected(served) as client:
        client.sendall(f"GET {path.format(session_id)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: len(connections(served)) > ours)
        await until(lambda: len(connections(served)) == ours)
    assert caplog.text.count("499 client_stalled") == 1


async def test_who_reads_slowly_gets_a_whole_export(serve: Serve) -> None:
    """All of it takes several times as long as the longest allowed pause."""
    served = await serve(ScriptedEngine(), stall_timeout=40)
    session_id = await served.session(system="x" * 900_000)
    narrow(served)
    read = b""
    with connected(served) as client:
        client.setblocking(False)
        client.send(f"GET /sessions/{session_id}/export?format=json HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while not read.endswith(b"0\r\n\r\n"):
            read += await asyncio.get_running_loop().sock_recv(client, 20_000)
            await time_passes(4)
    assert read.count(b"x") > 900_000


async def test_the_second_signal_cuts_off_who_never_reads(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine(floods)
    async with serving(Settings(port=0, shutdown_grace=100, stall_timeout=600, image_workers=1), [engine]) as served:
        narrow(served)
        with connected(served) as client:
            client.sendall(QUESTION + b'{"prompt":"Hi"}')
            await until(lambda: any(one.flow.write_paused for one in connections(served)))
            served.server.handle_exit(signal.SIGTERM, None)
            served.server.handle_exit(signal.SIGTERM, None)
            await until(lambda: engine.closed)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("size", [1, 150_000])
async def test_half_a_body_does_not_delay_the_end(size: int) -> None:
    engine = ScriptedEngine()
    settings = Settings(port=0, shutdown_grace=100, body_gap_timeout=100, body_max_bytes=200_000, image_workers=1)
    async with serving(settings, [engine]) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(HALF.replace(b"15", b"%d" % (size + 1)).replace(b"{", b"x" * size))
        await until(lambda: any(one.cycle is not None for one in connections(served)))
        await until(lambda: not any(one.cycle is not None and one.cycle.body for one in connections(served)))
        served.server.handle_exit(signal.SIGTERM, None)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"shutting_down"' in answer
        writer.close()
        await until(lambda: engine.closed)
