"""Test the rule of each family, without an engine and against the real engine's token counts of the pieces that we send."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from llava_gateway.engines.gguf import read_header
from llava_gateway.images import families
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.families import Cells, Grid, Slices
from llava_gateway.images.ingest import render
from llava_gateway.images.plan import BLACK, WHOLE, Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import note
from llava_gateway.parts import Sight
from tests.images.random_sizes import sent, sizes
from tests.llama_server import client_of, llama_server
from tests.synthetic_eyes import KINDS, LLAVA, write_eye
from tests.synthetic_llava import SyntheticPair

DEMO = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
DEMO_PAIR = SyntheticPair(DEMO / "demo.gguf", DEMO / "demo-mmproj.gguf")
EVERY = ("demo", *LLAVA, *KINDS)
SIZES = int(os.environ.get("LLAVA_GATEWAY_TEST_SIZES", "20"))
"""Number of random sizes per family; `make families` uses 200."""
FEW_SIGHTS = (Sight(max_image_tokens=900), Sight(detail="low"), Sight(num_visual_tokens=200))
MORE_SIGHTS = (
    Sight(image_size=(700, 500)),
    Sight(num_visual_tokens=64),
    Sight(max_image_tokens=1300),
    Sight(region=(0.2, 0.1, 0.5, 0.4)),
    Sight(),
)

QWEN = VisionProfile(Cells(28, 8, 4096))
QWEN_IN_OLLAMA = VisionProfile(Cells(28, 1024, 4096))
QWEN3 = VisionProfile(Cells(32, 8, 4096))
GEMMA4 = VisionProfile(Cells(48, 70, 280))
PIXTRAL = VisionProfile(Cells(16, 8, 1024, around=1, row_break=True))
MISTRAL = VisionProfile(Cells(28, 8, 1024, around=1, row_break=True))
MINICPM = VisionProfile(Slices(448, 14, 64))
LLAMA4 = VisionProfile(Grid(336, 144))
GEMMA3 = profile_for(VisionFacts("gemma3", 896, 14))
UNKNOWN = VisionProfile()


@dataclass(frozen=True)
class Counter:
    """A real engine that counts the tokens of images; `text` tokens are not part of the images."""

    http: httpx2.AsyncClient
    text: int

    async def tokens(self, pieces: Sequence[bytes]) -> int:
        urls = (f"data:image/png;base64,{base64.b64encode(piece).decode()}" for piece in pieces)
        content = [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": "a"}]
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1, "cache_prompt": False}
        response = await self.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        counted: int = response.json()["usage"]["prompt_tokens"]
        return counted - self.text

    @classmethod
    async def of(cls, http: httpx2.AsyncClient) -> Counter:
        """Measure the tokens of the text: twice (one image and the text) minus (two images and the text), for any template."""
        blind, piece = cls(http, 0), drawn((64, 64))
        return cls(http, 2 * await blind.tokens([piece]) - await blind.tokens([piece, piece]))


@asynccontextmanager
async def counter(pair: SyntheticPair) -> AsyncIterator[Counter]:
    async with llama_server("eye", pair.gguf, pair.mmproj, 8192) as server, client_of(server) as http:
        yield await Counter.of(http)


def drawn(size: Size) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (214, 39, 40)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.real
@pytest.mark.parametrize("name", EVERY)
async def test_the_engine_counts_what_was_predicted(name: str, tmp_path: Path) -> None:
    sights = FEW_SIGHTS if SIZES <= 20 else (*FEW_SIGHTS, *MORE_SIGHTS)
    wanted = [(size, sights[index % len(sights)]) for index, size in enumerate(sizes(SIZES))]
    pair = DEMO_PAIR if name == "demo" else write_eye(tmp_path, name)
    profile = profile_for(read_header(pair.mmproj).vision_facts)
    async with counter(pair) as engine:
        for size, sight in wanted:
            made = render(drawn(size), profile, sight)
            counted = await engine.tokens([piece.data for piece in made.pieces])
            assert (made.plan.tokens, made.plan.label) == (counted, "exact"), f"{size} with {sight.key}"


def smart_resize(eye: Cells, size: Size) -> Size:
    """Copy llama.cpp `calc_size_preserved_ratio` (mtmd-image.cpp) line by line, with the limits of `set_limit_image_tokens`."""
    width, height = size
    least, most = eye.least * eye.side**2, eye.most * eye.side**2
    wide, high = (max(eye.side, math.floor(length / eye.side + 0.5) * eye.side) for length in size)
    if wide * high > most:
        beta = math.sqrt(width * height / most)
        wide, high = (max(eye.side, math.floor(length / beta / eye.side) * eye.side) for length in size)
    elif wide * high < least:
        beta = math.sqrt(least / (width * height))
        wide, high = (math.ceil(length * beta / eye.side) * eye.side for length in size)
    return wide, high


@pytest.mark.parametrize("profile", [QWEN, QWEN_IN_OLLAMA, QWEN3, GEMMA4, PIXTRAL, MISTRAL], ids=lambda profile: profile.family)
@pytest.mark.parametrize("sight", [Sight(), Sight(detail="low"), Sight(detail="high"), *MORE_SIGHTS[:3]], ids=lambda sight: sight.key)
def test_whole_cells_are_sent_that_the_engine_leaves_as_they_are(profile: VisionProfile, sight: Sight) -> None:
    assert isinstance(profile.eye, Cells)
    for size in sizes(300, seed=2, longest=13):
        for canvas in profile.plan(size, sight).canvases:  # in high detail, a long image is sent in several parts
            assert smart_resize(profile.eye, canvas.size) == canvas.size, size


def test_images_of_a_usual_size_get_the_cells_that_the_engine_would_give_them() -> None:
    for size in ((640, 480), (1000, 400), (300, 900), (56, 84)):
        assert sent(QWEN.plan(size)) == smart_resize(Cells(28, 8, 4096), size)


def test_rounding_to_cells_stretches_and_long_shapes_are_padded() -> None:
    (canvas,) = QWEN.plan((650, 490)).canvases
    assert canvas.inner == canvas.size == (644, 504)  # 490 is 17.5 cells
    (canvas,) = QWEN.plan((1000, 16)).canvases
    assert (canvas.size, canvas.fill) == ((1008, 28), BLACK)
    assert canvas.inner == (1008, 16)


def test_the_engine_hardly_ever_shrinks_a_sliced_image() -> None:
    """It enlarges images that have fewer pixels than their slices."""
    eye, shrunk = Slices(448, 14, 64), []
    for size in sizes(3000, seed=2, longest=12):
        target = sent(MINICPM.plan(size))
        if max(target) > eye.side:
            cut = families._refined(eye, target, families._slice_grid(eye, target))
            shrunk.append(math.prod(cut) / math.prod(target))
    assert sum(ratio < 1 for ratio in shrunk) <= 3
    assert min(shrunk) > 0.85


def test_a_sliced_image_is_cut_into_no_more_slices_than_it_would_be_as_it_came() -> None:
    assert MINICPM.plan((587, 83)).tokens == 198  # 2 slices; a size that needs no resizing would have 7
    assert MINICPM.plan((1344, 1344)).tokens == 10 * 66 + 2


def test_tiles_of_llama_4_are_filled_without_padding() -> None:
    every = [(x * 336, y * 336) for x in (1, 2, 3) for y in (1, 2, 3) if (x, y) != (1, 1)]
    for size in sizes(300, seed=3, longest=12):
        target = sent(LLAMA4.plan(size))
        if max(target) > 336:
            wide, high = families.best_resolution(target, every)
            assert target[0] == wide or target[1] == high
    assert LLAMA4.plan((1000, 1000)).tokens == 144 * 10 + 2


@pytest.mark.parametrize(
    ("profile", "low", "usual", "high"),
    [
        pytest.param(GEMMA3, 258, 258, 258, id="gemma3"),
        pytest.param(GEMMA4, 266 + 2, 266 + 2, 266 + 2, id="gemma4"),
        pytest.param(QWEN, 540 + 2, 55 * 41 + 2, 4015 + 2, id="qwen"),
        pytest.param(QWEN_IN_OLLAMA, 1036 + 2, 55 * 41 + 2, 4015 + 2, id="qwen in Ollama"),
        pytest.param(MISTRAL, 540 + 19 + 1, 972 + 26 + 1, 972 + 26 + 1, id="mistral"),
        pytest.param(MINICPM, 66, 662, 662, id="minicpm"),
        pytest.param(LLAMA4, 146, 1442, 1442, id="llama4"),
    ],
)
def test_detail_says_how_much_a_large_image_costs(profile: VisionProfile, low: int, usual: int, high: int) -> None:
    photo = (4000, 3000)
    costs = [profile.plan(photo, Sight(detail=detail)).tokens for detail in ("low", "auto", "high")]
    assert costs == [low, usual, high]


KNOWN = [GEMMA3, GEMMA4, QWEN, QWEN_IN_OLLAMA, QWEN3, PIXTRAL, MISTRAL, MINICPM, LLAMA4]


@pytest.mark.parametrize("profile", KNOWN, ids=lambda profile: profile.family)
@pytest.mark.parametrize("most", [1, 60, 150, 300, 700, 1500, 5000])
def test_a_limit_is_kept_or_said_to_be_missed(profile: VisionProfile, most: int) -> None:
    for size in sizes(50, seed=4, longest=12):
        plan = profile.plan(size, Sight(max_image_tokens=most))
        assert plan.tokens
        assert (plan.tokens <= most) == (plan.notes == ()), (size, plan)
        assert all(each.code == "max_image_tokens_adjusted" for each in plan.notes)


@pytest.mark.parametrize("profile", KNOWN, ids=lambda profile: profile.family)
@pytest.mark.parametrize("box", [(100, 100), (500, 300), (1000, 2000)])
def test_a_size_is_kept_or_said_to_be_missed(profile: VisionProfile, box: Size) -> None:
    for size in sizes(50, seed=5, longest=12):
        plan = profile.plan(size, Sight(image_size=box))
        inside = all(length <= most for length, most in zip(sent(plan), box, strict=True))
        assert inside == (plan.notes == ()), (size, plan)


def test_a_number_of_tokens_is_a_wish_to_be_met_exactly() -> None:
    assert GEMMA3.plan((100, 100), Sight(num_visual_tokens=256)).notes == ()
    assert GEMMA3.plan((100, 100), Sight(num_visual_tokens=576)).notes == (note("num_visual_tokens_adjusted", tokens=256, wanted=576),)
    assert sent(QWEN.plan((4000, 4000), Sight(num_visual_tokens=256))) == (16 * 28, 16 * 28)
    assert QWEN.plan((4000, 4000), Sight(num_visual_tokens=256)).notes == ()
    assert MINICPM.plan((4000, 4000), Sight(num_visual_tokens=10)).notes == (note("num_visual_tokens_adjusted", tokens=64, wanted=10),)


@pytest.mark.parametrize("profile", [*KNOWN, UNKNOWN], ids=lambda profile: profile.family)
def test_a_region_is_sent_after_an_overview(profile: VisionProfile) -> None:
    region = (0.5, 0.25, 0.25, 0.5)
    plan = profile.plan((4000, 3000), Sight(region=region))
    assert [(canvas.role, canvas.region) for canvas in plan.canvases] == [("overview", WHOLE), ("region", region)]
    alone = profile.plan((1000, 1500), Sight()).tokens
    overview = profile.plan((4000, 3000), Sight(detail="low")).tokens
    assert plan.tokens == (None if alone is None or overview is None else alone + overview)


def test_of_an_unknown_model_only_the_size_can_be_limited() -> None:
    assert sent(UNKNOWN.plan((4000, 3000))) == (1344, 1008)
    assert sent(UNKNOWN.plan((4000, 3000), Sight(detail="low"))) == (672, 504)
    assert sent(UNKNOWN.plan((4000, 3000), Sight(image_size=(100, 100)))) == (100, 75)
    plan = UNKNOWN.plan((4000, 3000), Sight(num_visual_tokens=10))
    assert (plan.tokens, plan.label) == (None, "estimated")
    assert plan.notes == (note("image_cost_unknown", field="num_visual_tokens"),)
