"""`python -m benchmarks.disconnects [CLIENTS]`: clients that leave at random moments during streams.

It measures the time until the gateway has closed its connection to the engine, and whether anything is left behind: slots, files, tasks.
Then the same number of clients leave answers with `on_disconnect: continue`, each in a session of its own; every answer must be complete
there. Clients and a stand-in for Ollama run in this process, the gateway in its own. It exits with status 1 if something leaked or was
lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Container, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.table import Table

from benchmarks.children import Child, child
from benchmarks.paced_ollama import HEAD, LAST, LINE, answer_to, read_request
from benchmarks.report import machine

CLIENTS = 10_000
AT_ONCE = 10
WORDS = 20
PAUSE = 0.01
"""Seconds between two words."""
GOAL_MS = 50.0
"""Goal: the 99th percentile of the time until the connection to the engine is closed, on a machine that does nothing else."""
SETTLED_WITHIN = 30.0


@dataclass
class Leaving:
    """When each client left, and when its connection to the engine was closed; both by the number of the client."""

    endless: bool = True
    left: dict[int, float] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    opened: set[int] = field(default_factory=set)

    async def until(self, numbers: Container[int], number: int) -> None:
        """Wait until the number of a client is among those with an open or a closed connection."""
        async with self.news:
            await self.news.wait_for(lambda: number in numbers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request as Ollama does."""
        try:
            path, body = await read_request(reader)
            if path == "/api/chat":
                await self._stream(int(json.loads(body)["messages"][-1]["content"].split()[-1]), reader, writer)
            else:
                writer.write(answer_to(path))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stream(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened.add(number)
        async with self.news:
            self.news.notify_all()
        gone = asyncio.create_task(self._gone(number, reader))
        try:
            writer.write(HEAD % (b"application/x-ndjson", b"Transfer-Encoding: chunked\r\n"))
            words = 0
            while not gone.done() and (self.endless or words < WORDS):
                writer.write(b"%x\r\n%b\r\n" % (len(LINE), LINE))
                words += 1
                await asyncio.wait([gone], timeout=PAUSE)
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))
            await gone
        finally:
            gone.cancel()

    async def _gone(self, number: int, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()
        self.closed[number] = time.perf_counter()
        async with self.news:
            self.news.notify_all()


@dataclass(frozen=True, slots=True)
class Result:
    """The times in milliseconds until the connections to the engine were closed, what leaked, and the complete answers of `asked`."""

    times: list[float]
    leaked: dict[str, int]
    asked: int
    complete: int

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.times, n=100)[98]


async def leave(clients: int) -> Result:
    """Let the clients leave, first streams that end with them, then answers that continue."""
    leaving = Leaving()
    ollama = await asyncio.start_server(leaving.serve, "127.0.0.1", 0, limit=2**24)
    settings = {
        "engine": "ollama",
        "ollama_host": f"http://127.0.0.1:{ollama.sockets[0].getsockname()[1]}",
        "ollama_slots": 2 * AT_ONCE,
        "image_workers": 1,
    }
    with ExitStack() as stack:
        gateway = await asyncio.to_thread(stack.enter_context, child("gateway_process", json.dumps(settings)))
        url = gateway.hello["url"]
        async with ollama, aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            before = await _held(gateway)
            await _each(range(clients), lambda number: _leave_stream(url, leaving, number))
            leaked = await _leaked(gateway, before)
            times = [1000 * (leaving.closed[number] - left) for number, left in leaving.left.items()]
            leaving.endless = False
            sessions = [await _session(http, url) for _ in range(clients)]
            await _each(range(clients), lambda number: _leave_session(url, sessions[number], number))
            await _leaked(gateway, before)  # waits for the end of the answers
            complete = sum([await _is_complete(http, url, session) for session in sessions])
    return Result(times, leaked, clients, complete)


async def _each(numbers: range, work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Run `work` for each number, AT_ONCE of them at the same time."""
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            await work(number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _leave_stream(url: str, leaving: Leaving, number: int) -> None:
    """Ask, and leave between the moment when the gateway asks the engine and the tenth word."""
    _, writer = await _post(url, "/ask", {"prompt": f"Question {number}", "stream": True})
    await leaving.until(leaving.opened, number)
    await asyncio.sleep(random.uniform(0, 10 * PAUSE))
    leaving.left[number] = time.perf_counter()
    if number % 2:
        writer.transport.abort()
    else:
        writer.close()
    await leaving.until(leaving.closed, number)


async def _leave_session(url: str, session: str, number: int) -> None:
    """Ask in a session, and leave at a random moment after the answer has begun."""
    body = {"prompt": f"Question {number}", "stream": True, "on_disconnect": "continue"}
    reader, writer = await _post(url, f"/sessions/{session}/turns", body)
    await reader.readline()
    await asyncio.sleep(random.uniform(0, WORDS * PAUSE))
    writer.close()


async def _post(url: str, path: str, body: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address, content = urlsplit(url), json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    return reader, writer


async def _held(gateway: Child) -> dict[str, int]:
    held: dict[str, int] = await asyncio.to_thread(gateway.ask, "held")
    return held


async def _leaked(gateway: Child, before: dict[str, int]) -> dict[str, int]:
    """Return what is held beyond `before`, once that is nothing or does not change in time. Polling the engine holds a file at times."""
    leaked = dict.fromkeys(before, 1)
    deadline = time.monotonic() + SETTLED_WITHIN
    while any(leaked.values()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        now = await _held(gateway)
        leaked = {name: max(0, now[name] - before[name]) for name in before}
    return leaked


async def _session(http: aiohttp.ClientSession, url: str) -> str:
    async with http.post(f"{url}/sessions", json={}) as response:
        return str((await response.json())["id"])


async def _is_complete(http: aiohttp.ClientSession, url: str, session: str) -> bool:
    async with http.get(f"{url}/sessions/{session}") as response:
        turns = (await response.json())["turns"]
    return [(turn["status"], turn["message"]["content"].split()) for turn in turns] == [("complete", ["word"] * WORDS)]


def table(result: Result) -> Table:
    known = machine()
    shown = Table("", "", title=f"{result.asked:,} clients that leave; {known['cores']} cores, {known['os']}")
    shown.add_row("connection to the engine closed after, p50", f"{statistics.median(result.times):.1f} ms")
    shown.add_row(
        "connection to the engine closed after, p99",
        f"{result.p99:.1f} ms (goal {GOAL_MS:g} ms: {'met' if result.p99 <= GOAL_MS else 'missed'})",
    )
    for name, count in result.leaked.items():
        shown.add_row(f"leaked {name}", str(count))
    shown.add_row("answers that continued and are complete", f"{result.complete:,} of {result.asked:,}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.disconnects", description="Clients leave streams, and nothing may be left behind.")
    parser.add_argument("clients", nargs="?", type=int, default=CLIENTS)
    result = asyncio.run(leave(parser.parse_args().clients))
    Console().print(table(result))
    if any(result.leaked.values()) or result.complete < result.asked:
        sys.exit("Something was left behind, or an answer is not complete.")


if __name__ == "__main__":
    main()
