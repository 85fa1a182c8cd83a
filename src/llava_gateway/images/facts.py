"""Derive a model's vision profile from the facts that its engine reports about the vision encoder (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from llava_gateway.built_in import built_in_vision
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.families import Cells, Grid, OneSquare, Slices
from llava_gateway.images.plan import BLACK
from llava_gateway.images.profile import Eye, VisionProfile
from llava_gateway.settings import VisionFamily, VisionOverride


@dataclass(frozen=True, slots=True)
class VisionFacts:
    """The facts that an engine reports about a model's vision encoder.

    Attributes:
        projector_type: clip.projector_type ("mlp", ...) or, for models with built-in vision, the architecture ("gemma3"); "" if unknown.
        image_size: side in pixels of the encoder's square input; None if unknown.
        patch_size: side of a patch in pixels; None if unknown.
        pinpoints: grids of LLaVA-1.6 as (width, height) in pixels; empty if the projector has none.
        merge: patches along each side that merge into one token (clip.vision.spatial_merge_size or .projector.scale_factor); None for
            the family's default.
        queries: tokens per slice (clip.minicpmv_query_num); None for the version's default.
        version: clip.minicpmv_version; None if unknown.
        least_tokens: minimum tokens per image that the engine is configured to spend; None for the family's default.
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
    """Return the vision profile of a model.

    The engine's facts come first. Values from configs/vision.toml and `overrides` (the setting `vision`) replace them where a pattern
    matches the model's name; later entries win over earlier ones.
    """
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
    """Apply the override's tile settings. A model that takes one image gets no tiles, because each tile counts as an image."""
    if not isinstance(eye, SquareEye):
        return eye
    if override.max_images == 1:
        return OneSquare(eye.side, eye.tokens)
    trained = eye.trained if override.tiles is None else override.tiles
    return replace(eye, trained=trained, overview=override.overview or "last")


def _override(name: str, overrides: Mapping[str, VisionOverride]) -> VisionOverride:
    """Merge all entries whose pattern matches the name; later ones win. A name without a tag also matches as `name:latest`."""
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
"""The family for each projector type (tools/mtmd/clip-impl.h), or for each architecture with built-in vision (Ollama's llama/compat maps
it to a projector)."""


def _llava(facts: VisionFacts) -> SquareEye | None:
    """Return an eye of (image_size / patch_size)^2 tokens per square.

    A projector with pinpoints cuts larger images into tiles itself but leaves images of one square as they are, so both kinds of
    projector see our tiles alike.
    """
    side, patch = facts.image_size, facts.patch_size
    if not (side and patch):
        return None
    grids = tuple(grid for grid in facts.pinpoints if not (grid[0] % side or grid[1] % side))
    tiles = bool(facts.pinpoints)
    return SquareEye(side, (side // patch) ** 2, grids, trained=tiles, stretched=tiles)


def _gemma3(facts: VisionFacts) -> OneSquare | None:
    """Return one square with 4 x 4 patches per token and two markers, padded with black. Pan and scan is not used."""
    if not (facts.image_size and facts.patch_size):
        return None
    tokens = (facts.image_size // facts.patch_size) ** 2 // (facts.merge or 4) ** 2
    return OneSquare(facts.image_size, tokens + 2, around=2, fill=BLACK)


def _cells(facts: VisionFacts, merge: int, usual: Cells) -> Cells | None:
    """Fill in the side and minimum of `usual`. A cell has `merge` x `merge` patches unless the engine reports another number."""
    if not facts.patch_size:
        return None
    side, least = facts.patch_size * (facts.merge or merge), facts.least_tokens or usual.least
    return replace(usual, side=side, least=least)


def _minicpm(facts: VisionFacts) -> Slices | None:
    """Return the slices of MiniCPM-V.

    By clip.cpp, version 2 (MiniCPM-V 2.5) has 96 queries per slice and markers around all slices. Versions from 3 (2.6) on have 64
    queries and no such markers.
    """
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


# Limits in tokens: `set_limit_image_tokens` in clip.cpp. Gemma 4 allows 1,120, but we send at most the 280 of its own processor: it reads
# an image without causal attention, and a server whose batch (512 by default) is smaller than an image then exits.
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
