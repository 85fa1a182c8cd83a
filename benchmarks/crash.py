"""`python -m benchmarks.crash [KILLS]`: kills the gateway at random moments, lets its disk fail, and then checks that nothing was lost.

Clients ask questions, with and without images, and note each turn whose `done` they received. After every kill -9, and after every period
of failed writes, the gateway starts again on the same data, and every noted turn must be there, with its image.
The disk fails in two real ways: a file system of 8 MB that is full (only if this process may mount one), and a limit on the size of
files (RLIMIT_FSIZE), at which writes fail with an error. It exits with status 1 if a noted turn is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.children import Child, child
from benchmarks.questions import client
from benchmarks.report import machine

KILLS = 200
CLIENTS = 4
MOST_SECONDS = 2.0
"""The longest time from the start of the questions to the kill."""
SMALL_DISK = 8 * 2**20
FAULTS = 5
"""Times that the disk fails in each way."""


@dataclass(slots=True)
class Tally:
    """What the clients noted in one kind of run.

    Attributes:
        kills: how often the gateway ended in a bad way.
        turns: by session and turn id, the id of the turn's image, or None.
        missing: noted turns, or their images, that were not there later.
        refused: questions that ended with an error because the disk could not be written.
        starts: seconds from each start to the first answer to a request.
    """

    name: str
    kills: int = 0
    turns: dict[tuple[str, int], str | None] = field(default_factory=dict)
    missing: set[tuple[str, int]] = field(default_factory=set)
    refused: int = 0
    starts: list[float] = field(default_factory=list)


class Run:
    """Gateways, one after the other, on the same data."""

    def __init__(self, name: str, folder: Path, ollama: str, rng: random.Random) -> None:
        self.tally = Tally(name)
        self._rng = rng
        settings = {"engine": "ollama", "ollama_host": ollama, "ollama_slots": CLIENTS, "image_workers": 1, "shutdown_grace": 0}
        self._settings = json.dumps({**settings, "keep": "sqlite", "data_dir": str(folder)})

    @contextmanager
    def gateway(self) -> Iterator[Child]:
        began = time.monotonic()
        with child("gateway_process", self._settings) as process:
            self.tally.starts.append(time.monotonic() - began)
            yield process

    async def ask_for(self, process: Child, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let all clients ask for that long. A client ends when its gateway does."""
        async with client() as http:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.gather(*(self._client(http, process.hello["url"], until) for _ in range(CLIENTS)))

    async def _client(self, http: aiohttp.ClientSession, url: str, until: Callable[[], bool]) -> None:
        with suppress(aiohttp.ClientError, ConnectionError):
            while not until():
                async with http.post(f"{url}/sessions", json={"title": "crash"}) as response:
                    if response.status != 201:
                        self._refused(await response.json())
                        continue
                    session_id = (await response.json())["id"]
                for number in range(self._rng.randint(1, 4)):
                    await self._ask(http, url, session_id, with_image=number == 0)

    async def _ask(self, http: aiohttp.ClientSession, url: str, session_id: str, *, with_image: bool) -> None:
        form = aiohttp.FormData({"prompt": "word " * self._rng.randint(1, 400)}, default_to_multipart=True)
        if with_image:
            form.add_field("image", _image(self._rng), filename="noise.png")
        async with http.post(f"{url}/sessions/{session_id}/turns", data=form) as response:
            answer = await response.json()
        if response.status != 200:
            self._refused(answer)
            return
        self.tally.turns[session_id, answer["turn_id"]] = answer["images"][0]["id"] if with_image else None

    def _refused(self, answer: dict[str, Any]) -> None:
        code = answer["error"]["code"]
        if code not in ("storage_full", "storage_failed"):
            raise RuntimeError(f"a question was refused with {code}")
        self.tally.refused += 1

    async def check(self, process: Child) -> None:
        """Look for everything that was noted so far."""
        async with client() as http:
            found: dict[str, set[int]] = {}
            for (session_id, turn_id), image_id in self.tally.turns.items():
                if session_id not in found:
                    async with http.get(f"{process.hello['url']}/sessions/{session_id}") as response:
                        body = await response.json()
                    found[session_id] = {turn["id"] for turn in body.get("turns", []) if turn["status"] == "complete"}
                if turn_id not in found[session_id] or (image_id and not await _is_whole(http, process.hello["url"], image_id)):
                    self.tally.missing.add((session_id, turn_id))


