"""What a model does with a picture, learned from what its engine says of it, and the plan of what it is sent (pure: no pixels here)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from llava_gateway.chat import Box, Label, Sight

Size: TypeAlias = tuple[int, int]
Colour: TypeAlias = tuple[int, int, int]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
SMALLEST_SIDE = 32
"""Engines die on pictures below 28 px (their patch size), so nothing smaller is kept or sent."""
CLIP_MEAN: Colour = (122, 116, 104)
"""What llama.cpp pads LLaVA-1.5's square with (mtmd-image.cpp, CLIP's mean colour): the model has learned that it means nothing."""


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
class Canvas:
    """One sheet of a plan: a part of the picture, resized to `inner`, centred on `size` pixels of `fill`, whole or cut into tiles.

    Attributes:
        role: what it is for.
        region: the part of the picture.
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
    """What a model is sent of one picture: the pieces of each canvas, in this order.

    Attributes:
        tokens, label: what that costs, None where it is not known yet.
        lossless: send PNG, whatever the picture came as.
        notes: wishes that could not be met ("code: sentence").
    """

    canvases: tuple[Canvas, ...]
    tokens: int | None = None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    lossless: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VisionProfile:
    """How a picture is made ready for one model. A value that travels to the worker processes as JSON.

    Attributes:
        square: side of the square the picture is letterboxed to; None: the picture keeps its shape.
        max_side: longest side in pixels of a picture that keeps its shape.
        tokens: tokens a square costs; None where that is not known.
    """

    square: int | None = None
    max_side: int = 1344
    tokens: int | None = None

    @property
    def key(self) -> str:
        """Names everything that shapes the rendition: same key and sight, same bytes."""
        return f"square{self.square}" if self.square else f"fit{self.max_side}"

    def plan(self, size: Size, sight: Sight = Sight()) -> Plan:
        """What the model is sent of a picture of `size` (width, height) pixels, upright."""
        if self.square:
            return Plan((letterbox(size, self.square),), self.tokens, "exact" if self.tokens else "estimated", lossless=True)
        scale = min(1.0, self.max_side / max(size))
        inner = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        return Plan((Canvas("whole", inner, (max(inner[0], SMALLEST_SIDE), max(inner[1], SMALLEST_SIDE))),))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> VisionProfile:
        return cls(**value)


def letterbox(size: Size, side: int) -> Canvas:
    """The picture inside a square, one side filled; llama.cpp rounds the other one up (mtmd-image.cpp, `img_tool::resize`)."""
    # In whole numbers: 3000 * (336 / 4000) is a little more than 252.
    inner = -(-size[0] * side // max(size)), -(-size[1] * side // max(size))
    return Canvas("whole", inner, (side, side))


def profile_for(facts: VisionFacts) -> VisionProfile:
    """LLaVA-1.5's projector letterboxes every picture to one square of (image_size / patch_size)^2 tokens (llama.cpp, clip.cpp:
    `clip_n_output_tokens`, projector `mlp` without pinpoints); of other models nothing is assumed but a useful size."""
    if facts.projector_type == "mlp" and facts.image_size and facts.patch_size and not facts.pinpoints:
        return VisionProfile(square=facts.image_size, tokens=(facts.image_size // facts.patch_size) ** 2)
    return VisionProfile()
