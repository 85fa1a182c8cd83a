"""The parts of `make soak` with a stand-in for Ollama: requests of all kinds, one after the other, and 500 streams at the same time beside
1,000 idle sessions.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import psutil
from PIL import Image
from rich.table import Table

from benchmarks.children import child
from benchmarks.report import machine

REQUESTS = 10_000
STORE = 2**22
"""Bytes for images and sessions, which the first requests fill."""
MOST_GROWTH = 2.0
"""Megabytes by which the gateway may grow during the second half of the requests."""
STREAMS = 500
MINUTES = 10.0
INTERVAL = 0.1
"""Seconds between two tokens of a stream."""
MOST_CORES = 0.5
IDLE_SESSIONS = 1000
IMAGES_EACH = 3
MOST_IDLE_MB = 200.0
"""Megabytes of the gateway with that many sessions, which are on disk."""
FAILED = (b"event: error", b"HTTP/1.1 5")


@dataclass(frozen=True, slots=True)
class Mixed:
    """The outcome of many requests: megabytes and open files of the gateway in the middle and at the end, and unexpected statuses."""

    requests: int
    megabytes: tuple[float, float]
    files: tuple[int, int]
    unexpected: int

    def table(self) -> Table:
        shown = Table("", "in the middle", "at the end", title=f"{self.requests:,} requests of all kinds; {_machine()}")
        shown.add_row("gateway, MB", *(f"{size:.1f}" for size in self.megabytes))
        shown.add_row("open files", *map(str, self.files))
        shown.add_row("unexpected statuses", "", str(self.unexpected))
        return shown

    def faults(self) -> list[str]:
        faults = []
        if self.megabytes[1] - self.megabytes[0] > MOST_GROWTH:
            faults.append("The gateway still grew in the second half of the requests.")
        if self.files[1] > self.files[0]:
            faults.append("Files stayed open.")
        if self.unexpected:
            faults.append("Some requests had an unexpected status.")
        return faults


@dataclass(frozen=True, slots=True)
class Streams:
    """The outcome of the streams: how many ended with `done`, their words, and the share of a core that the gateway took. `idle` has the
    number of idle sessions, and the megabytes of the gateway with them before the streams began.
    """

    minutes: float
    complete: int
    words: int
    cores: float
    idle: tuple[int, float]

    def table(self) -> Table:
        shown = Table("", "", title=f"{STREAMS} streams at once, 10 tokens per second each, {self.minutes:g} minutes; {_machine()}")
        shown.add_row(
            f"gateway with {self.idle[0]:,} idle sessions of {IMAGES_EACH} images", f"{self.idle[1]:.0f} MB (at most {MOST_IDLE_MB:.0f})"
        )
        shown.add_row("complete streams", f"{self.complete} of {STREAMS}")
        shown.add_row("words", f"{self.words:,}")
        shown.add_row("cores used by the gateway", f"{self.cores:.2f} (at most {MOST_CORES})")
        return shown

    def faults(self) -> list[str]:
        faults = ["Some streams failed."] if self.complete < STREAMS else []
        if self.idle[1] > MOST_IDLE_MB:
            faults.append("The idle sessions take too much memory.")
        return [*faults, "The gateway took too much of a core."] if self.cores > MOST_CORES else faults


async def mixed(requests: int) -> Mixed:
    """Send requests of all kinds, in random order."""
    with ExitStack() as stack:
        ollama = stack.enter_context(child("paced_ollama", "3", "0"))
        settings = {"engine": "ollama", "ollama_host": ollama.hello["url"], "store_max_bytes": STORE, "image_workers": 1}
        gateway = stack.enter_context(child("gateway_process", json.dumps(settings)))
        process, rng = psutil.Process(gateway.hello["pid"]), random.Random(1)
        sizes, files, unexpected = [], [], 0
        async with aiohttp.ClientSession(gateway.hello["url"]) as http:
            clients = _Clients(http, rng, gateway.hello["url"])
            for number in range(1, requests + 1):
                unexpected += not await rng.choice(clients.kinds)()
                if number in (requests // 2, requests):
                    await asyncio.sleep(1)  # connections that were left are closed by now
                    sizes.append(process.memory_info().rss / 1e6)
                    files.append(min([await _files(process) for _ in range(10)]))
    return Mixed(requests, (sizes[0], sizes[-1]), (files[0], files[-1]), unexpected)


async def _files(process: psutil.Process) -> int:
    """Count the open files, a moment after the last request: connections that check the engine come and go."""
    await asyncio.sleep(0.05)
    return process.num_fds()


class _Clients:
    """Requests of all kinds. Each returns whether its status was as expected."""

    def __init__(self, http: aiohttp.ClientSession, rng: random.Random, url: str) -> None:
        self._http = http
        self._rng = rng
        self._address = urlsplit(url)
        self._session = ""
        self._image = "0" * 64
        self.kinds: list[Callable[[], Awaitable[bool]]] = [
            *[self._asks, self._asks_about_an_image, self._asks_in_a_session, self._streams] * 3,
            self._begins_a_session,
            self._stores_an_image,
            self._reads,
            self._exports,
            self._errs,
            self._leaves,
            self._deletes_a_session,
        ]

    async def _status(self, method: str, path: str, *expected: int, **what: object) -> bool:
        async with self._http.request(method, path, **what) as response:  # type: ignore[arg-type]
            await response.read()
            return response.status in expected

    async def _asks(self) -> bool:
        return await self._status("POST", "/ask", 200, json={"prompt": self._words()})

    async def _asks_about_an_image(self) -> bool:
        return await self._status("POST", "/ask", 200, data={"image": self._file(), "prompt": "What is this?"})

    async def _asks_in_a_session(self) -> bool:
        path = f"/sessions/{self._session}/turns" if self._session else "/ask"
        return await self._status("POST", path, 200, 404, 413, json={"prompt": self._words(), "stream": True})

    async def _streams(self) -> bool:
        return await self._status("POST", "/ask", 200, json={"prompt": self._words(), "stream": True})

    async def _begins_a_session(self) -> bool:
        async with self._http.post("/sessions", json={"title": "Session", "system": self._words()}) as response:
            self._session = (await response.json())["id"]
            return response.status == 201

    async def _stores_an_image(self) -> bool:
        async with self._http.post("/images", data={"image": self._file()}) as response:
            self._image = (await response.json())["id"]
            return response.status == 201

    async def _reads(self) -> bool:
        paths = ["/", "/healthz", "/metrics", "/sessions", "/options", "/models", "/static/built/page.js", f"/images/{self._image}"]
        return await self._status("GET", self._rng.choice(paths), 200, 404)

    async def _exports(self) -> bool:
        kind = self._rng.choice(("json", "zip", "html", "markdown"))
        return await self._status("GET", f"/sessions/{self._session or 'none'}/export?format={kind}", 200, 404)

    async def _errs(self) -> bool:
        wrong: object = self._rng.choice(({"prompt": 5}, {"images": ["x"]}, {"prompt": "Hi", "model": "none"}, {"unknown": 1}, []))
        return await self._status("POST", "/ask", 400, 404, 422, json=wrong)

    async def _leaves(self) -> bool:
        _, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        body = json.dumps({"prompt": self._words(), "stream": True}).encode()
        head = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body[: self._rng.randint(0, len(body))])
        await asyncio.sleep(self._rng.random() / 200)
        writer.close()
        return True

    async def _deletes_a_session(self) -> bool:
        session, self._session = self._session or "none", ""
        return await self._status("DELETE", f"/sessions/{session}", 204, 404)

    def _words(self) -> str:
        return " ".join(f"word{self._rng.randrange(1000)}" for _ in range(self._rng.choice((3, 20, 60))))

    def _file(self) -> io.BytesIO:
        file = io.BytesIO()
        Image.frombytes("RGB", (16, 16), self._rng.randbytes(768)).resize((112, 112), Image.Resampling.NEAREST).save(file, "PNG")
        file.seek(0)
        return file


async def streams(minutes: float, idle_sessions: int = IDLE_SESSIONS) -> Streams:
    """Read 500 streams at once, while there are idle sessions on disk."""
    words = round(minutes * 60 / INTERVAL)
    with ExitStack() as stack:
        ollama = stack.enter_context(child("paced_ollama", str(words), str(INTERVAL)))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))
        kept = {"keep": "sqlite", "data_dir": folder}
        settings = {"engine": "ollama", "ollama_host": ollama.hello["url"], "ollama_slots": STREAMS, "answer_timeout": 7200, **kept}
        gateway = stack.enter_context(child("gateway_process", json.dumps(settings)))
        url = gateway.hello["url"]
        await _begin_sessions(url, idle_sessions)
        megabytes = psutil.Process(gateway.hello["pid"]).memory_info().rss / 1e6
        address = urlsplit(url)
        began, cpu = time.monotonic(), gateway.ask("cpu")
        counts = await asyncio.gather(*(_read(address.hostname or "", address.port or 0) for _ in range(STREAMS)))
        cores = (gateway.ask("cpu") - cpu) / (time.monotonic() - began)
    complete, heard = sum(complete for complete, _ in counts), sum(count for _, count in counts)
    return Streams(minutes, complete, heard, cores, (idle_sessions, megabytes))


async def _begin_sessions(url: str, count: int) -> None:
    """Create sessions with one turn about three images each. Raises RuntimeError if the gateway refuses anything."""
    rng = random.Random(1)
    async with aiohttp.ClientSession(url) as http:
        for _ in range(count):
            async with http.post("/sessions", json={}) as response:
                session_id = (await response.json())["id"]
            form = aiohttp.FormData({"prompt": "What is this?", "options": '{"num_predict": 1}'})
            for _image in range(IMAGES_EACH):
                form.add_field("image", _photo(rng), filename="photo.jpg", content_type="image/jpeg")
            async with http.post(f"/sessions/{session_id}/turns", data=form) as response:
                if response.status != 200:
                    raise RuntimeError(f"a question was refused with {response.status}: {(await response.text())[:300]}")


def _photo(rng: random.Random) -> bytes:
    """Return a JPEG of 640 x 480 that no other one equals."""
    file = io.BytesIO()
    Image.frombytes("RGB", (40, 30), rng.randbytes(3600)).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


async def _read(host: str, port: int) -> tuple[bool, int]:
    """Read one stream. Returns whether it ended with `done`, and its words."""
    reader, writer = await asyncio.open_connection(host, port)
    body = b'{"prompt":"Hi","stream":true}'
    head = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    words, done = 0, False
    async for line in reader:
        words += line.startswith(b"event: delta")
        done = done or line.startswith(b"event: done")
        if line.startswith(FAILED):
            done = False
            break
    writer.close()
    return done, words


def _machine() -> str:
    known = machine()
    return f"{known['cores']} cores, {known['os']}"
