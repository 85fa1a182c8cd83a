"""Profiles: what shapes a rendition, and how a profile travels to the workers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.families import Cells, Grid, Slices
from llava_gateway.images.plan import BLACK
from llava_gateway.images.profile import VisionProfile
from llava_gateway.settings import VisionOverride

GEMMA3 = VisionProfile(square=896, tokens=258, around=2, fill=BLACK, alone=True, family="gemma3")
QWEN = VisionProfile(cells=Cells(28, 8, 4096), family="qwen-vl")
MISTRAL = VisionProfile(cells=Cells(28, 8, 1024, around=1, row_break=True), family="pixtral")


def test_the_key_names_all_that_shapes_a_rendition() -> None:
    assert VisionProfile(max_side=672).key == VisionProfile(max_side=672).key
    plain = VisionProfile(square=336)
    different = (
        plain,
        VisionProfile(max_side=672),
        replace(plain, tokens=576),
        replace(plain, tokens=576, label="estimated"),
        VisionProfile(square=112),
        replace(plain, grids=((672, 672),)),
        replace(plain, trained=True),
        replace(plain, stretched=True),
        replace(plain, overview="first"),
        replace(plain, alone=True),
        replace(plain, alone=True, fill=BLACK),
        replace(plain, alone=True, max_images=1),
        GEMMA3,
        QWEN,
        replace(QWEN, cells=Cells(28, 1024, 4096)),
        replace(QWEN, cells=Cells(28, 8, 1024)),
        replace(QWEN, cells=Cells(32, 8, 4096)),
        MISTRAL,
        VisionProfile(slices=Slices(448, 14, 64)),
        VisionProfile(slices=Slices(448, 14, 96)),
        VisionProfile(grid=Grid(336, 144)),
    )
    assert len({profile.key for profile in different}) == len(different)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (VisionFacts("mlp", 384, 14), VisionFacts("mlp", 384, 16)),
        (VisionFacts("gemma3", 896, 14, merge=4), VisionFacts("gemma3", 896, 14, merge=2)),
    ],
)
def test_models_whose_images_look_alike_and_cost_different_tokens_share_no_key(one: VisionFacts, other: VisionFacts) -> None:
    assert profile_for(one).tokens != profile_for(other).tokens
    assert profile_for(one).key != profile_for(other).key


@pytest.mark.parametrize(
    "facts",
    [
        VisionFacts("mlp", 336, 14, ((672, 336), (672, 672))),
        VisionFacts("gemma3", 896, 14),
        VisionFacts("mistral3", 1540, 14, merge=2),
        VisionFacts("resampler", 448, 14, version=3),
        VisionFacts("llama4", 336, 14),
        VisionFacts(),
    ],
)
def test_a_profile_comes_back_from_json_as_it_was(facts: VisionFacts) -> None:
    profile = profile_for(facts, "llava:7b", {"*": VisionOverride(overview="first")})
    assert VisionProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
