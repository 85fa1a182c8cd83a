"""Plan the pieces that a LLaVA gets of an image: one square, or the tiles of a grid and an overview, as LLaVA-1.6 was trained (pure).

Grid, size and padding follow LLaVA-NeXT's own processor (transformers, `models/llava_next` and `select_best_resolution`), so each tile
has the pixels that the model was trained on. The tiles go to the engine as separate images. Each tile has exactly the input size of the
vision encoder, so the engine resamples nothing. A projector with its own grids produces the same tokens from the whole image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llava_gateway.images.plan import BLACK, CLIP_MEAN, WHOLE, Canvas, Plan, Size, letterbox, pixels
from llava_gateway.notes import Note, note
from llava_gateway.parts import Box, Sight

Overview: TypeAlias = Literal["last", "first"]
"""The position of the overview: after the tiles as in llama.cpp's own grids, or before them as in LLaVA-NeXT's training."""

GRIDS: tuple[Size, ...] = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
"""The grids of LLaVA-1.6 as (columns, rows), in the order of its configuration (`image_grid_pinpoints`)."""
LONG_GRIDS: tuple[Size, ...] = ((4, 1), (1, 4))
"""Grids that LLaVA-1.6 announced (336x1344 and 1344x336) but does not configure: used only when the client asks for them."""


@dataclass(frozen=True, slots=True)
class SquareEye:
    """A vision encoder that sees squares, several of them per image.

    Attributes:
        side: side of a square in pixels.
        tokens: tokens per square; None if unknown.
        grids: the projector's own grids (`image_grid_pinpoints`) as (width, height) in pixels, multiples of `side`; empty to use the
            grids of LLaVA-1.6.
        trained: whether the model was trained with tiles, so that `auto` may choose them.
        stretched: whether a single square holds the stretched image, as engines do for a projector with pinpoints, instead of a
            letterboxed one.
        overview: position of the overview among the tiles.
    """

    side: int
    tokens: int | None = None
    grids: tuple[Size, ...] = ()
    trained: bool = False
    stretched: bool = False
    overview: Overview = "last"

    @property
    def usual_grids(self) -> tuple[Size, ...]:
        return self.grids or tuple(self._pixels(grid) for grid in GRIDS)

    @property
    def all_grids(self) -> tuple[Size, ...]:
        return self.grids or tuple(self._pixels(grid) for grid in (*GRIDS, *LONG_GRIDS))

    def pieces(self, grid: Size | None) -> int:
        """Return the number of squares in a grid and its overview; 1 for no grid (None)."""
        return 1 if grid is None else 1 + (grid[0] // self.side) * (grid[1] // self.side)

    def _pixels(self, grid: Size) -> Size:
        return grid[0] * self.side, grid[1] * self.side


def plan(size: Size, sight: Sight, eye: SquareEye) -> Plan:
    """Plan the pieces to send of an image of `size` (width, height) pixels.

    An image that lies within one square is always sent as one square: tiles would show nothing more.
    """
    if sight.region and sight.region != WHOLE:
        return _closer(size, sight, sight.region, eye)
    grid, notes = _choose(size, sight, eye, least=1)
    if grid is None:
        return _plan((_square(size, eye),), eye, notes)
    overview = Canvas("overview", (eye.side, eye.side), (eye.side, eye.side))
    tiles = _tiles(size, grid, eye)
    return _plan((overview, tiles) if eye.overview == "first" else (tiles, overview), eye, notes)


def close(size: Size, sight: Sight, eye: SquareEye) -> Plan:
    """Plan a part of an image of `size` pixels without an overview: in one square, or in the grid within `max_image_tokens` that keeps
    most of its pixels."""
    every = ((eye.side, eye.side), *eye.usual_grids)
    most, each = sight.max_image_tokens, eye.tokens
    grids = tuple(grid for grid in every if not (most and each) or each * math.prod(grid) // eye.side**2 <= most)
    grid = best_grid(size, grids or every[:1])
    if grid != every[0]:
        return _plan((_tiles(size, grid, eye),), eye, ())
    square = letterbox(size, eye.side, BLACK if eye.stretched else CLIP_MEAN)
    return _plan((square,), eye, ())


def overview(size: Size, eye: SquareEye) -> Plan:
    """Plan the whole image in one square."""
    return _plan((_square(size, eye),), eye, ())


def best_grid(size: Size, grids: tuple[Size, ...]) -> Size:
    """Return the grid that keeps most of the image's pixels; among equals, the one with the least padding (`select_best_resolution`)."""
    width, height = size

    def merit(grid: Size) -> tuple[int, int]:
        scale = min(grid[0] / width, grid[1] / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        return effective, effective - grid[0] * grid[1]

    return max(grids, key=merit)


def fit_inside(size: Size, grid: Size) -> Size:
    """Return the size of the image inside a grid (`get_patch_output_size`, with the same floating-point rounding)."""
    across, down = grid[0] / size[0], grid[1] / size[1]
    if across < down:
        return grid[0], min(math.ceil(size[1] * across), grid[1])
    return min(math.ceil(size[0] * down), grid[0]), grid[1]


def _closer(size: Size, sight: Sight, region: Box, eye: SquareEye) -> Plan:
    """Plan an overview of the whole image, then the region in a square or a grid of its own.

    The region comes last because most questions are about it.
    """
    left, top, right, bottom = pixels(region, size)
    part = right - left, bottom - top
    grid, notes = _choose(part, sight, eye, least=2)
    if grid is None:
        box = letterbox(part, eye.side)
        close = Canvas("region", box.inner, box.size, region, BLACK if eye.stretched else CLIP_MEAN)
    else:
        close = _tiles(part, grid, eye, region)
    square = _square(size, eye)
    return _plan((Canvas("overview", square.inner, square.size), close), eye, notes)


def _square(size: Size, eye: SquareEye) -> Canvas:
    return Canvas("whole", (eye.side, eye.side), (eye.side, eye.side)) if eye.stretched else letterbox(size, eye.side)


def _tiles(size: Size, grid: Size, eye: SquareEye, region: Box = WHOLE) -> Canvas:
    role: Literal["tiles", "region"] = "tiles" if region == WHOLE else "region"
    return Canvas(role, fit_inside(size, grid), grid, region, BLACK, (eye.side, eye.side))


def _plan(canvases: tuple[Canvas, ...], eye: SquareEye, notes: tuple[Note, ...]) -> Plan:
    pieces = sum(columns * rows for columns, rows in (canvas.grid for canvas in canvases))
    return Plan(
        canvases,
        tokens=eye.tokens and eye.tokens * pieces,
        label="exact" if eye.tokens else "estimated",
        detail="high" if any(canvas.tile for canvas in canvases) else "low",
        lossless=True,
        notes=notes,
    )


def _choose(size: Size, sight: Sight, eye: SquareEye, *, least: int) -> tuple[Size | None, tuple[Note, ...]]:
    """Choose the grid for an image or a part of it. Returns (grid or None for one square, notes on wishes that it does not meet).

    Args:
        least: number of squares to send without a grid.
    """
    wished = sight.image_size is not None or sight.num_visual_tokens is not None
    high = sight.detail == "high" or (sight.detail == "auto" and (wished or eye.trained))
    grid = None
    if high and max(size) > eye.side:
        if wished:
            grid = _wished(size, sight, eye)
        elif sight.detail == "auto":
            best = best_grid(size, eye.usual_grids)
            grid = best if _affordable(best, sight, eye) else None
        else:
            affordable = tuple(grid for grid in eye.usual_grids if _affordable(grid, sight, eye))
            grid = best_grid(size, affordable) if affordable else None
    return grid, tuple(_notes(grid, sight, eye, least))


def _wished(size: Size, sight: Sight, eye: SquareEye) -> Size | None:
    """Return the grid for a wished size or token count; None if no grid is within the wish.

    A wished size that equals a grid selects that grid. Otherwise the grid that keeps most of the image's pixels wins; a token count
    first narrows the choice to the grids with the most squares.
    """
    options = [grid for grid in eye.all_grids if _affordable(grid, sight, eye)]
    if (most := sight.image_size) is not None:
        options = [grid for grid in options if grid[0] <= most[0] and grid[1] <= most[1]]
        options = [grid for grid in options if grid == most] or options
    if (tokens := sight.num_visual_tokens) is not None:
        options = [grid for grid in options if eye.tokens and eye.pieces(grid) * eye.tokens <= tokens]
        largest = max(map(eye.pieces, options), default=0)
        options = [grid for grid in options if eye.pieces(grid) == largest]
    return best_grid(size, tuple(options)) if options else None


def _affordable(grid: Size, sight: Sight, eye: SquareEye) -> bool:
    return not (sight.max_image_tokens and eye.tokens and eye.pieces(grid) * eye.tokens > sight.max_image_tokens)


def _notes(grid: Size | None, sight: Sight, eye: SquareEye, least: int) -> list[Note]:
    width, height = grid or (eye.side, eye.side)
    tokens = eye.tokens and eye.tokens * (least if grid is None else eye.pieces(grid))
    notes = []
    if (wish := sight.image_size) is not None and wish != (width, height):
        notes.append(note("image_size_adjusted", width=width, height=height, wanted_width=wish[0], wanted_height=wish[1]))
    if sight.num_visual_tokens is not None and sight.num_visual_tokens != tokens:
        known = {"tokens": tokens} if tokens else {}
        notes.append(note("num_visual_tokens_adjusted", **known, wanted=sight.num_visual_tokens))
    if sight.max_image_tokens and tokens and tokens > sight.max_image_tokens:
        notes.append(note("max_image_tokens_adjusted", tokens=tokens, wanted=sight.max_image_tokens))
    return notes
