"""The demo model in the package is the measured one, and the embedded engine reads its images with it."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator
from importlib import resources

import pytest

from demo_images import FONTS, draw_scene, for_model, load_font
from llava_gateway.chat import TextDelta
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.settings import Settings
from questions import describe
from tests.sample_images import ask

pytestmark = pytest.mark.real

CHECKSUMS = {
    "demo.gguf": "ffcd80daac8dba608e2a10ab6fb3c0936f150e07288f29fa26b71092673b5f2b",
    "demo-mmproj.gguf": "7904948ef544dd6f1822d348d5952f77d0ce52c1aaa6b1694a759a494027453b",
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_the_files_are_those_that_were_measured(name: str) -> None:
    data = (resources.files("llava_gateway") / "demo" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == CHECKSUMS[name]


@pytest.fixture
def fonts() -> None:
    """Skip the test if the fonts are missing, with a message; on CI it fails."""
    try:
        for name in FONTS:
            load_font(name, 16)
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def test_a_missing_font_is_named_with_what_to_install() -> None:
    with pytest.raises(RuntimeError, match=r"NoSuchFont\.ttf is not installed: .*apt-get install fonts-dejavu-core"):
        load_font("NoSuchFont.ttf", 16)


@pytest.mark.usefixtures("fonts")
def test_the_same_seed_draws_the_same_image() -> None:
    first, second = (draw_scene(random.Random(5)) for _ in range(2))
    assert first.scene == second.scene
    assert first.image.tobytes() == second.image.tobytes()


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(Settings(engine="embedded"))
    yield engine
    await engine.aclose()


@pytest.mark.usefixtures("fonts")
@pytest.mark.parametrize("chinese", [False, True], ids=["english", "chinese"])
async def test_drawn_images_are_described_rightly(engine: EmbeddedEngine, chinese: bool) -> None:
    wrong = {}
    for seed in range(10):
        drawing = draw_scene(random.Random(seed))
        request = ask("描述这张图片" if chinese else "Describe this image.", for_model(drawing)[0], temperature=0)
        async with engine.chat(request) as events:
            answer = "".join([event.text async for event in events if isinstance(event, TextDelta)])
        if answer.strip() != describe(drawing.scene, chinese):
            wrong[seed] = (answer, describe(drawing.scene, chinese))
    assert not wrong
