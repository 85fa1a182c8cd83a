"""The files of configs/ that are shipped with the package: presets, and facts about the vision of models."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from llava_gateway.settings import VisionOverride


@cache
def built_in_presets() -> Mapping[str, Mapping[str, Any]]:
    """Return the presets of configs/presets.toml: {name: {"about": ..., option: value}}."""
    return _packaged("presets.toml")


@cache
def built_in_vision() -> Mapping[str, VisionOverride]:
    """Return the overrides of configs/vision.toml by pattern of model names, in order."""
    return {pattern: VisionOverride.model_validate(entry) for pattern, entry in _packaged("vision.toml").items()}


def _packaged(name: str) -> dict[str, Any]:
    """Read a file of configs/ that is shipped inside the package."""
    inside = resources.files("llava_gateway") / name
    if inside.is_file():
        return tomllib.loads(inside.read_text("utf-8"))
    # An editable install has no copy inside the package: the file is in the checkout.
    return tomllib.loads((Path(__file__).parents[2] / "configs" / name).read_text("utf-8"))
