"""What a model does with a picture, learned from what its engine says of it, and the plan of what it is sent (pure: no pixels here)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from llava_gateway.chat import Sight
from llava_gateway.images import anyres
from llava_gateway.images.anyres import Overview, SquareEye
from llava_gateway.images.plan import CLIP_MEAN, WHOLE, Canvas, Colour, Plan, Size, letterbox

__all__ = [
    "CLIP_MEAN", "SMALLEST_SIDE", "WHOLE", "Canvas", "Colour", "Plan", "Size", "VisionFacts", "VisionProfile", "letterbox", "profile_for",
]  # fmt: skip

SMALLEST_SIDE = 32
"""Engines die on pictures below 28 px (their patch size), so nothing smaller is kept or sent."""


@dataclass(frozen=True, slots=True)
class VisionFacts:
    """What the engine itself says of a model's eye.

    Attributes:
        projector_type: clip.projector_type ("mlp", ...) or, for inline-vision models, the architecture ("gemma3"); "" if unknown.
        image_size: side in pixels of the square that one encode sees; None if unknown.
        patch_size: side of a patch in pixels.
        pinpoints: (width, height) pairs of LLaVA-1.6's grids; empty where the projector has none.
    """

    projector_type: str = ""
    image_size: int | None = None
    patch_size: int | None = None
    pinpoints: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VisionProfile:
    """How a picture is made ready for one model. A value that travels to the worker processes as JSON.

    Attributes:
        square: side of the square the picture is letterboxed to; None: the picture keeps its shape.
        max_side: longest side in pixels of a picture that keeps its shape.
        tokens: tokens a square costs; None where that is not known.
        grids, trained, stretched, overview: how a square eye sees tiles, see `anyres.SquareEye`.
    """

    square: int | None = None
    max_side: int = 1344
    tokens: int | None = None
    grids: tuple[Size, ...] = ()
    trained: bool = False
    stretched: bool = False
    overview: Overview = "last"

    @property
    def key(self) -> str:
        """Names everything that shapes the rendition: same key and sight, same bytes."""
        if not self.square:
            return f"fit{self.max_side}"
        grids = "".join(f" {width}x{height}" for width, height in self.grids)
        return f"square{self.square}{grids}{' trained' * self.trained}{' stretched' * self.stretched} overview-{self.overview}"

    def plan(self, size: Size, sight: Sight = Sight()) -> Plan:
        """What the model is sent of a picture of `size` (width, height) pixels, upright."""
        if self.square:
            eye = SquareEye(self.square, self.tokens, self.grids, self.trained, self.stretched, self.overview)
            return anyres.plan(size, sight, eye)
        scale = min(1.0, self.max_side / max(size))
        inner = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        return Plan((Canvas("whole", inner, (max(inner[0], SMALLEST_SIDE), max(inner[1], SMALLEST_SIDE))),))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> VisionProfile:
        return cls(**{**value, "grids": tuple((width, height) for width, height in value.get("grids", ()))})


def profile_for(facts: VisionFacts, *, overview: Overview = "last") -> VisionProfile:
    """LLaVA's projector makes (image_size / patch_size)^2 tokens of one square (llama.cpp, clip.cpp: `clip_n_output_tokens`, projector
    `mlp`); one with pinpoints cuts larger pictures into tiles itself, but leaves those of one square as they are, so tiles of ours are
    seen alike by both. Of other models nothing is assumed but a useful size.

    Args:
        overview: where it is to stand among the tiles.
    """
    side, patch = facts.image_size, facts.patch_size
    if facts.projector_type == "mlp" and side and patch:
        grids = tuple(grid for grid in facts.pinpoints if not (grid[0] % side or grid[1] % side))
        has_tiles = bool(facts.pinpoints)
        tokens = (side // patch) ** 2
        return VisionProfile(square=side, tokens=tokens, grids=grids, trained=has_tiles, stretched=has_tiles, overview=overview)
    return VisionProfile()
