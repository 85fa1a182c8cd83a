"""What a model is sent of one image: sheets with a part of it, whole or cut into pieces (values only; no pixels here)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llava_gateway.chat import Box, Label
from llava_gateway.notes import Note

Size: TypeAlias = tuple[int, int]
Colour: TypeAlias = tuple[int, int, int]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
SMALLEST_SIDE = 32
"""Engines die on images below 28 px (their patch size), so nothing smaller is kept or sent."""
CLIP_MEAN: Colour = (122, 116, 104)
"""What llama.cpp pads LLaVA-1.5's square with (mtmd-image.cpp, CLIP's mean colour): the model has learned that it means nothing."""
BLACK: Colour = (0, 0, 0)
GRAY: Colour = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Canvas:
    """One sheet of a plan: a part of the image, resized to `inner`, centred on `size` pixels of `fill`, whole or cut into tiles.

    Attributes:
        role: what it is for.
        region: the part of the image.
        tile: (width, height) of the pieces it is cut into, row by row; None: it is one piece.
    """

    role: Literal["whole", "overview", "tiles", "region"]
    inner: Size
    size: Size
    region: Box = WHOLE
    fill: Colour = CLIP_MEAN
    tile: Size | None = None

    @property
    def grid(self) -> Size:
        """(columns, rows) of its pieces."""
        return (1, 1) if self.tile is None else (self.size[0] // self.tile[0], self.size[1] // self.tile[1])


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model is sent of one image: the pieces of each canvas, in this order.

    Attributes:
        tokens, label: what that costs in the engine, begin and end markers and separators included; None where it is not known yet.
        lossless: send PNG, whatever the image came as.
        notes: wishes that could not be met.
    """

    canvases: tuple[Canvas, ...]
    tokens: int | None = None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    lossless: bool = False
    notes: tuple[Note, ...] = ()


def letterbox(size: Size, side: int, fill: Colour = CLIP_MEAN) -> Canvas:
    """The image inside a square, one side filled; llama.cpp rounds the other one up (mtmd-image.cpp, `img_tool::resize`)."""
    # In whole numbers: 3000 * (336 / 4000) is a little more than 252.
    inner = -(-size[0] * side // max(size)), -(-size[1] * side // max(size))
    return Canvas("whole", inner, (side, side), fill=fill)


def pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of all pixels of an image of `size` that a box touches; at least one."""
    left, top = (min(int(at * side), side - 1) for at, side in zip(box[:2], size, strict=True))
    # Fractions that were meant to end on a pixel may lie a hair beyond it.
    ends = (math.ceil((at + length) * side - 1e-6) for at, length, side in zip(box[:2], box[2:], size, strict=True))
    right, bottom = (min(max(end, start + 1), side) for end, start, side in zip(ends, (left, top), size, strict=True))
    return left, top, right, bottom
