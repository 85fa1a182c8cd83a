"""A question about an image that was read ahead while the user typed: the time to its first word, compared with the same question without
an image, and about an image that was not read ahead.

The model has the vision encoder of LLaVA, CLIP's ViT-L/14 at 336 px, which takes most of the time to the first word on a CPU.
"""

from __future__ import annotations

import asyncio

import aiohttp
import numpy as np
from PIL import Image

from benchmarks.large import Large, engines, model
from benchmarks.photo import encoded
from benchmarks.questions import client
from benchmarks.report import Figure, Report, ratio

AS_FAST = 1.2
"""Goal: time to the first word after reading ahead, divided by that of the same question without an image."""
ONE_SQUARE = "low"
"""Each image is one run of the vision encoder: with tiles a round would take minutes."""
EARLY_S = 2.0
"""Delay of an early question after the image, while the vision encoder runs."""


def run(*, quick: bool) -> Report:
    report = Report("read_ahead", "time to the first word about an image that was read while the question was typed", quick)
    rounds, early = (1, 0.02) if quick else (5, EARLY_S)
    with model(quick=quick) as pair:
        for engine in engines(report.notes):
            with engine(pair) as large:
                report = _add(report, large, asyncio.run(_in_turns(large, rounds, early)))
    return report


def _add(report: Report, large: Large, times: dict[str, list[float]]) -> Report:
    for name, values in times.items():
        report.figures.append(Figure(f"{large.engine}: {name}", "ms", tuple(values)))
    report.ratios.append(
        ratio(f"{large.engine}: read ahead / no image", times["image, read ahead"], times["no image"], AS_FAST),
    )
    return report


async def _in_turns(large: Large, rounds: int, early: float) -> dict[str, list[float]]:
    """Ask one question of each kind, then repeat; every image and every question is new."""
    names = ("no image", "image, read ahead", "image", f"image, asked {EARLY_S:g} s after it", "no image, beside one being read")
    times: dict[str, list[float]] = {name: [] for name in names}
    async with client() as session:
        await large.ask(session, large.next_question(), await _image(large, session), detail=ONE_SQUARE)  # loads the model
        for _ in range(rounds):
            for name, milliseconds in zip(names, await _one_of_each(large, session, early), strict=True):
                times[name].append(milliseconds)
    return times


async def _one_of_each(large: Large, session: aiohttp.ClientSession, early: float) -> tuple[float, ...]:
    question = large.next_question()
    alone = await large.ask(session, question)
    ahead = await _image(large, session)
    if (await large.read_ahead(session, ahead, detail=ONE_SQUARE))["status"] != "read":
        raise RuntimeError("the image was not read ahead")
    after = await large.ask(session, question, ahead, detail=ONE_SQUARE)
    cold = await large.ask(session, question, await _image(large, session), detail=ONE_SQUARE)
    half_read = await _image(large, session)
    await large.read_ahead(session, half_read, wait=False, detail=ONE_SQUARE)
    await asyncio.sleep(early)
    meanwhile = await large.ask(session, question, half_read, detail=ONE_SQUARE)
    await large.read_ahead(session, await _image(large, session), wait=False, detail=ONE_SQUARE)
    await asyncio.sleep(early)
    beside = await large.ask(session, large.next_question())
    return tuple(timed.first for timed in (alone, after, cold, meanwhile, beside))


async def _image(large: Large, session: aiohttp.ClientSession) -> str:
    """Store a new image: its noise is different each time."""
    large.drawn += 1
    noise = np.random.default_rng(large.drawn).integers(0, 256, (60, 80, 3), np.uint8)
    image = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC)
    return await large.store(session, encoded(image, "JPEG"))
