"""What a model does with an image, and the plan of what it is sent (pure: no pixels here). `facts.py` tells which profile a model has."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from llava_gateway.chat import Box, Label, Sight
from llava_gateway.images import anyres, families
from llava_gateway.images.anyres import Overview, SquareEye
from llava_gateway.images.families import UNKNOWN_SIDE, Cells, Grid, Slices
from llava_gateway.images.plan import CLIP_MEAN, SMALLEST_SIDE, WHOLE, Canvas, Colour, Plan, Size, letterbox, pixels

if TYPE_CHECKING:  # the workers get this module, and should not get the settings with it
    from llava_gateway.settings import VisionFamily

__all__ = [
    "CLIP_MEAN", "SMALLEST_SIDE", "WHOLE", "Canvas", "Colour", "Plan", "Size", "VisionProfile", "letterbox",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class VisionProfile:
    """How an image is made ready for one model. A value that travels to the worker processes as JSON.

    At most one of `square`, `cells`, `slices` and `grid` is set; without any the image keeps its shape.

    Attributes:
        square: side of the square the image is letterboxed to.
        max_side: longest side in pixels of an image that keeps its shape.
        tokens, around: tokens a square costs, and how many of them are markers; None where that is not known.
        fill: colour of what is left over of a square.
        alone: one square is all it can see; of others several may lie side by side.
        grids, trained, stretched, overview: how a square eye sees tiles, see `anyres.SquareEye`.
        cells, slices, grid: see families.py.
        family: whose rule it is.
        max_images: images it can tell apart in one conversation; None: several.
        label: how far its tokens can be trusted.
    """

    square: int | None = None
    max_side: int = UNKNOWN_SIDE
    tokens: int | None = None
    around: int = 0
    fill: Colour = CLIP_MEAN
    alone: bool = False
    grids: tuple[Size, ...] = ()
    trained: bool = False
    stretched: bool = False
    overview: Overview = "last"
    cells: Cells | None = None
    slices: Slices | None = None
    grid: Grid | None = None
    family: VisionFamily = "unknown"
    max_images: int | None = None
    label: Label = "exact"

    @property
    def key(self) -> str:
        """Names everything that shapes the rendition, its tokens among it: same key and sight, same bytes and the same cost."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    @property
    def most_tokens(self) -> int | None:
        """About what `detail: auto` may cost at most; None where it costs the same for every image, or that is not known."""
        if self.cells:
            return min(self.cells.most, max(self.cells.least, families.AUTO_PIXELS // self.cells.side**2)) + self.cells.around
        if self.slices:
            return (families.MOST_SLICES + 1) * self.slices.queries + self.slices.around_all
        if self.grid:
            return (families.GRID_SIDE**2 + 1) * self.grid.tokens + self.grid.around
        if self.square and self.trained and self.tokens:
            eye = SquareEye(self.square, self.tokens, self.grids)
            return self.tokens * max(eye.pieces(grid) for grid in eye.usual_grids)
        return None

    def plan(self, size: Size, sight: Sight = Sight()) -> Plan:
        """What the model is sent of an image of `size` (width, height) pixels, upright."""
        if self.square and not self.alone:
            return anyres.plan(size, sight, SquareEye(self.square, self.tokens, self.grids, self.trained, self.stretched, self.overview))
        if sight.region is None or sight.region == WHOLE:
            return self._whole(size, sight)
        return _closer(self._whole, size, sight, sight.region, overview=self.max_images != 1)

    def _whole(self, size: Size, sight: Sight) -> Plan:
        if self.cells:
            return families.cells(self.cells, size, sight, self.label)
        if self.slices:
            return families.slices(self.slices, size, sight, self.label)
        if self.grid:
            return families.grid(self.grid, size, sight, self.label)
        if self.square:
            return families.square(size, self.square, self.tokens, sight, around=self.around, fill=self.fill, label=self.label)
        return families.shape(size, self.max_side, sight)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> VisionProfile:
        """From `to_json`, also as JSON gives it back: with lists for tuples."""
        eyes = {"cells": Cells, "slices": Slices, "grid": Grid}
        parts = {name: kind(**value[name]) for name, kind in eyes.items() if value.get(name)}
        tuples = {"grids": tuple((width, height) for width, height in value.get("grids", ())), "fill": tuple(value.get("fill", CLIP_MEAN))}
        return cls(**{**value, **parts, **tuples})


def _closer(whole: Callable[[Size, Sight], Plan], size: Size, sight: Sight, region: Box, *, overview: bool) -> Plan:
    """An overview that costs little, where the model takes two images, then the region as large as the wishes allow."""
    before = whole(size, Sight(detail="low")) if overview else Plan((), tokens=0)
    left, top, right, bottom = pixels(region, size)
    spent = before.tokens or 0
    less = {name: max(1, wish - spent) for name in ("num_visual_tokens", "max_image_tokens") if (wish := getattr(sight, name)) is not None}
    close = whole((right - left, bottom - top), replace(sight, region=None, **less))
    return replace(
        close,
        canvases=(
            *(replace(canvas, role="overview") for canvas in before.canvases),
            *(replace(canvas, role="region", region=region) for canvas in close.canvases),
        ),
        tokens=None if close.tokens is None or before.tokens is None else spent + close.tokens,
    )
