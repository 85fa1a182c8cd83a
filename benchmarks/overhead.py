"""The time that the gateway adds to a request, and the CPU that it needs for each streamed word.

Time: the same question with the same image bytes, to a real engine, alternately directly and through the gateway. CPU: an even stream of
words through the gateway, whose CPU time is read after the first words and before the last ones, so that only words are measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import aiohttp

from benchmarks.children import Child, child
from benchmarks.client_process import CLIENTS, MARGIN, STREAMS, steady
from benchmarks.engines import Pair, pairs
from benchmarks.questions import Question, Timed, Turn, ask, client, post, to_gateway
from benchmarks.report import Figure, Report, added, ratio
from tests.sample_images import encoded, shape

ADDED_MS = 1.0
"""Goal: added milliseconds, median."""
CHUNK_US = 75.0
"""Goal: microseconds of CPU per streamed chunk, median."""
INTERVAL = 0.005
WORDS = 16
PROMPT = "What is in this picture?"


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    warm: int
    stream_rounds: int
    chunks: int


FULL = Size(rounds=200, warm=10, stream_rounds=7, chunks=600)
QUICK = Size(rounds=3, warm=1, stream_rounds=1, chunks=3 * MARGIN)


def run(*, quick: bool) -> Report:
    report = Report("overhead", "what the gateway adds to a request, and what each word costs", quick)
    size = QUICK if quick else FULL
    for engine in pairs(report.notes):
        with engine() as pair:
            direct, ours = asyncio.run(_in_turns(pair, size))
        _add_times(report, f"{pair.name}, first word", [one.first for one in direct], [one.first for one in ours])
        _add_times(report, f"{pair.name}, whole answer", [one.total for one in direct], [one.total for one in ours])
    _add_cpu(report, size)
    return report


async def _in_turns(pair: Pair, size: Size) -> tuple[list[Timed], list[Timed]]:
    """Measure directly, through the gateway, directly, ..."""
    async with client() as session:
        image = await _ready_image(session, pair.gateway)
        through = to_gateway(pair.gateway, PROMPT, WORDS, [image])
        await ask(session, through)
        straight = pair.direct([Turn("user", PROMPT, [image])], WORDS)
        direct, ours = [], []
        for _ in range(size.warm):
            await ask(session, straight)
            await ask(session, through)
        for _ in range(size.rounds):
            direct.append(await ask(session, straight))
            ours.append(await ask(session, through))
    if {one.text.strip() for one in direct} != {one.text for one in ours}:
        raise RuntimeError("the engine did not answer the same both ways")
    return direct, ours


async def _ready_image(session: aiohttp.ClientSession, gateway: str) -> bytes:
    """Return the PNG that the gateway sends to the demo model: with it the engine gets the same bytes both ways."""
    form = aiohttp.FormData()
    form.add_field("image", encoded(shape("circle", "red")), filename="circle.png")
    async with session.post(f"{gateway}/images", data=form) as response:
        image_id = (await response.json())["id"]
    async with session.get(f"{gateway}/images/{image_id}", params={"model": "demo"}) as response:
        return await response.read()


def _add_times(report: Report, what: str, direct: Sequence[float], ours: Sequence[float]) -> None:
    report.figures.append(Figure(f"{what}: direct", "ms", tuple(direct)))
    report.figures.append(Figure(f"{what}: through us", "ms", tuple(ours)))
    report.figures.append(added(f"{what}: added", "ms", ours, direct, ADDED_MS))


def _add_cpu(report: Report, size: Size) -> None:
    """Measure CPU. All readers run at the same time and read alternately, so that none gets a better moment of the machine."""
    with ExitStack() as stack:
        fake = stack.enter_context(child("paced_ollama", str(size.chunks), str(INTERVAL)))
        url = fake.hello["url"]
        settings = {"engine": "ollama", "ollama_host": url, "ollama_slots": STREAMS, "image_workers": 1}
        gateway = stack.enter_context(child("gateway_process", json.dumps(settings)))
        clients = {name: stack.enter_context(child("client_process", name, f"{url}/api/chat", str(size.chunks))) for name in CLIENTS}
        ours: list[float] = []
        alone: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(size.stream_rounds):
            ours.append(asyncio.run(_through(gateway, size.chunks)))
            for name, process in clients.items():
                alone[name].append(process.ask("run"))
    report.figures.append(Figure("CPU per chunk: gateway", "us", tuple(ours), CHUNK_US))
    report.figures += [Figure(f"CPU per chunk: {name}", "us", tuple(values)) for name, values in alone.items()]
    used, *others = alone
    report.ratios += [ratio(f"CPU per chunk: {used} / {other}", alone[used], alone[other]) for other in others]


async def _through(gateway: Child, chunks: int) -> float:
    """Return microseconds of the gateway's CPU per chunk."""
    question = to_gateway(gateway.hello["url"], PROMPT, chunks)
    async with client() as session:
        return await steady(lambda count: _read(session, question, count), chunks, lambda: float(gateway.ask("cpu")))


async def _read(session: aiohttp.ClientSession, question: Question, count: list[int]) -> None:
    async with post(session, question) as response:
        async for chunk in response.content.iter_any():
            count[0] += chunk.count(b"event: delta")