async def _is_whole(http: aiohttp.ClientSession, url: str, image_id: str) -> bool:
    async with http.get(f"{url}/images/{image_id}") as response:
        return response.status == 200 and hashlib.sha256(await response.read()).hexdigest() == image_id


def _image(rng: random.Random) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (96, 96), rng.randbytes(96 * 96 * 3)).save(file, "PNG")
    return file.getvalue()


async def kill(run: Run, kills: int, rng: random.Random) -> None:
    """Kill the gateway at random moments. Every start checks the turns of the last few kills; the last one checks all."""
    checked: dict[tuple[str, int], str | None] = {}
    for _ in range(kills):
        with run.gateway() as process:
            await run.check(process)
            checked |= run.tally.turns
            run.tally.turns = {}
            asking = asyncio.create_task(run.ask_for(process, MOST_SECONDS + 5))
            await asyncio.sleep(rng.uniform(0.05, MOST_SECONDS))
            psutil.Process(process.hello["pid"]).kill()
            await asking
            run.tally.kills += 1
    run.tally.turns |= checked
    with run.gateway() as process:
        await run.check(process)


async def fail(run: Run, times: int, breaking: Callable[[Child], None], mending: Callable[[Child], None]) -> None:
    """Let the disk fail while clients ask, then kill the gateway. The next start, on a disk that works again, checks all turns."""
    for _ in range(times):
        with run.gateway() as process:
            known, before = len(run.tally.turns), run.tally.refused
            await run.ask_for(process, 60, until=lambda known=known: len(run.tally.turns) > known + CLIENTS)  # type: ignore[misc]
            breaking(process)
            await run.ask_for(process, 30, until=lambda before=before: run.tally.refused > before + CLIENTS)  # type: ignore[misc]
            run.tally.kills += 1
            psutil.Process(process.hello["pid"]).kill()
            mending(process)
    with run.gateway() as process:
        await run.check(process)


async def crash(kills: int) -> list[Tally]:
    """Run everything. Returns the tallies."""
    rng = random.Random(1)
    tallies = []
    with child("paced_ollama", "20", "0.005") as ollama, tempfile.TemporaryDirectory() as folder:
        url = ollama.hello["url"]
        run = Run("kill -9", Path(folder) / "kill", url, rng)
        await kill(run, kills, rng)
        tallies.append(run.tally)
        times = max(1, min(FAULTS, kills // 10))
        run = Run("writes fail", Path(folder) / "limit", url, rng)
        await fail(run, times, lambda process: _limit_files(process, 4096), lambda _: None)
        tallies.append(run.tally)
        with small_disk(Path(folder) / "small") as small:
            if small is not None:
                run = Run("disk full", small / "data", url, rng)
                filler = small / "filler"
                await fail(run, times, lambda _: _fill(filler), lambda _: filler.unlink())
                tallies.append(run.tally)
    return tallies


def _limit_files(process: Child, size: int) -> None:
    """Let every write of a process beyond this many bytes of a file fail."""
    psutil.Process(process.hello["pid"]).rlimit(psutil.RLIMIT_FSIZE, (size, size))


def _fill(file: Path) -> None:
    """Leave no room on the disk of this file."""
    with suppress(OSError), file.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small file system. Yields None if this process may not mount one."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=0700", "tmpfs", str(folder)]
    if sys.platform != "linux" or mount is None or os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        print("A full disk was not tried: only root may mount a small one, on Linux.", file=sys.stderr)
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(folder)], check=True)


def table(tallies: list[Tally]) -> Table:
    title = f"turns that were done, and are still there; {machine()['cores']} cores, {machine()['os']}"
    shown = Table("fault", "times", "turns done", "with an image", "missing later", "refused", "start, s (median)", title=title)
    for tally in tallies:
        images = sum(image is not None for image in tally.turns.values())
        start = f"{sorted(tally.starts)[len(tally.starts) // 2]:.1f}"
        counts = (tally.kills, len(tally.turns), images, len(tally.missing), tally.refused)
        shown.add_row(tally.name, *(f"{count:,}" for count in counts), start)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.crash", description="Kills the gateway, lets its disk fail, and looks for what was lost.")
    parser.add_argument("kills", nargs="?", type=int, default=KILLS)
    tallies = asyncio.run(crash(parser.parse_args().kills))
    Console().print(table(tallies))
    if any(tally.missing for tally in tallies):
        sys.exit("Turns that were done are missing.")


if __name__ == "__main__":
    main()
