"""What a model does with a picture, learned from what its engine says of it, and the plan of what it is sent (pure: no pixels here)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from llava_gateway.chat import Box, Label, Sight
from llava_gateway.images import anyres, families
from llava_gateway.images.anyres import Overview, SquareEye
from llava_gateway.images.families import UNKNOWN_SIDE, Cells, Grid, Slices
from llava_gateway.images.plan import BLACK, CLIP_MEAN, SMALLEST_SIDE, WHOLE, Canvas, Colour, Plan, Size, letterbox, pixels
from llava_gateway.settings import VisionFamily, VisionOverride, built_in_vision

__all__ = [
    "CLIP_MEAN", "SMALLEST_SIDE", "WHOLE", "Canvas", "Colour", "Plan", "Size", "VisionFacts", "VisionProfile", "letterbox", "profile_for",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class VisionFacts:
    """What the engine itself says of a model's eye.

    Attributes:
        projector_type: clip.projector_type ("mlp", ...) or, for inline-vision models, the architecture ("gemma3"); "" if unknown.
        image_size: side in pixels of the square that one encode sees; None if unknown.
        patch_size: side of a patch in pixels.
        pinpoints: (width, height) pairs of LLaVA-1.6's grids; empty where the projector has none.
        merge: patches a side that become one token (clip.vision.spatial_merge_size or .projector.scale_factor); None: the family's own.
        queries: tokens of a slice (clip.minicpmv_query_num); None: the version's own.
        version: clip.minicpmv_version.
        least_tokens: what the engine was told to spend at least on a picture; None: the family's own.
    """

    projector_type: str = ""
    image_size: int | None = None
    patch_size: int | None = None
    pinpoints: tuple[tuple[int, int], ...] = ()
    merge: int | None = None
    queries: int | None = None
    version: int | None = None
    least_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class VisionProfile:
    """How a picture is made ready for one model. A value that travels to the worker processes as JSON.

    At most one of `square`, `cells`, `slices` and `grid` is set; without any the picture keeps its shape.

    Attributes:
        square: side of the square the picture is letterboxed to.
        max_side: longest side in pixels of a picture that keeps its shape.
        tokens, around: tokens a square costs, and how many of them are markers; None where that is not known.
        fill: colour of what is left over of a square.
        alone: one square is all it can see; of others several may lie side by side.
        grids, trained, stretched, overview: how a square eye sees tiles, see `anyres.SquareEye`.
        cells, slices, grid: see families.py.
        family: whose rule it is.
        max_pictures: pictures it can tell apart in one conversation; None: several.
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
    max_pictures: int | None = None
    label: Label = "exact"

    @property
    def key(self) -> str:
        """Names everything that shapes the rendition: same key and sight, same bytes."""
        if self.cells:
            eye = self.cells
            return f"cells{eye.side} {eye.least}-{eye.most}+{eye.around}{' breaks' * eye.row_break}"
        if self.slices:
            return f"slices{self.slices.side}/{self.slices.align} {self.slices.queries}+{self.slices.around_all}"
        if self.grid:
            return f"grid{self.grid.side} {self.grid.tokens}+{self.grid.around}"
        if not self.square:
            return f"fit{self.max_side}"
        if self.alone:
            return f"square{self.square} alone #{bytes(self.fill).hex()}{' single' * (self.max_pictures == 1)}"
        grids = "".join(f" {width}x{height}" for width, height in self.grids)
        return f"square{self.square}{grids}{' trained' * self.trained}{' stretched' * self.stretched} overview-{self.overview}"

    @property
    def most_tokens(self) -> int | None:
        """About what `detail: auto` may cost at most; None where it costs the same for every picture, or that is not known."""
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
        """What the model is sent of a picture of `size` (width, height) pixels, upright."""
        if self.square and not self.alone:
            return anyres.plan(size, sight, SquareEye(self.square, self.tokens, self.grids, self.trained, self.stretched, self.overview))
        if sight.region is None or sight.region == WHOLE:
            return self._whole(size, sight)
        return _closer(self._whole, size, sight, sight.region, overview=self.max_pictures != 1)

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
    """An overview that costs little, where the model takes two pictures, then the region as large as the wishes allow."""
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


def profile_for(facts: VisionFacts, name: str = "", overrides: Mapping[str, VisionOverride] | None = None) -> VisionProfile:
    """What a model does with pictures: from what its engine says of its eye, and of what engines don't tell from configs/vision.toml and
    `overrides` (the setting `vision`), whose patterns are matched with the model's name. Later entries win over earlier ones."""
    override = _override(name, overrides or {})
    facts = replace(
        facts,
        image_size=override.image_size or facts.image_size,
        patch_size=override.patch_size or facts.patch_size,
        merge=override.merge or facts.merge,
    )
    family = override.family or FAMILIES.get(facts.projector_type, "unknown")
    profile = _PROFILES[family](facts) or VisionProfile()
    trained = profile.trained if override.tiles is None else override.tiles
    single = override.max_pictures == 1
    return replace(
        profile,
        trained=trained and not single,
        alone=profile.alone or (single and profile.square is not None),  # tiles are pictures too
        overview=override.overview or "last",
        max_pictures=override.max_pictures,
    )


