"""Lay out the canvases of a plan in the drawing of what a model sees (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llava_gateway.images.plan import Canvas, Size

MAGNIFIED_TO = 672
"""Small canvases are magnified by a whole number up to this long side in pixels, so that every pixel stays a square."""
GAP = 16
"""Pixels between two canvases."""


def magnification(canvases: Sequence[Canvas]) -> int:
    return max(1, MAGNIFIED_TO // max(max(canvas.size) for canvas in canvases))


def drawn_size(canvases: Sequence[Canvas]) -> Size:
    """Return (width, height) in pixels of the magnified canvases side by side."""
    scale = magnification(canvases)
    width = sum(canvas.size[0] for canvas in canvases) * scale + GAP * (len(canvases) - 1)
    return width, max(canvas.size[1] for canvas in canvases) * scale


def inner_box(canvas: Canvas) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the image on its canvas, in pixels of the canvas."""
    left, top = (canvas.size[0] - canvas.inner[0]) // 2, (canvas.size[1] - canvas.inner[1]) // 2
    return left, top, left + canvas.inner[0], top + canvas.inner[1]


def corners(canvas: Canvas) -> Iterator[Size]:
    """Yield the top left corner (x, y) of each piece in canvas pixels, in the order of sending."""
    width, height = canvas.tile or canvas.size
    columns, rows = canvas.grid
    for row in range(rows):
        for column in range(columns):
            yield column * width, row * height
