"""How the canvases of a plan lie in the drawing of what a model sees (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llava_gateway.images.plan import Canvas, Size

MAGNIFIED_TO = 672
"""Long side in pixels up to which small canvases are magnified, by whole numbers, so that each pixel stays one."""
GAP = 16
"""Pixels between two canvases."""


def magnification(canvases: Sequence[Canvas]) -> int:
    return max(1, MAGNIFIED_TO // max(max(canvas.size) for canvas in canvases))


def drawn_size(canvases: Sequence[Canvas]) -> Size:
    """The canvases side by side, magnified."""
    scale = magnification(canvases)
    width = sum(canvas.size[0] for canvas in canvases) * scale + GAP * (len(canvases) - 1)
    return width, max(canvas.size[1] for canvas in canvases) * scale


def inner_box(canvas: Canvas) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the image on its canvas, in pixels of the canvas."""
    left, top = (canvas.size[0] - canvas.inner[0]) // 2, (canvas.size[1] - canvas.inner[1]) // 2
    return left, top, left + canvas.inner[0], top + canvas.inner[1]


def corners(canvas: Canvas) -> Iterator[Size]:
    """The top left corner of each piece, in the order they are sent."""
    width, height = canvas.tile or canvas.size
    columns, rows = canvas.grid
    for row in range(rows):
        for column in range(columns):
            yield column * width, row * height
