"""What a model does with a picture, learned from what its engine says of it (pure: no pixels here)."""

from __future__ import annotations

from dataclasses import dataclass


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
    """How a picture is made ready for one model.

    Attributes:
        square: side of the square the picture is letterboxed to; None: the picture keeps its shape.
        max_side: longest side in pixels of a picture that keeps its shape.
        tokens: tokens a picture costs, whatever its size; None where it depends on the size or is not known.
    """

    square: int | None = None
    max_side: int = 1344
    tokens: int | None = None

    @property
    def key(self) -> str:
        """Names everything that shapes the rendition: same key, same bytes."""
        return f"square{self.square}" if self.square else f"fit{self.max_side}"


def profile_for(facts: VisionFacts) -> VisionProfile:
    """LLaVA-1.5's projector letterboxes every picture to one square of (image_size / patch_size)^2 tokens (llama.cpp, clip.cpp:
    `clip_n_output_tokens`, projector `mlp` without pinpoints); of other models nothing is assumed but a useful size."""
    if facts.projector_type == "mlp" and facts.image_size and facts.patch_size and not facts.pinpoints:
        return VisionProfile(square=facts.image_size, tokens=(facts.image_size // facts.patch_size) ** 2)
    return VisionProfile()