def _override(name: str, overrides: Mapping[str, VisionOverride]) -> VisionOverride:
    """All entries whose pattern fits the name, one over the other."""
    plain = name.lower()
    forms = (plain,) if ":" in plain.rpartition("/")[2] else (plain, f"{plain}:latest")
    found: dict[str, Any] = {}
    for pattern, override in (*built_in_vision().items(), *overrides.items()):
        if any(fnmatchcase(form, pattern.lower()) for form in forms):
            found |= override.model_dump(exclude_none=True)
    return VisionOverride(**found)


FAMILIES: Mapping[str, VisionFamily] = {
    "mlp": "llava",
    "gemma3": "gemma3",
    "gemma4v": "gemma4",
    "gemma4": "gemma4",
    "resampler": "minicpm-v",
    "qwen2vl_merger": "qwen-vl",
    "qwen2.5vl_merger": "qwen-vl",
    "qwen3vl_merger": "qwen-vl",
    "qwen2vl": "qwen-vl",
    "qwen25vl": "qwen-vl",
    "qwen3vl": "qwen-vl",
    "qwen3vlmoe": "qwen-vl",
    "qwen35": "qwen-vl",
    "qwen35moe": "qwen-vl",
    "pixtral": "pixtral",
    "mistral3": "pixtral",
    "llama4": "llama4",
}
"""By projector type (tools/mtmd/clip-impl.h) or by architecture, where the eye is inside the model (Ollama's llama/compat says which
projector it becomes)."""


def _llava(facts: VisionFacts) -> VisionProfile | None:
    """One square of (image_size / patch_size)^2 tokens. A projector with pinpoints cuts larger pictures into tiles itself, but leaves those
    of one square as they are, so tiles of ours are seen alike by both."""
    side, patch = facts.image_size, facts.patch_size
    if not (side and patch):
        return None
    grids = tuple(grid for grid in facts.pinpoints if not (grid[0] % side or grid[1] % side))
    tiles = bool(facts.pinpoints)
    return VisionProfile(square=side, tokens=(side // patch) ** 2, grids=grids, trained=tiles, stretched=tiles, family="llava")


def _gemma3(facts: VisionFacts) -> VisionProfile | None:
    """A square of 4 x 4 patches a token, two markers, padded with black; no pan and scan."""
    if not (facts.image_size and facts.patch_size):
        return None
    tokens = (facts.image_size // facts.patch_size) ** 2 // (facts.merge or 4) ** 2
    return VisionProfile(square=facts.image_size, tokens=tokens + 2, around=2, fill=BLACK, alone=True, family="gemma3")


def _cells(family: VisionFamily, facts: VisionFacts, merge: int, usual: Cells) -> VisionProfile | None:
    """`usual` without its side, which is that of `merge` x `merge` patches where the engine says nothing else."""
    if not facts.patch_size:
        return None
    side, least = facts.patch_size * (facts.merge or merge), facts.least_tokens or usual.least
    return VisionProfile(cells=replace(usual, side=side, least=least), family=family)


def _minicpm(facts: VisionFacts) -> VisionProfile | None:
    """clip.cpp: 96 queries and markers around all slices in version 2 (MiniCPM-V 2.5), 64 and none from 3 (2.6) on."""
    if not (facts.image_size and facts.patch_size):
        return None
    old = (facts.version or 2) == 2
    queries = facts.queries or (96 if old else 64)
    return VisionProfile(slices=Slices(facts.image_size, facts.patch_size, queries, 2 if old else 0), family="minicpm-v")


def _llama4(facts: VisionFacts) -> VisionProfile | None:
    if not (facts.image_size and facts.patch_size):
        return None
    tokens = (facts.image_size // facts.patch_size) ** 2 // (facts.merge or 2) ** 2
    return VisionProfile(grid=Grid(facts.image_size, tokens), family="llama4")


# Limits in tokens: `set_limit_image_tokens` in clip.cpp. Of Gemma 4's 1,120 no more are asked for than its own processor spends (280): it
# reads a picture without causal attention, and a server whose batch is smaller than a picture (512 by default) then ends.
_PROFILES: Mapping[VisionFamily, Callable[[VisionFacts], VisionProfile | None]] = {
    "llava": _llava,
    "gemma3": _gemma3,
    "gemma4": lambda facts: _cells("gemma4", facts, 3, Cells(0, 70, 280)),
    "minicpm-v": _minicpm,
    "qwen-vl": lambda facts: _cells("qwen-vl", facts, 2, Cells(0, 8, 4096)),
    "pixtral": lambda facts: _cells("pixtral", facts, 1, Cells(0, 8, 1024, around=1, row_break=True)),
    "llama4": _llama4,
    "unknown": lambda facts: None,
}
