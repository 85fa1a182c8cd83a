"""Test what a profile's key covers, and the way a profile travels to the workers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest

from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.families import AnyShape, Cells, Grid, OneSquare, Slices
from llava_gateway.images.plan import BLACK
from llava_gateway.images.profile import _KINDS, Eye, VisionProfile
from llava_gateway.settings import VisionOverride


def test_the_key_names_all_that_shapes_a_rendition() -> None:
    assert VisionProfile(AnyShape(672)).key == VisionProfile(AnyShape(672)).key
    plain = SquareEye(336)
    eyes: tuple[Eye, ...] = (
        plain,
        AnyShape(672),
        SquareEye(336, 576),
        SquareEye(112),
        replace(plain, grids=((672, 672),)),
        replace(plain, trained=True),
        replace(plain, stretched=True),
        replace(plain, overview="first"),
        OneSquare(336),
        OneSquare(336, fill=BLACK),
        Cells(28, 8, 4096),
        Cells(28, 1024, 4096),
        Cells(28, 8, 1024),
        Cells(32, 8, 4096),
        Cells(28, 8, 1024, around=1, row_break=True),
        Slices(448, 14, 64),
        Slices(448, 14, 96),
        Grid(336, 144),
    )
    different = (
        *map(VisionProfile, eyes),
        VisionProfile(SquareEye(336, 576), label="estimated"),
        VisionProfile(OneSquare(336), max_images=1),
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
    assert profile_for(one).plan((800, 600)).tokens != profile_for(other).plan((800, 600)).tokens
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


def test_every_kind_of_eye_travels_to_the_workers() -> None:
    assert set(_KINDS.values()) == set(get_args(Eye))
