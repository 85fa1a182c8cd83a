"""What a model does with an image, and the plan of what it is sent (pure: no pixels here). `facts.py` tells which profile a model has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from llava_gateway.chat import Box, Label, Sight
from llava_gateway.images import anyres, families
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.families import AnyShape, Cells, Grid, OneSquare, Slices
from llava_gateway.images.plan import CLIP_MEAN, SMALLEST_SIDE, WHOLE, Canvas, Colour, Plan, Size, letterbox, pixels

if TYPE_CHECKING:  # the workers get this module, and should not get the settings with it
    from llava_gateway.settings import VisionFamily

__all__ = [
    "CLIP_MEAN", "SMALLEST_SIDE", "WHOLE", "Canvas", "Colour", "Plan", "Size", "VisionProfile", "letterbox",
]  # fmt: skip


Eye: TypeAlias = SquareEye | OneSquare | Cells | Slices | Grid | AnyShape
"""The kinds of eyes, each with what it does with an image of any size."""

_KINDS: Mapping[str, type[Eye]] = {
    "squares": SquareEye, "one_square": OneSquare, "cells": Cells, "slices": Slices, "grid": Grid, "any_shape": AnyShape,
}  # fmt: skip
"""By their names in JSON."""


@dataclass(frozen=True, slots=True)
class VisionProfile:
    """How an image is made ready for one model. A value that travels to the worker processes as JSON.

    Attributes:
        eye: what the model sees an image with.
        family: whose rule it is.
        max_images: images it can tell apart in one conversation; None: several.
        label: how far its tokens can be trusted.
    """

    eye: Eye = AnyShape()
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
        match self.eye:
            case SquareEye() as eye:
                return eye.tokens * max(eye.pieces(grid) for grid in eye.usual_grids) if eye.trained and eye.tokens else None
            case Cells() as eye:
                return min(eye.most, max(eye.least, families.AUTO_PIXELS // eye.side**2)) + eye.around
            case Slices() as eye:
                return (families.MOST_SLICES + 1) * eye.queries + eye.around_all
            case Grid() as eye:
                return (families.GRID_SIDE**2 + 1) * eye.tokens + eye.around
            case OneSquare() | AnyShape():
                return None
        assert_never(self.eye)

    @property
    def square(self) -> int | None:
        """Side in pixels of the one square that an image fills, or its tiles do; None for eyes that see other shapes."""
        match self.eye:
            case SquareEye() | OneSquare() as eye:
                return eye.side
            case Cells() | Slices() | Grid() | AnyShape():
                return None
        assert_never(self.eye)

    def plan(self, size: Size, sight: Sight = Sight()) -> Plan:
        """What the model is sent of an image of `size` (width, height) pixels, upright."""
        if isinstance(self.eye, SquareEye):
            return anyres.plan(size, sight, self.eye)
        whole = partial(_whole, self.eye, self.label)
        if sight.region is None or sight.region == WHOLE:
            return whole(size, sight)
        return _closer(whole, size, sight, sight.region, overview=self.max_images != 1)

    def to_json(self) -> dict[str, Any]:
        kind = next(name for name, kind in _KINDS.items() if type(self.eye) is kind)
        eye = {"kind": kind, **asdict(self.eye)}
        return {"eye": eye, "family": self.family, "max_images": self.max_images, "label": self.label}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> VisionProfile:
        """From `to_json`, also as JSON gives it back: with lists for tuples."""
        fields = dict(value["eye"])
        kind = _KINDS[fields.pop("kind")]
        return cls(**{**value, "eye": kind(**{name: _tuples(field) for name, field in fields.items()})})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _whole(eye: OneSquare | Cells | Slices | Grid | AnyShape, label: Label, size: Size, sight: Sight) -> Plan:
    match eye:
        case OneSquare():
            return families.one_square(eye, size, sight, label)
        case Cells():
            return families.cells(eye, size, sight, label)
        case Slices():
            return families.slices(eye, size, sight, label)
        case Grid():
            return families.grid(eye, size, sight, label)
        case AnyShape():
            return families.any_shape(eye, size, sight)
    assert_never(eye)


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
