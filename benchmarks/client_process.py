"""Reads streams with one HTTP client and reports the cost of a chunk. Arguments: client (a name in CLIENTS), address of a chat, chunks per
answer.

Command `run`: reads STREAMS answers of `paced_ollama` or `stub_openai` at the same time and returns microseconds of CPU per chunk.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import httpx2
import uvicorn

from benchmarks.children import say
from llava_gateway.engines.http import Client
from llava_gateway.engines.upstream import json_object, lines, new_client, stream

STREAMS = 8
MARGIN = 20
"""Chunks at the start and at the end of each stream that are not measured."""
QUESTION = {"model": "paced", "stream": True, "messages": [{"role": "user", "content": "What is this?"}]}
Read = Callable[[str, dict[str, Any], list[int]], Awaitable[None]]


@asynccontextmanager
async def ours() -> AsyncIterator[Read]:
    async with new_client(connect_timeout=2, max_connections=STREAMS) as client:
        yield partial(_ours, client)


@asynccontextmanager
async def httpx2_alone() -> AsyncIterator[Read]:
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=2), trust_env=False) as client:
        yield partial(_httpx2, client)


@asynccontextmanager
async def aiohttp_alone() -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=STREAMS, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False) as session:
        yield partial(_aiohttp, session)


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Read]]] = {
    "ours": ours,
    "httpx2 alone": httpx2_alone,
    "aiohttp alone": aiohttp_alone,
}


async def steady(read: Callable[[list[int]], Awaitable[None]], chunks: int, cpu: Callable[[], float]) -> float:
    """Return microseconds of `cpu` (a clock in seconds) per chunk while STREAMS calls of `read` are running; each of them counts its
    chunks.
    """
    counts = [[0] for _ in range(STREAMS)]
    reading = asyncio.gather(*(read(count) for count in counts))

    async def until(enough: Callable[[], bool]) -> tuple[int, float]:
        while not enough() and not reading.done():  # noqa: ASYNC110 (an event for every chunk would add to the measured cost)
            await asyncio.sleep(0.01)
        return sum(count[0] for count in counts), cpu()

    n_before, cpu_before = await until(lambda: min(count[0] for count in counts) >= MARGIN)
    n_after, cpu_after = await until(lambda: max(count[0] for count in counts) >= chunks - MARGIN)
    await reading
    return (cpu_after - cpu_before) / (n_after - n_before) * 1e6


async def _ours(client: Client, url: str, question: dict[str, Any], count: list[int]) -> None:
    async with stream(client, "POST", url, content=json.dumps(question).encode()) as response:
        async for line in lines(response):
            _read(line, count)


async def _httpx2(client: httpx2.AsyncClient, url: str, question: dict[str, Any], count: list[int]) -> None:
    async with client.stream("POST", url, json=question) as response:
        rest = b""
        async for chunk in response.aiter_raw():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                _read(line, count)


async def _aiohttp(session: aiohttp.ClientSession, url: str, question: dict[str, Any], count: list[int]) -> None:
    async with session.post(url, json=question) as response:
        rest = b""
        async for chunk in response.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                _read(line, count)


def _read(line: bytes, count: list[int]) -> None:
    """Return one line of a stream: a line of Ollama, or an event."""
    if line.startswith((b"{", b"data: {")):
        json_object(line.removeprefix(b"data: "))
        count[0] += 1


async def main() -> None:
    name, url, chunks = sys.argv[1:]
    question = QUESTION | {"max_tokens": int(chunks)}  # Ollama's stand-in knows the number itself
    async with CLIENTS[name]() as read:
        say({"ready": True})
        while await asyncio.to_thread(sys.stdin.readline):
            say(await steady(lambda count: read(url, question, count), int(chunks), time.process_time))


if __name__ == "__main__":
    # The event loop of the gateway.
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(main())
