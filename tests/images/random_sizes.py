"""Draw random image sizes and shapes, the same in every run, and read the size at which a plan sends an image."""

from __future__ import annotations

import random
from collections.abc import Iterator

from llava_gateway.images.plan import Plan, Size


def sizes(count: int, seed: int = 1, longest: float = 11) -> Iterator[Size]:
    """Yield (width, height) in pixels: geometric mean from 32 to `2^longest`, shapes up to 1:8, sides of at least 16."""
    draw = random.Random(seed)
    for _ in range(count):
        side, aspect = 2 ** draw.uniform(5, longest), 2 ** draw.uniform(-1.5, 1.5)
        yield max(16, round(side * aspect)), max(16, round(side / aspect))


def sent(plan: Plan) -> Size:
    (canvas,) = plan.canvases
    return canvas.size
