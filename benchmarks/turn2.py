"""The second question about a phone's photo: the time to its first word.

Directly, a client keeps the conversation and sends the whole photo with each turn; through the gateway it sends the question, and the
engine gets the same few bytes as in turn 1. The engine knows the image either way: the difference is how much is sent and decoded again.
The direct way gets an upright photo, since no engine applies the rotation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from PIL import Image

from benchmarks.engines import Pair, pairs
from benchmarks.photo import SMALL, TWELVE_MEGAPIXELS, encoded, photo
from benchmarks.questions import Turn, ask, client, to_gateway
from benchmarks.report import Figure, Report, ratio

FIRST, SECOND = "What is in this picture?", "What colour is it?"
WORDS = 8
HALF = 0.5
"""Goal: time to the first word of turn 2, through the gateway divided by directly."""
ON_ITS_SIDE = 6
"""EXIF orientation of a phone held upright."""


@dataclass(frozen=True, slots=True)
class Photos:
    """The same photo as the phone stores it and upright."""

    stored: bytes
    upright: bytes


def run(*, quick: bool) -> Report:
    report = Report("turn2", "time to the first word of turn 2 about a 12-megapixel phone photo", quick)
    size = SMALL if quick else TWELVE_MEGAPIXELS
    image = photo(size)
    photos = Photos(encoded(image, "JPEG", orientation=ON_ITS_SIDE), encoded(image.transpose(Image.Transpose.ROTATE_270), "JPEG"))
    report.notes.append(f"The photo: {size[0]}x{size[1]}, {len(photos.stored) / 1e6:.1f} MB.")
    for engine in pairs(report.notes):
        with engine() as pair:
            direct, ours = asyncio.run(_in_turns(pair, photos, 1 if quick else 15))
        report.figures.append(Figure(f"{pair.name}: directly", "ms", tuple(direct)))
        report.figures.append(Figure(f"{pair.name}: through us", "ms", tuple(ours)))
        report.ratios.append(ratio(f"{pair.name}: through us / directly", ours, direct, HALF))
    return report


async def _in_turns(pair: Pair, photos: Photos, rounds: int) -> tuple[list[float], list[float]]:
    """Run a conversation directly, then one through the gateway, ...; the first of each only warms up."""
    direct, ours = [], []
    async with client() as session:
        for _ in range(rounds + 1):
            ours.append(await _through(session, pair, photos.stored))
            direct.append(await _directly(session, pair, photos.upright))
    return direct[1:], ours[1:]


async def _directly(session: aiohttp.ClientSession, pair: Pair, image: bytes) -> float:
    conversation: Sequence[Turn] = [Turn("user", FIRST, [image])]
    answer = await ask(session, pair.direct(conversation, WORDS))
    conversation = [*conversation, Turn("assistant", answer.text), Turn("user", SECOND)]
    return (await ask(session, pair.direct(conversation, WORDS))).first


async def _through(session: aiohttp.ClientSession, pair: Pair, image: bytes) -> float:
    async with session.post(f"{pair.gateway}/sessions", json={}) as response:
        path = f"/sessions/{(await response.json())['id']}/turns"
    await ask(session, to_gateway(pair.gateway, FIRST, WORDS, [image], path=path))
    return (await ask(session, to_gateway(pair.gateway, SECOND, WORDS, path=path))).first
