"""Reads streams with one HTTP client and tells what a chunk cost. Arguments: client (a name in CLIENTS), address, chunks per answer.

Command `run`: reads STREAMS answers of `paced_ollama` at the same time and gives microseconds of CPU per chunk.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import httpx2
import uvicorn

from benchmarks.children import say
from llava_gateway.engines.upstream import json_object, lines, new_client

STREAMS = 8
MARGIN = 20
"""Chunks at the start and at the end of each stream that are not measured."""
QUESTION = {"model": "paced", "stream": True, "messages": [{"role": "user", "content": "What is this?"}]}
Read = Callable[[str, list[int]], Awaitable[None]]


@asynccontextmanager
async def httpx2_over_aiohttp() -> AsyncIterator[Read]:
    """What the gateway uses."""
    async with new_client(connect_timeout=2, max_connections=STREAMS) as client:
        yield lambda url, count: _httpx2(client, url, count)


@asynccontextmanager
async def httpx2_alone() -> AsyncIterator[Read]:
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=2), trust_env=False) as client:
        yield lambda url, count: _httpx2(client, url, count)


@asynccontextmanager
async def aiohttp_alone() -> AsyncIterator[Read]:
    connector = aiohttp.TCPConnector(limit=STREAMS, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False) as session:
        yield lambda url, count: _aiohttp(session, url, count)


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Read]]] = {
    "httpx2 over aiohttp": httpx2_over_aiohttp,
    "httpx2 alone": httpx2_alone,
    "aiohttp alone": aiohttp_alone,
}


async def steady(read: Callable[[list[int]], Awaitable[None]], chunks: int, cpu: Callable[[], float]) -> float:
    """Microseconds of `cpu` (seconds so far) per chunk, while STREAMS calls of `read` are all under way; each counts what it has read."""
    counts = [[0] for _ in range(STREAMS)]
    reading = asyncio.gather(*(read(count) for count in counts))

    async def until(enough: Callable[[], bool]) -> tuple[int, float]:
        while not enough() and not reading.done():  # noqa: ASYNC110 (to tell of every chunk would be a part of what is measured)
            await asyncio.sleep(0.01)
        return sum(count[0] for count in counts), cpu()

    n_before, cpu_before = await until(lambda: min(count[0] for count in counts) >= MARGIN)
    n_after, cpu_after = await until(lambda: max(count[0] for count in counts) >= chunks - MARGIN)
    await reading
    return (cpu_after - cpu_before) / (n_after - n_before) * 1e6


async def _httpx2(client: httpx2.AsyncClient, url: str, count: list[int]) -> None:
    async with client.stream("POST", f"{url}/api/chat", json=QUESTION) as response:
        async for line in lines(response):
            json_object(line)
            count[0] += 1


async def _aiohttp(session: aiohttp.ClientSession, url: str, count: list[int]) -> None:
    async with session.post(f"{url}/api/chat", json=QUESTION) as response:
        rest = b""
        async for chunk in response.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                json_object(line)
                count[0] += 1


async def main() -> None:
    name, url, chunks = sys.argv[1:]
    async with CLIENTS[name]() as read:
        say({"ready": True})
        while await asyncio.to_thread(sys.stdin.readline):
            say(await steady(lambda count: read(url, count), int(chunks), time.process_time))


if __name__ == "__main__":
    # The event loop that the gateway runs on.
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(main())
