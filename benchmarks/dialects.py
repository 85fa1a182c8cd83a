"""The APIs of others: what a chunk costs in each beside our own, and what a long chat costs whose client sends all of it each time.

The chat has 30 turns and a photo of 3 MB in the first one, in Ollama's API: directly, and with the gateway in front of another Ollama. Both
get the same bytes. Directly, Ollama decodes the photo again in each turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import aiohttp
import psutil

from benchmarks.children import child
from benchmarks.client_process import MARGIN, steady
from benchmarks.engines import Pair, ollama
from benchmarks.photo import encoded, photo
from benchmarks.questions import Turn, ask, client, to_ollama
from benchmarks.report import Figure, Report, ratio
from benchmarks.stub_openai import PACED
from tests.ollama_server import find_binary

QUESTION = "What is in this picture?"
TURNS = 30
PHOTO = (4000, 3000)
WORDS = 4
CHUNK = 1.1
"""Goal: CPU of a chunk, as a multiple of that of a chunk of our own API."""
FIRST_WORD = 0.2
"""Goal: the time to the first word, as a multiple of Ollama's own."""
NATIVE = "/ask"


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    chunks: int
    turns: int
    photo: tuple[int, int]


FULL = Size(rounds=7, chunks=400, turns=TURNS, photo=PHOTO)
QUICK = Size(rounds=1, chunks=3 * MARGIN, turns=3, photo=(400, 300))


def run(*, quick: bool) -> Report:
    report = Report("dialects", "a chunk in each API, and a chat whose client sends all of it each time", quick)
    size = QUICK if quick else FULL
    with child("stub_openai") as stub:
        settings = {"engine": "openai", "openai_base_url": stub.hello["url"], "openai_slots": 20, "image_workers": 1}
        with child("gateway_process", json.dumps(settings)) as gateway:
            asyncio.run(_chunks(report, gateway.hello["url"], psutil.Process(gateway.hello["pid"]), size))
    if find_binary() is None:
        report.notes.append("There is no real Ollama (`make real-ollama` builds one): the chat is left out.")
        return report
    image = encoded(photo(size.photo), "JPEG")
    report.notes.append(f"The photo: {size.photo[0]}x{size.photo[1]}, {len(image) / 1e6:.1f} MB.")
    with ollama() as one, ollama() as other:
        direct, ours = asyncio.run(_chat(one, other, image, size.turns))
    report.figures += [Figure("time to the first word: Ollama", "ms", tuple(direct)), Figure("the same through us", "ms", tuple(ours))]
    report.ratios.append(ratio("time to the first word: through us / Ollama", ours[1:], direct[1:], FIRST_WORD))
    return report


async def _chunks(report: Report, url: str, process: psutil.Process, size: Size) -> None:
    """Read the same paced streams in all APIs alternately."""
    message = [{"role": "user", "content": QUESTION}]
    bodies = {
        NATIVE: {"prompt": QUESTION, "model": PACED, "stream": True, "options": {"num_predict": size.chunks}},
        "/api/chat": {"model": PACED, "messages": message, "options": {"num_predict": size.chunks}},
        "/v1/chat/completions": {"model": PACED, "messages": message, "stream": True, "max_tokens": size.chunks},
        "/v1/responses": {"model": PACED, "input": QUESTION, "stream": True, "max_output_tokens": size.chunks},
        "/v1/messages": {"model": PACED, "messages": message, "stream": True, "max_tokens": size.chunks},
    }
    found: dict[str, list[float]] = {path: [] for path in bodies}

    def cpu() -> float:
        times = process.cpu_times()
        return times.user + times.system

    async with client() as session:
        for _ in range(size.rounds):
            for path, body in bodies.items():
                found[path].append(await steady(partial(_stream, session, url + path, json.dumps(body).encode()), size.chunks, cpu))
    report.figures += [Figure(f"CPU of a chunk: {path}", "us", tuple(values)) for path, values in found.items()]
    report.ratios += [ratio(f"CPU of a chunk: {path} / {NATIVE}", found[path], found[NATIVE], CHUNK) for path in bodies if path != NATIVE]


async def _stream(session: aiohttp.ClientSession, url: str, body: bytes, count: list[int]) -> None:
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
        if response.status != 200:
            raise RuntimeError(f"{url} refused the question: {(await response.text())[:200]}")
        async for line in response.content:
            if b"word" in line:
                count[0] += 1


async def _chat(one: Pair, other: Pair, image: bytes, turns: int) -> tuple[list[float], list[float]]:
    """Ask each turn directly and through the gateway. Returns milliseconds to the first words."""
    direct: list[float] = []
    ours: list[float] = []
    conversation: list[Turn] = []
    async with client() as session:
        for pair in (one, other):  # loads the model
            await ask(session, to_ollama(pair.engine, [Turn("user", QUESTION)], WORDS))
        for turn in range(turns):
            conversation.append(_turn(turn, image))
            told = await ask(session, to_ollama(one.engine, conversation, WORDS))
            direct.append(told.first)
            ours.append((await ask(session, to_ollama(other.gateway, conversation, WORDS))).first)
            conversation.append(Turn("assistant", told.text))
    return direct, ours


def _turn(turn: int, image: bytes) -> Turn:
    images: Sequence[bytes] = [image] if turn == 0 else []
    return Turn("user", QUESTION if images else f"Say a word about it. This is question {turn}.", images)
