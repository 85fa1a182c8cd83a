"""`python -m benchmarks.soak [QUESTIONS] [--mixed REQUESTS] [--minutes MINUTES]`: checks that nothing grows under load.

First, many questions to the gateway and its embedded engine, described here. Then requests of all kinds, and 500 streams at once
beside 1,000 idle sessions (`soak_load.py`). It exits with status 1 if a limit is exceeded.

Every question is new to both: another image, and a few or a few hundred other words. One in four begins a session, in which the next
question is asked too. The store is small, so that it fills soon and must free memory. Answers have one token. No process may grow in the
second half.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import soak_load
from benchmarks.children import child
from benchmarks.questions import Question, client, post, to_gateway
from benchmarks.report import machine

QUESTIONS = 2000
STEPS = 10
STORE = 2**20
"""Bytes for images and sessions: a few hundred questions fill them."""
MOST_GROWTH = 4.0
"""Megabytes by which a process may grow in the second half. With llama.cpp's own limit of the prompt cache, it grows by hundreds."""
WORDS = ("what", "colour", "is", "the", "circle", "square", "and", "of", "this", "image", "how", "many", "are", "there", "left", "right")


@dataclass(frozen=True, slots=True)
class Step:
    """Megabytes in main memory after that many questions."""

    questions: int
    engine: float
    gateway: float


SIZES: dict[str, Callable[[Step], float]] = {"engine": lambda step: step.engine, "gateway": lambda step: step.gateway}


def grown(steps: Sequence[Step]) -> dict[str, float]:
    """Return the growth from the middle to the end in megabytes, by process: in the middle, everything with a limit has reached it."""
    return {name: size(steps[-1]) - size(steps[len(steps) // 2]) for name, size in SIZES.items()}


async def soak(questions: int) -> list[Step]:
    """Ask the questions one after the other. Yields a step after the first, which loads the model, and after every tenth part of the
    others.
    """
    steps: list[Step] = []
    settings = {"engine": "embedded", "store_max_bytes": STORE, "image_workers": 1}
    with child("gateway_process", json.dumps(settings)) as gateway:
        async with client() as http:
            url, rng = gateway.hello["url"], random.Random(1)
            path = "/ask"
            for number in range(questions + 1):
                if number % 4 == 0:
                    path = f"/sessions/{await _new_session(http, url)}/turns"
                await _ask(http, _question(url, path, number, rng))
                if number % 4 == 1:
                    path = "/ask"
                if number % max(1, questions // STEPS) == 0:
                    steps.append(Step(number, _megabytes(gateway.ask("engine")["pid"]), _megabytes(gateway.hello["pid"])))
    return steps


def _question(url: str, path: str, number: int, rng: random.Random) -> Question:
    words = " ".join(rng.choices(WORDS, k=rng.choice((5, 20, 100, 400))))
    file = io.BytesIO()
    Image.frombytes("RGB", (16, 16), rng.randbytes(768)).resize((112, 112), Image.Resampling.NEAREST).save(file, "PNG")
    return to_gateway(url, f"{number}: {words}?", 1, [file.getvalue()], path=path)


async def _ask(http: aiohttp.ClientSession, question: Question) -> None:
    """Ask once; an answer of one token may contain no words."""
    async with post(http, question) as response:
        text = await response.text()
        if response.status != 200 or "event: error" in text:
            raise RuntimeError(f"the question was refused with {response.status}: {text[:300]}")


async def _new_session(http: aiohttp.ClientSession, url: str) -> str:
    async with http.post(f"{url}/sessions", json={}) as response:
        return str((await response.json())["id"])


def _megabytes(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


def table(steps: Sequence[Step]) -> Table:
    shown = Table("questions", "engine, MB", "gateway, MB", title=f"memory; {machine()['cores']} cores, {machine()['os']}")
    for step in steps:
        shown.add_row(f"{step.questions:,}", f"{step.engine:.1f}", f"{step.gateway:.1f}")
    shown.add_row("second half", *(f"{growth:+.1f}" for growth in grown(steps).values()))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.soak", description="Asks many questions and watches the memory of gateway and engine.")
    parser.add_argument("questions", nargs="?", type=int, default=QUESTIONS)
    parser.add_argument("--mixed", type=int, default=soak_load.REQUESTS, metavar="REQUESTS", help="requests of all kinds")
    parser.add_argument("--minutes", type=float, default=soak_load.MINUTES, help="how long 500 streams run")
    arguments = parser.parse_args()
    faults = []
    if arguments.questions:
        steps = asyncio.run(soak(arguments.questions))
        Console().print(table(steps))
        faults += [f"The {name} still grew in the second half." for name, growth in grown(steps).items() if growth > MOST_GROWTH]
    if arguments.mixed:
        mixed = asyncio.run(soak_load.mixed(arguments.mixed))
        Console().print(mixed.table())
        faults += mixed.faults()
    if arguments.minutes:
        streams = asyncio.run(soak_load.streams(arguments.minutes))
        Console().print(streams.table())
        faults += streams.faults()
    if faults:
        sys.exit(" ".join(faults))


if __name__ == "__main__":
    main()
