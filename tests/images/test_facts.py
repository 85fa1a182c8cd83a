"""Test the profile that follows from an engine's facts and the tables of overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from llava_gateway.built_in import built_in_vision
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.families import Cells, Grid, OneSquare, Slices
from llava_gateway.images.plan import BLACK
from llava_gateway.images.profile import VisionProfile
from llava_gateway.parts import Sight
from llava_gateway.settings import Settings, VisionOverride

GEMMA3 = VisionProfile(OneSquare(896, 258, around=2, fill=BLACK), family="gemma3")
QWEN = VisionProfile(Cells(28, 8, 4096), family="qwen-vl")
MISTRAL = VisionProfile(Cells(28, 8, 1024, around=1, row_break=True), family="pixtral")


@pytest.mark.parametrize(
    ("facts", "profile"),
    [
        (VisionFacts("mlp", 336, 14), VisionProfile(SquareEye(336, 576), family="llava")),
        (VisionFacts("mlp", 112, 14), VisionProfile(SquareEye(112, 64), family="llava")),
        (VisionFacts("mlp", 378, 14), VisionProfile(SquareEye(378, 729), family="llava")),
        (
            VisionFacts("mlp", 336, 14, ((672, 672), (500, 672))),
            VisionProfile(SquareEye(336, 576, grids=((672, 672),), trained=True, stretched=True), family="llava"),
        ),
        (VisionFacts("gemma3", 896, 14), GEMMA3),
        (VisionFacts("gemma3", 896, 14, merge=8), VisionProfile(OneSquare(896, 66, around=2, fill=BLACK), family="gemma3")),
        (VisionFacts("qwen2.5vl_merger", 560, 14, merge=2), QWEN),
        (VisionFacts("qwen25vl", None, 14, merge=2, least_tokens=1024), replace(QWEN, eye=Cells(28, 1024, 4096))),
        (VisionFacts("qwen3vl_merger", 768, 16), replace(QWEN, eye=Cells(32, 8, 4096))),
        (VisionFacts("pixtral", 1540, 14, merge=2), MISTRAL),
        (VisionFacts("mistral3", 1540, 14, merge=2), MISTRAL),
        (VisionFacts("pixtral", 1024, 16), replace(MISTRAL, eye=Cells(16, 8, 1024, around=1, row_break=True))),
        (VisionFacts("resampler", 448, 14, version=3), VisionProfile(Slices(448, 14, 64), family="minicpm-v")),
        (VisionFacts("resampler", 448, 14), VisionProfile(Slices(448, 14, 96, around_all=2), family="minicpm-v")),
        (VisionFacts("resampler", 448, 14, queries=32, version=6), VisionProfile(Slices(448, 14, 32), family="minicpm-v")),
        (VisionFacts("llama4", 336, 14), VisionProfile(Grid(336, 144), family="llama4")),
        (VisionFacts("mlp", None, 14), VisionProfile()),
        (VisionFacts("gemma3", 896, None), VisionProfile()),
        (VisionFacts("qwen3vl"), VisionProfile()),
        (VisionFacts("llama4", None, 14), VisionProfile()),
        (VisionFacts("resampler"), VisionProfile()),
        (VisionFacts("ldp", 336, 14), VisionProfile()),
        (VisionFacts(), VisionProfile()),
    ],
)
def test_only_what_is_known_of_a_projector_shapes_the_image(facts: VisionFacts, profile: VisionProfile) -> None:
    assert profile_for(facts) == profile


STOCK = VisionFacts("mlp", 336, 14)


def stock_eye(name: str, overrides: Mapping[str, VisionOverride] | None = None) -> SquareEye:
    eye = profile_for(STOCK, name, overrides).eye
    assert isinstance(eye, SquareEye)
    return eye


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("llava:7b", True),
        ("llava", True),
        ("llava:34b", True),
        ("llava:7b-v1.6-mistral-q4_K_M", True),
        ("mirror/LLaVA:13B-V1.6", True),
        ("llava:7b-v1.5-q4_0", False),
        ("bakllava:latest", False),
        ("llava-llama3", False),
        ("llava-phi3:3.8b", False),
        ("", False),
    ],
)
def test_stock_llava_1_6_is_known_to_have_learned_with_tiles(name: str, trained: bool) -> None:
    assert stock_eye(name).trained is trained


def test_moondream_takes_one_image() -> None:
    moondream = profile_for(VisionFacts("mlp", 378, 14), "moondream:1.8b")
    assert moondream.max_images == 1
    assert moondream.plan((2000, 1000), Sight(detail="high")).tokens == 729
    close = moondream.plan((2000, 1000), Sight(region=(0, 0, 0.5, 0.5))).canvases
    assert [canvas.region for canvas in close] == [(0, 0, 0.5, 0.5)]
    assert profile_for(STOCK, "llava:7b").max_images is None


def test_names_shape_nothing_that_the_engine_contradicts() -> None:
    assert profile_for(VisionFacts("gemma3", 896, 14), "llava:7b") == GEMMA3
    assert profile_for(VisionFacts(), "llava:7b").square is None


def test_overrides_of_the_settings_go_over_what_is_built_in() -> None:
    settings = Settings(
        vision={
            "llava:*": VisionOverride(tiles=False, overview="first"),
            "*:7b": VisionOverride(max_images=2),
            "served-elsewhere": VisionOverride(family="llava", image_size=336, patch_size=14),
            "odd:*": VisionOverride(family="unknown"),
        }
    )
    stock = profile_for(STOCK, "llava:7b", settings.vision)
    assert stock == VisionProfile(SquareEye(336, 576, overview="first"), "llava", max_images=2)
    assert profile_for(VisionFacts(), "served-elsewhere", settings.vision).plan((800, 600)).tokens == 576
    assert profile_for(STOCK, "odd:1", settings.vision) == VisionProfile()
    assert stock_eye("llava:7b-v1.6", settings.vision).trained is False


def test_every_built_in_override_says_something() -> None:
    assert all(override.model_dump(exclude_none=True) for override in built_in_vision().values())
