"""Describe the pieces to send of one image: canvases that each show a part of it, whole or cut into tiles (values only, no pixels)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llava_gateway.chat import Label
from llava_gateway.notes import Note
from llava_gateway.parts import Box

Size: TypeAlias = tuple[int, int]
Colour: TypeAlias = tuple[int, int, int]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
SMALLEST_SIDE = 32
"""The smallest side in pixels that is kept or sent, because engines crash on images below 28 px (their patch size)."""
CLIP_MEAN: Colour = (122, 116, 104)
"""CLIP's mean colour, with which llama.cpp pads LLaVA-1.5's square (mtmd-image.cpp); the model was trained to ignore it."""
BLACK: Colour = (0, 0, 0)
GRAY: Colour = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Canvas:
    """One part of the image, centred on a background, sent whole or cut into tiles.

    Attributes:
        role: purpose of the canvas.
        inner: (width, height) in pixels of the resized part.
        size: (width, height) in pixels of the canvas.
        region: the part of the image that it shows.
        fill: colour of the background.
        tile: (width, height) in pixels of its tiles, row by row; None if it is one piece.
        label: text before its first piece in the prompt; "" for none.
    """

    role: Literal["whole", "overview", "tiles", "region", "strip"]
    inner: Size
    size: Size
    region: Box = WHOLE
    fill: Colour = CLIP_MEAN
    tile: Size | None = None
    label: str = ""

    @property
    def grid(self) -> Size:
        """The (columns, rows) of its pieces."""
        return (1, 1) if self.tile is None else (self.size[0] // self.tile[0], self.size[1] // self.tile[1])


@dataclass(frozen=True, slots=True)
class Plan:
    """The pieces to send of one image, canvas by canvas, in this order.

    Attributes:
        canvases: the canvases in the order of sending.
        tokens: tokens in the engine's context, markers and separators included; None while unknown.
        label: how far `tokens` can be trusted.
        detail: "high" if the image is cut into tiles or costs more than `families.LOW_TOKENS`.
        lossless: whether to send PNG regardless of the original format.
        notes: wishes that were not met exactly.
    """

    canvases: tuple[Canvas, ...]
    tokens: int | None = None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    lossless: bool = False
    notes: tuple[Note, ...] = ()


def letterbox(size: Size, side: int, fill: Colour = CLIP_MEAN) -> Canvas:
    """Fit the image inside a square of `side` pixels. Rounds the short side up, as llama.cpp does (mtmd-image.cpp, `img_tool::resize`)."""
    # In integers, because 3000 * (336 / 4000) is slightly more than 252 in floating point.
    inner = -(-size[0] * side // max(size)), -(-size[1] * side // max(size))
    return Canvas("whole", inner, (side, side), fill=fill)


def pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the pixels that a box touches in an image of `size` pixels; at least one pixel."""
    left, top = (min(int(at * side), side - 1) for at, side in zip(box[:2], size, strict=True))
    # A fraction that should end exactly on a pixel may lie slightly beyond it.
    ends = (math.ceil((at + length) * side - 1e-6) for at, length, side in zip(box[:2], box[2:], size, strict=True))
    right, bottom = (min(max(end, start + 1), side) for end, start, side in zip(ends, (left, top), size, strict=True))
    return left, top, right, bottom
