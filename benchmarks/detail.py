"""The cost of detail: the time to the first word about a 12-megapixel photo, sent as one square, as auto decides, and in tiles."""

from __future__ import annotations

import asyncio

import aiohttp

from benchmarks.large import Large, engines, model
from benchmarks.photo import SMALL, TWELVE_MEGAPIXELS, encoded, photo
from benchmarks.questions import client
from benchmarks.report import Figure, Report, ratio

DETAILS = ("low", "auto", "high")


def run(*, quick: bool) -> Report:
    report = Report("detail", "time to the first word about a photo by how much of it is seen", quick)
    size = SMALL if quick else TWELVE_MEGAPIXELS
    rounds = 1 if quick else 2
    photos = [encoded(photo(size, seed=seed), "JPEG") for seed in range(rounds * len(DETAILS))]
    with model(quick=quick) as pair:
        for engine in engines(report.notes):
            with engine(pair) as large:
                times, tokens = asyncio.run(_in_turns(large, photos))
            for detail in DETAILS:
                report.figures.append(Figure(f"{large.engine}: {detail} ({tokens[detail]} tokens)", "ms", tuple(times[detail])))
            report.ratios.append(ratio(f"{large.engine}: high / low", times["high"], times["low"]))
    return report


async def _in_turns(large: Large, photos: list[bytes]) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Measure times and tokens by detail. Each photo is used once; `auto` knows the model's speed from the photo before."""
    times: dict[str, list[float]] = {detail: [] for detail in DETAILS}
    tokens: dict[str, int] = {}
    async with client() as session:
        await large.ask(session, large.next_question())  # loads the model
        for index, image in enumerate(photos):
            detail = DETAILS[index % len(DETAILS)]
            image_id = await large.store(session, image)
            times[detail].append((await large.ask(session, large.next_question(), image_id, detail=detail)).first)
            tokens[detail] = await _tokens(large, session, image_id, detail)
    return times, tokens


async def _tokens(large: Large, session: aiohttp.ClientSession, image_id: str, detail: str) -> int:
    body = {"prompt": ".", "images": [{"image_id": image_id}], "detail": detail}
    async with session.post(f"{large.gateway}/count_tokens", json=body) as response:
        return int(sum((await response.json())["parts"]["images"]))
