"""What an engine says of a model's eye, and the profile that follows from it (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.families import Cells, Grid, OneSquare, Slices
from llava_gateway.images.plan import BLACK
from llava_gateway.images.profile import Eye, VisionProfile
from llava_gateway.settings import VisionFamily, VisionOverride, built_in_vision


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
        least_tokens: what the engine was told to spend at least on an image; None: the family's own.
    """

    projector_type: str = ""
    image_size: int | None = None
    patch_size: int | None = None
    pinpoints: tuple[tuple[int, int], ...] = ()
    merge: int | None = None
    queries: int | None = None
    version: int | None = None
    least_tokens: int | None = None


def profile_for(facts: VisionFacts, name: str = "", overrides: Mapping[str, VisionOverride] | None = None) -> VisionProfile:
    """What a model does with images: from what its engine says of its eye, and of what engines don't tell from configs/vision.toml and
    `overrides` (the setting `vision`), whose patterns are matched with the model's name. Later entries win over earlier ones."""
    override = _override(name, overrides or {})
    facts = replace(
        facts,
        image_size=override.image_size or facts.image_size,
        patch_size=override.patch_size or facts.patch_size,
        merge=override.merge or facts.merge,
    )
    family = override.family or FAMILIES.get(facts.projector_type, "unknown")
    eye = _EYES[family](facts)
    if eye is None:
        return VisionProfile(max_images=override.max_images)
    return VisionProfile(_with_tiles(eye, override), family, override.max_images)


def _with_tiles(eye: Eye, override: VisionOverride) -> Eye:
    """The eye with what is told of its tiles; none for a model that takes one image, since tiles are images too."""
    if not isinstance(eye, SquareEye):
        return eye
    if override.max_images == 1:
        return OneSquare(eye.side, eye.tokens)
    trained = eye.trained if override.tiles is None else override.tiles
    return replace(eye, trained=trained, overview=override.overview or "last")


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


def _llava(facts: VisionFacts) -> SquareEye | None:
    """One square of (image_size / patch_size)^2 tokens. A projector with pinpoints cuts larger images into tiles itself, but leaves those
    of one square as they are, so tiles of ours are seen alike by both."""
    side, patch = facts.image_size, facts.patch_size
    if not (side and patch):
        return None
    grids = tuple(grid for grid in facts.pinpoints if not (grid[0] % side or grid[1] % side))
    tiles = bool(facts.pinpoints)
    return SquareEye(side, (side // patch) ** 2, grids, trained=tiles, stretched=tiles)


def _gemma3(facts: VisionFacts) -> OneSquare | None:
    """A square of 4 x 4 patches a token, two markers, padded with black; no pan and scan."""
    if not (facts.image_size and facts.patch_size):
        return None
    tokens = (facts.image_size // facts.patch_size) ** 2 // (facts.merge or 4) ** 2
    return OneSquare(facts.image_size, tokens + 2, around=2, fill=BLACK)


def _cells(facts: VisionFacts, merge: int, usual: Cells) -> Cells | None:
    """`usual` without its side, which is that of `merge` x `merge` patches where the engine says nothing else."""
    if not facts.patch_size:
        return None
    side, least = facts.patch_size * (facts.merge or merge), facts.least_tokens or usual.least
    return replace(usual, side=side, least=least)


def _minicpm(facts: VisionFacts) -> Slices | None:
    """clip.cpp: 96 queries and markers around all slices in version 2 (MiniCPM-V 2.5), 64 and none from 3 (2.6) on."""
    if not (facts.image_size and facts.patch_size):
        return None
    old = (facts.version or 2) == 2
    queries = facts.queries or (96 if old else 64)
    return Slices(facts.image_size, facts.patch_size, queries, 2 if old else 0)


def _llama4(facts: VisionFacts) -> Grid | None:
    if not (facts.image_size and facts.patch_size):
        return None
    tokens = (facts.image_size // facts.patch_size) ** 2 // (facts.merge or 2) ** 2
    return Grid(facts.image_size, tokens)


# Limits in tokens: `set_limit_image_tokens` in clip.cpp. Of Gemma 4's 1,120 no more are asked for than its own processor spends (280): it
# reads an image without causal attention, and a server whose batch is smaller than an image (512 by default) then ends.
_EYES: Mapping[VisionFamily, Callable[[VisionFacts], Eye | None]] = {
    "llava": _llava,
    "gemma3": _gemma3,
    "gemma4": lambda facts: _cells(facts, 3, Cells(0, 70, 280)),
    "minicpm-v": _minicpm,
    "qwen-vl": lambda facts: _cells(facts, 2, Cells(0, 8, 4096)),
    "pixtral": lambda facts: _cells(facts, 1, Cells(0, 8, 1024, around=1, row_break=True)),
    "llama4": _llama4,
    "unknown": lambda facts: None,
}
