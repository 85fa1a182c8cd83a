from __future__ import annotations

import pytest

from llava_gateway.images.profile import VisionFacts, VisionProfile, profile_for


@pytest.mark.parametrize(
    ("facts", "profile"),
    [
        (VisionFacts("mlp", 336, 14), VisionProfile(square=336, tokens=576)),
        (VisionFacts("mlp", 112, 14), VisionProfile(square=112, tokens=64)),
        (VisionFacts("mlp", 336, 14, ((672, 672),)), VisionProfile()),
        (VisionFacts("gemma3", 896, 14), VisionProfile()),
        (VisionFacts("mlp", None, 14), VisionProfile()),
        (VisionFacts(), VisionProfile()),
    ],
)
def test_only_what_is_known_of_a_projector_shapes_the_picture(facts: VisionFacts, profile: VisionProfile) -> None:
    assert profile_for(facts) == profile


def test_the_key_names_all_that_shapes_a_rendition() -> None:
    assert VisionProfile(square=336, tokens=576).key == VisionProfile(square=336).key == "square336"
    assert VisionProfile(max_side=672).key == "fit672"
