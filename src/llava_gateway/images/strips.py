"""Plan a long image in strips: parts in reading order that overlap, so that text is sent larger than in one piece (pure).

A full-page screenshot or a panorama that is shrunk as a whole becomes a line in which nothing can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from llava_gateway.images.plan import WHOLE, Canvas, Plan, Size, pixels
from llava_gateway.notes import Note, note
from llava_gateway.parts import Box, Sight

LONG = 3
"""The long side divided by the short side from which an image is long."""
MOST = 24
"""Most strips of an image."""
MOST_OF_UNKNOWN_COST = 4
"""Most strips where the tokens of an image are not known, so that nobody can tell how many fit into the context."""
OVERLAP = 0.1
"""The share of a strip that shows the end of the one before again, so that no line of text is cut in all strips that show it."""
READABLE = 12
"""The height in pixels, as sent, from which models read text. It is a little less than a patch of CLIP (14 pixels)."""
FINE = 16
"""The height in pixels of the original from which nobody misses smaller text."""
LABEL_TOKENS = 8
"""Approximate tokens of the number before a strip."""
_WORTH = 1.25
"""Strips must show text this much larger than one piece does."""
_NEARLY = 0.95
"""Of the numbers of strips that show nearly as much, the smallest wins: each cut is a place where the model may lose the thread."""
_OVERVIEW_SHARE = 5
"""The overview is left out if it would cost more than this fraction of the tokens."""

Close: TypeAlias = Callable[[Size, Sight], Plan]
"""Plans a part of an image of this size, as large as `max_image_tokens` allows, without an overview."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A number of strips with what they show: pixels sent per pixel of the image, at most 1."""

    plans: tuple[tuple[Box, Plan], ...]
    scale: float


def is_long(size: Size) -> bool:
    return max(size) >= LONG * min(size)


def may_cut(size: Size, sight: Sight) -> bool:
    """Return whether an image of this size is sent in strips if they show more: a long one, as a whole, in high detail."""
    whole = sight.region in (None, WHOLE) and sight.image_size is None and sight.num_visual_tokens is None
    return sight.detail == "high" and whole and is_long(size)


def in_strips(size: Size, sight: Sight, plain: Plan, overview: Plan, close: Close, most_pieces: int | None) -> Plan | None:
    """Plan the strips of an image, after an overview. Returns None if they would not show much more than `plain`, the plan without strips.

    Args:
        size: (width, height) of the image in pixels, upright.
        sight: `max_image_tokens` limits the tokens of all strips together; without it there are as many as show more.
        overview: plan of the whole image at little cost.
        most_pieces: most files that the model takes; None for no limit.
    """
    budget = sight.max_image_tokens
    if budget is not None and (overview.tokens or 0) * _OVERVIEW_SHARE > budget:
        overview = replace(overview, canvases=(), tokens=0)
    cuts = list(_cuts(size, sight, budget, overview, close, most_pieces))
    best = max((cut.scale for cut in cuts), default=0.0)
    if best < _WORTH * scale(plain, size):
        return None
    cut = next(cut for cut in cuts if cut.scale >= _NEARLY * best)
    count = len(cut.plans)
    parts = [
        replace(canvas, role="strip", region=region, label=f"{number}/{count}:" if first else "")
        for number, (region, plan) in enumerate(cut.plans, 1)
        for first, canvas in _with_first(plan.canvases)
    ]
    costs = [overview.tokens, *(plan.tokens for _, plan in cut.plans)]
    return Plan(
        (*(replace(canvas, role="overview") for canvas in overview.canvases), *parts),
        tokens=None if None in costs else sum(filter(None, costs)),
        label=cut.plans[0][1].label,
        detail="high",
        lossless=plain.lossless,
    )


def scale(plan: Plan, size: Size) -> float:
    """Return how large a plan shows the image at its largest: pixels sent per pixel of the image, at most 1.

    A canvas that is stretched counts by its smaller side.
    """
    strips = [_scale(canvas, size) for canvas in plan.canvases if canvas.role == "strip"]
    whole = [_scale(canvas, size) for canvas in plan.canvases if canvas.region == WHOLE]
    return min(1.0, min(strips) if strips else max(whole, default=0.0))


