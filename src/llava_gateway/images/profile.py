"""Describe how a model sees images, and plan the pieces to send to it (pure, no pixels). `facts.py` finds the profile of a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from llava_gateway.chat import Label
from llava_gateway.images import anyres, families, strips
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.families import AnyShape, Cells, Grid, OneSquare, Slices
from llava_gateway.images.plan import CLIP_MEAN, SMALLEST_SIDE, WHOLE, Canvas, Colour, Plan, Size, letterbox, pixels
from llava_gateway.parts import Box, Sight

if TYPE_CHECKING:  # workers import this module, and should not import the settings
    from llava_gateway.settings import VisionFamily

__all__ = [
    "CLIP_MEAN", "SMALLEST_SIDE", "WHOLE", "Canvas", "Colour", "Plan", "Size", "VisionProfile", "letterbox",
]  # fmt: skip


Eye: TypeAlias = SquareEye | OneSquare | Cells | Slices | Grid | AnyShape
"""The kinds of vision encoders, with the way each resizes and cuts an image."""

_KINDS: Mapping[str, type[Eye]] = {
    "squares": SquareEye, "one_square": OneSquare, "cells": Cells, "slices": Slices, "grid": Grid, "any_shape": AnyShape,
}  # fmt: skip
"""The eyes by their names in JSON."""


@dataclass(frozen=True, slots=True)
class VisionProfile:
    """The way to prepare images for one model. It travels to the worker processes as JSON.

    Attributes:
        eye: the model's vision encoder.
        family: model family whose rule applies.
        max_images: most images in one conversation; None for no limit.
        label: how far the token counts of its plans can be trusted.
    """

    eye: Eye = AnyShape()
    family: VisionFamily = "unknown"
    max_images: int | None = None
    label: Label = "exact"

    @property
    def key(self) -> str:
        """Names everything that shapes the rendition, its tokens among it: same key and sight, same bytes and the same cost."""
        return _key(self)

    @property
    def most_tokens(self) -> int | None:
        """The approximate maximum tokens for `detail: auto`; None if every image costs the same or the cost is unknown."""
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
        """The side in pixels of the square that an image or each of its tiles fills; None for eyes that see other shapes."""
        match self.eye:
            case SquareEye() | OneSquare() as eye:
                return eye.side
            case Cells() | Slices() | Grid() | AnyShape():
                return None
        assert_never(self.eye)

    def plan(self, size: Size, sight: Sight = Sight()) -> Plan:
        """Plan the pieces to send of an image of `size` (width, height) pixels, upright."""
        if self.max_images != 1 and strips.may_cut(size, sight):
            return _long(self, size, sight)
        return self._plain(size, sight)

    def _plain(self, size: Size, sight: Sight) -> Plan:
        """Plan an image without cutting it into strips."""
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
        """Build a profile from `to_json`, also after a round trip through JSON, which makes lists of tuples."""
        fields = dict(value["eye"])
        kind = _KINDS[fields.pop("kind")]
        return cls(**{**value, "eye": kind(**{name: _tuples(field) for name, field in fields.items()})})


@lru_cache(256)
def _key(profile: VisionProfile) -> str:
    return json.dumps(profile.to_json(), separators=(",", ":"))


@lru_cache(256)
def _long(profile: VisionProfile, size: Size, sight: Sight) -> Plan:
    """Plan a long image in strips if they show more than one piece. Kept, because a question plans its images several times."""
    plain = profile._plain(size, sight)
    if isinstance(profile.eye, SquareEye):
        overview, close = anyres.overview(size, profile.eye), partial(anyres.close, eye=profile.eye)
    else:
        close = partial(_whole, profile.eye, profile.label)
        overview = close(size, Sight(detail="low"))
    return strips.in_strips(size, sight, plain, overview, close, profile.max_images) or plain


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
    """Plan a cheap overview (unless the model takes only one image), then the region as large as the wishes allow."""
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
