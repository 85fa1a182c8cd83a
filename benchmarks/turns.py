"""A long conversation about photos of a phone: how long each of its 50 turns takes.

Directly, a client keeps the conversation and sends all of it with each turn, photos included, as Ollama's API wants it; when it no longer
fits, Ollama drops the oldest messages and says nothing. Through the gateway it sends the question; what no longer fits is dropped in large
steps, the photos stay, and the answer says so.
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
"""Turns that bring a photo."""
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
    """A turn directly, the same one through the gateway, ...; milliseconds of each to the end of its answer. Each has an Ollama of its own:
    they would push each other's conversation out of the engine's cache."""
    direct: list[float] = []
    ours: list[float] = []
    async with client() as session:
        for pair in (one, other):  # the model is loaded
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
    told = sum(index < turns for index in PHOTOS_IN)
    gone = sum(item["image_id"] is not None for item in dropped)
    report.notes.append(f"Directly, {kept} of {told} photos were still in the prompt of the last turn; no answer had said so.")
    report.notes.append(f"Through us, {told - gone} of {told} were; {len(dropped)} old turns or photos were named as dropped.")
    return direct, ours


async def _new_session(session: aiohttp.ClientSession, pair: Pair) -> str:
    async with session.post(f"{pair.gateway}/sessions", json={}) as response:
        return str((await response.json())["id"])


async def _kept(session: aiohttp.ClientSession, pair: Pair, conversation: Sequence[Turn]) -> int:
    """How many photos of a conversation Ollama tells the model of."""
    shown = to_ollama(pair.engine, conversation, WORDS, truncate=True, stream=False, _debug_render_only=True)
    async with session.post(shown.url, data=shown.body) as response:
        return int((await response.json())["_debug_info"].get("image_count", 0))


async def _dropped(session: aiohttp.ClientSession, pair: Pair, session_id: str) -> list[dict[str, Any]]:
    """What the gateway would leave out in the next turn."""
    async with session.post(f"{pair.gateway}/count_tokens", json={"prompt": QUESTION, "session_id": session_id}) as response:
        return list((await response.json())["dropped"])


def _question(turn: int) -> str:
    return DESCRIBE if turn in PHOTOS_IN else NOTES[turn % len(NOTES)].format(QUESTION)


def _photos(turn: int, photos: Sequence[bytes]) -> Sequence[bytes]:
    return [photos[PHOTOS_IN.index(turn)]] if turn in PHOTOS_IN else []
