"""Images of all sizes and shapes, the same in every run, and the size in which one is sent."""

from __future__ import annotations

import random
from collections.abc import Iterator

from llava_gateway.images.plan import Plan, Size


def sizes(count: int, seed: int = 1, longest: float = 11) -> Iterator[Size]:
    """Sides from 16 to 2^longest pixels, shapes up to 1:8."""
    draw = random.Random(seed)
    for _ in range(count):
        side, aspect = 2 ** draw.uniform(5, longest), 2 ** draw.uniform(-1.5, 1.5)
        yield max(16, round(side * aspect)), max(16, round(side / aspect))


def sent(plan: Plan) -> Size:
    (canvas,) = plan.canvases
    return canvas.size
