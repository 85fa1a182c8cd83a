from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llava_gateway.images.profile import VisionFacts, VisionProfile, profile_for


@pytest.mark.parametrize(
    ("facts", "profile"),
    [
        (VisionFacts("mlp", 336, 14), VisionProfile(square=336, tokens=576)),
        (VisionFacts("mlp", 112, 14), VisionProfile(square=112, tokens=64)),
        (
            VisionFacts("mlp", 336, 14, ((672, 672), (500, 672))),
            VisionProfile(square=336, tokens=576, grids=((672, 672),), trained=True, stretched=True),
        ),
        (VisionFacts("gemma3", 896, 14), VisionProfile()),
        (VisionFacts("mlp", None, 14), VisionProfile()),
        (VisionFacts(), VisionProfile()),
    ],
)
def test_only_what_is_known_of_a_projector_shapes_the_picture(facts: VisionFacts, profile: VisionProfile) -> None:
    assert profile_for(facts) == profile


def test_the_key_names_all_that_shapes_a_rendition() -> None:
    assert VisionProfile(square=336, tokens=576).key == VisionProfile(square=336).key
    assert VisionProfile(max_side=672).key == "fit672"
    plain = VisionProfile(square=336)
    others = (
        VisionProfile(square=112),
        replace(plain, grids=((672, 672),)),
        replace(plain, trained=True),
        replace(plain, stretched=True),
        replace(plain, overview="first"),
    )
    assert len({profile.key for profile in (plain, *others)}) == 6


def test_a_profile_comes_back_from_json_as_it_was() -> None:
    profile = profile_for(VisionFacts("mlp", 336, 14, ((672, 336), (672, 672))), overview="first")
    assert VisionProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
