"""Bodies while they arrive: one budget for all of them, and a time for each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_gateway.api.body_limits import UNCOUNTED
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.clock import time_passes
from tests.scripted_engine import ScriptedEngine, says_then_waits
from tests.serving import Served, until

LARGE = 700_000
HEAD = "POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
JSON = {"Content-Type": "application/json"}
BODY = b'{"prompt":"Hi"' + b" " * LARGE + b"}"


async def held(served: Served) -> int:
    """Return the bytes of bodies that the metrics report."""
    text = (await served.client.get("/metrics")).text
    return int(float(re.findall(r"^llava_gateway_body_bytes (\S+)$", text, re.MULTILINE)[0]))


async def holds(served: Served, size: int) -> None:
    async with asyncio.timeout(20):
        while await held(served) != size:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def all_read(served: Served) -> bool:
    """Return whether the gateway has taken everything that the server has read."""
    return not any(isinstance(one, HttpToolsProtocol) and one.cycle and one.cycle.body for one in served.server.server_state.connections)


@asynccontextmanager
async def half_sent(served: Served, more: int = 0) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send all of a large body but its end, and `more` bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(HEAD.format(len(BODY) + more).encode() + BODY[:-1])
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_bodies_without_room_are_refused_and_small_ones_pass(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), body_max_bytes=1_000_000, bodies_max_bytes=1_500_000, body_gap_timeout=30)
    async with half_sent(served, 100) as (_, one), half_sent(served, 100) as (_, other):
        await holds(served, 2 * (len(BODY) - 1 - UNCOUNTED))
        third = asyncio.create_task(served.client.post("/ask", content=BODY, headers={**JSON, "Connection": "close"}))
        await until(lambda: len(served.server.server_state.connections) >= 3)
        assert (await served.ask()).status_code == 200
        while not third.done():  # time passes for all of them; the others go on arriving meanwhile
            assert await held(served) <= 1_500_000
            await time_passes(16)
            one.write(b" ")
            other.write(b" ")
            await until(lambda: all_read(served))
        error = third.result().json()["error"]
        assert (third.result().status_code, error["code"], error["reason"]) == (503, "overloaded", "bodies_full")
        assert int(third.result().headers["retry-after"]) > 0
    await holds(served, 0)
    assert (await served.client.post("/ask", content=BODY, headers=JSON)).status_code == 200


async def test_a_body_waits_for_room(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), body_max_bytes=1_000_000, bodies_max_bytes=1_000_000)
    async with half_sent(served) as (reader, writer):
        await holds(served, len(BODY) - 1 - UNCOUNTED)
        second = asyncio.create_task(served.client.post("/ask", content=BODY, headers=JSON))
        assert (await served.ask()).status_code == 200
        assert not second.done()
        writer.write(b"}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert (await second).status_code == 200


async def test_a_body_gives_its_room_back_when_its_answer_begins(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")), body_max_bytes=1_000_000)
    headers = {**JSON, "Accept": "text/event-stream"}
    async with served.client.stream("POST", "/ask", content=BODY, headers=headers) as response:
        async for line in response.aiter_lines():
            if line.startswith("event: delta"):
                break
        assert await held(served) == 0


@pytest.mark.parametrize("size", [15, LARGE])
async def test_a_body_that_never_pauses_has_an_end_too(serve: Serve, size: int) -> None:
    served = await serve(ScriptedEngine(), body_gap_timeout=10, body_timeout=60)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(HEAD.format(size + 100).encode() + b" " * size)
    for _ in range(11):
        await until(lambda: all_read(served))
        await time_passes(6)
        writer.write(b" ")
        await writer.drain()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"reason":"body_slow"' in answer
    writer.close()


async def test_a_slow_upload_arrives_within_the_time_of_a_body(serve: Serve) -> None:
    """20 MiB in base64 at 400 kbit/s, in pieces of three seconds each."""
    size, piece = 20 * 2**20 * 4 // 3, 400_000 // 8 * 3

    async def line() -> Any:
        yield b'{"images":["'
        for _ in range(size // piece):
            await time_passes(3)
            yield b"A" * piece
        yield b'"]}'

    served = await serve(ScriptedEngine())
    answered = await served.client.post("/ask", content=line(), headers=JSON)
    assert answered.json()["error"]["code"] == "unsupported_image_media_type"  # it has been read to its end


def test_the_budget_has_room_for_one_body_at_least() -> None:
    with pytest.raises(ValueError, match="bodies_max_bytes must be at least body_max_bytes"):
        Settings(body_max_bytes=2000, bodies_max_bytes=1999)
