"""A long conversation about photos of a phone: the time that each of its 50 turns takes.

Directly, a client keeps the conversation and sends all of it with each turn, including photos, as Ollama's API requires; when it no longer
fits, Ollama silently drops the oldest messages. Through the gateway it sends only the question; what no longer fits is dropped in large
steps, the photos stay, and the answer reports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.engines import Pair, ollama
from benchmarks.photo import SMALL, TWELVE_MEGAPIXELS, encoded, photo
from benchmarks.questions import Turn, ask, client, to_gateway, to_ollama
from benchmarks.report import Figure, Report, ratio
from tests.ollama_server import find_binary

TURNS = 50
PHOTOS_IN = (0, 10, 25)
"""Turns that include a photo."""
WORDS = 8
DESCRIBE = "Describe this image."
NOTES = (
    "Here are my notes of today. I walked to the market in the morning and bought bread, apples and a small plant for the window. {}",
    "It rained after lunch, so I stayed at home and read a book about the sea and the people who live on its shore. {}",
    "In the evening a friend came by. We cooked soup, talked about the summer and made a list of what to take on the journey. {}",
)
QUESTION = "What color is the background?"


def run(*, quick: bool) -> Report:
    report = Report("turns", f"time of each turn of a conversation of {TURNS} turns with {len(PHOTOS_IN)} phone photos", quick)
    if find_binary() is None:
        report.notes.append("There is no real Ollama (`make real-ollama` builds one): nothing is measured.")
        return report
    size = SMALL if quick else TWELVE_MEGAPIXELS
    photos = [encoded(photo(size, seed=seed), "JPEG") for seed in range(len(PHOTOS_IN))]
    report.notes.append(f"The photos: {size[0]}x{size[1]}, {sum(map(len, photos)) / 1e6:.1f} MB together.")
    with ollama() as one, ollama() as other:
        direct, ours = asyncio.run(_in_turns(one, other, photos, report, 12 if quick else TURNS))
    report.figures += [Figure("Ollama: directly", "ms", tuple(direct)), Figure("Ollama: through us", "ms", tuple(ours))]
    report.ratios.append(ratio("Ollama: through us / directly", ours, direct))
    late = len(direct) // 2
    report.ratios.append(ratio("the same, second half", ours[late:], direct[late:]))
    return report


async def _in_turns(one: Pair, other: Pair, photos: Sequence[bytes], report: Report, turns: int) -> tuple[list[float], list[float]]:
    """Run a turn directly, the same one through the gateway, ...; returns milliseconds to the end of each answer. Each way has its own
    Ollama: otherwise they would evict each other's conversation from the engine's cache.
    """
    direct: list[float] = []
    ours: list[float] = []
    async with client() as session:
        for pair in (one, other):  # loads the model
            await ask(session, to_ollama(pair.engine, [Turn("user", QUESTION)], WORDS))
        conversation: list[Turn] = []
        session_id = await _new_session(session, other)
        for turn in range(turns):
            conversation.append(Turn("user", _question(turn), _photos(turn, photos)))
            answer = await ask(session, to_ollama(one.engine, conversation, WORDS, truncate=True))
            conversation.append(Turn("assistant", answer.text))
            direct.append(answer.total)
            path = f"/sessions/{session_id}/turns"
            ours.append((await ask(session, to_gateway(other.gateway, _question(turn), WORDS, _photos(turn, photos), path=path))).total)
        kept = await _kept(session, one, conversation[:-1])
        dropped = await _dropped(session, other, session_id)
    asked = sum(index < turns for index in PHOTOS_IN)
    gone = sum(item["image_id"] is not None for item in dropped)
    report.notes.append(f"Directly, {kept} of {asked} photos were still in the prompt of the last turn; no answer reported the loss.")
    report.notes.append(
        f"Through the gateway, {asked - gone} of {asked} were; the answers reported {len(dropped)} old turns or photos as dropped."
    )
    return direct, ours


async def _new_session(session: aiohttp.ClientSession, pair: Pair) -> str:
    async with session.post(f"{pair.gateway}/sessions", json={}) as response:
        return str((await response.json())["id"])


async def _kept(session: aiohttp.ClientSession, pair: Pair, conversation: Sequence[Turn]) -> int:
    """Return how many photos of a conversation Ollama sends to the model."""
    shown = to_ollama(pair.engine, conversation, WORDS, truncate=True, stream=False, _debug_render_only=True)
    async with session.post(shown.url, data=shown.body) as response:
        return int((await response.json())["_debug_info"].get("image_count", 0))


async def _dropped(session: aiohttp.ClientSession, pair: Pair, session_id: str) -> list[dict[str, Any]]:
    """Return what the gateway would drop in the next turn."""
    async with session.post(f"{pair.gateway}/count_tokens", json={"prompt": QUESTION, "session_id": session_id}) as response:
        return list((await response.json())["dropped"])


def _question(turn: int) -> str:
    return DESCRIBE if turn in PHOTOS_IN else NOTES[turn % len(NOTES)].format(QUESTION)


def _photos(turn: int, photos: Sequence[bytes]) -> Sequence[bytes]:
    return [photos[PHOTOS_IN.index(turn)]] if turn in PHOTOS_IN else []