def smallest_text(plan: Plan, size: Size) -> int:
    """Return the height in pixels of the image from which its text can be read, by a rule of thumb (READABLE)."""
    return math.ceil(READABLE / max(scale(plan, size), 1e-3))


def about(size: Size, original: Size, now: Plan, better: Plan | None) -> Note | None:
    """Return the warning about a long image that is sent as `now`: which text is too small, and what shows more. None if all can be read.

    Args:
        size: (width, height) in pixels of the image, upright.
        original: (width, height) in pixels of the file, in which the note counts.
        better: plan of the image in strips; None if the model can't get any.
    """
    factor = max(original) / max(size)
    text, least = (math.ceil(smallest_text(plan, size) * factor) if plan else None for plan in (now, better))
    if text is None or text <= FINE:
        return None
    width, height = sorted(original, reverse=size[0] > size[1])
    values = {"width": width, "height": height, "text": text}
    if parts := count(now):
        return note("long_image_parts", **values, parts=parts)
    if better and least and (parts := count(better)) and least * _WORTH <= text:
        return note("long_image", **values, parts=parts, parts_text=least)
    return note("long_image_whole", **values)


def count(plan: Plan) -> int:
    """Return the number of strips; 0 for a plan without any."""
    return sum(bool(canvas.label) for canvas in plan.canvases)


def _cuts(size: Size, sight: Sight, budget: int | None, overview: Plan, close: Close, most_pieces: int | None) -> Iterator[_Cut]:
    """Yield the possible numbers of strips, with as many tokens for each as the budget allows."""
    for number in range(2, MOST + 1):
        each = None if budget is None else (budget - (overview.tokens or 0)) // number - LABEL_TOKENS
        if each is not None and each < 1:
            return
        wish = replace(sight, region=None, max_image_tokens=each)
        regions = tuple(_regions(size, number))
        by_size = {part: close(part, wish) for part in {_size_of(region, size) for region in regions}}  # few sizes, by rounding
        plans = tuple((region, by_size[_size_of(region, size)]) for region in regions)
        costs = [plan.tokens for _, plan in plans]
        if None in costs and number > MOST_OF_UNKNOWN_COST:
            return
        if each is not None and any((cost or 0) > each for cost in costs):
            return  # more strips would leave even less for each
        files = _files(overview) + sum(_files(plan) for _, plan in plans)
        if most_pieces is not None and files > most_pieces:
            return
        shown = min(_scale(canvas, _size_of(region, size)) for region, plan in plans for canvas in plan.canvases)
        yield _Cut(plans, min(1.0, shown))
        if shown >= 1:
            return


def _files(plan: Plan) -> int:
    return sum(math.prod(canvas.grid) for canvas in plan.canvases)


def _regions(size: Size, number: int) -> Iterator[Box]:
    """Yield equal parts along the long side, each OVERLAP of which repeats the one before."""
    length = 1 / (number - (number - 1) * OVERLAP)
    for place in range(number):
        start = 1 - length if place == number - 1 else place * length * (1 - OVERLAP)
        start, extent = round(start, 6), round(length, 6)
        yield (0.0, start, 1.0, extent) if size[1] > size[0] else (start, 0.0, extent, 1.0)


def _size_of(region: Box, size: Size) -> Size:
    left, top, right, bottom = pixels(region, size)
    return right - left, bottom - top


def _scale(canvas: Canvas, size: Size) -> float:
    """Return the scale of a canvas; `size` is that of the image, or of the part if the canvas has no region yet."""
    part = _size_of(canvas.region, size)
    return min(canvas.inner[0] / part[0], canvas.inner[1] / part[1])


def _with_first(canvases: tuple[Canvas, ...]) -> Iterator[tuple[bool, Canvas]]:
    return ((place == 0, canvas) for place, canvas in enumerate(canvases))
