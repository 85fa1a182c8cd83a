"""Long images: the strips that each family of models gets of them, and the warning about what is too small."""

from __future__ import annotations

import math
from io import BytesIO
from itertools import pairwise

import pytest
from PIL import Image

from llava_gateway.images import strips
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.families import AnyShape, Cells, Grid, OneSquare, Slices
from llava_gateway.images.ingest import render
from llava_gateway.images.plan import Plan, Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.steps import in_words, shown_pieces, steps
from llava_gateway.images.stored import rendition_of
from llava_gateway.images.view import draw
from llava_gateway.images.worker import _rendered
from llava_gateway.notes import note
from llava_gateway.parts import Sight
from tests.images.conftest import DirectWorker
from tests.odd_images import saved

TALL, WIDE = (1080, 9000), (12000, 3000)
FAMILIES = {
    "LLaVA 1.5": VisionProfile(SquareEye(336, 576)),
    "LLaVA 1.6": VisionProfile(SquareEye(336, 576, trained=True, stretched=True)),
    "Gemma 3": VisionProfile(OneSquare(896, 258, around=2)),
    "Qwen-VL": VisionProfile(Cells(28, 8, 4096)),
    "Gemma 4": VisionProfile(Cells(48, 70, 280)),
    "Pixtral": VisionProfile(Cells(16, 8, 1024, around=1, row_break=True)),
    "MiniCPM-V": VisionProfile(Slices(448, 14, 64)),
    "Llama 4": VisionProfile(Grid(336, 144)),
    "unknown": VisionProfile(AnyShape()),
}
HIGH = Sight("high")


def boxes(plan: Plan) -> list[tuple[float, float, float, float]]:
    return [canvas.region for canvas in plan.canvases if canvas.role == "strip"]


@pytest.mark.parametrize("size", [TALL, WIDE], ids=["tall", "wide"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_long_image_is_sent_in_strips_in_reading_order_that_overlap(name: str, size: Size) -> None:
    plan = FAMILIES[name].plan(size, HIGH)
    count = strips.count(plan)
    assert count >= 2
    assert [canvas.label for canvas in plan.canvases if canvas.role == "strip"] == [f"{n}/{count}:" for n in range(1, count + 1)]
    assert plan.canvases[0].role == "overview"
    axis = 1 if size[1] > size[0] else 0
    parts = [(box[axis], box[axis] + box[axis + 2]) for box in boxes(plan)]
    assert parts[0][0] == 0
    assert math.isclose(parts[-1][1], 1, abs_tol=2e-6)
    for (_, end), (start, _) in pairwise(parts):
        assert start < end
    assert strips.smallest_text(plan, size) * 1.25 <= strips.smallest_text(FAMILIES[name].plan(size), size)


@pytest.mark.parametrize("budget", [1500, 3000, 6000, 12000, 30000])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "unknown"])
def test_there_are_as_many_strips_as_there_are_tokens_for(name: str, budget: int) -> None:
    profile = FAMILIES[name]
    plan, more = (profile.plan(TALL, Sight("high", max_image_tokens=most)) for most in (budget, 2 * budget))
    assert plan.tokens is not None
    assert plan.tokens + strips.LABEL_TOKENS * strips.count(plan) <= budget or not strips.count(plan)
    assert strips.smallest_text(more, TALL) <= strips.smallest_text(plan, TALL)


def test_where_the_tokens_are_not_known_there_are_few() -> None:
    plan = FAMILIES["unknown"].plan((1000, 60_000), HIGH)
    assert (strips.count(plan), plan.tokens) == (strips.MOST_OF_UNKNOWN_COST, None)


@pytest.mark.parametrize(
    ("size", "sight"),
    [
        ((4000, 3000), HIGH),
        ((1080, 2400), HIGH),
        (TALL, Sight()),
        (TALL, Sight("low")),
        (TALL, Sight("high", region=(0.0, 0.0, 1.0, 0.5))),
        (TALL, Sight("high", image_size=(672, 672))),
        (TALL, Sight("high", num_visual_tokens=1728)),
        ((300, 90), HIGH),
    ],
)
def test_other_images_and_other_wishes_get_no_strips(size: Size, sight: Sight) -> None:
    assert [strips.count(profile.plan(size, sight)) for profile in FAMILIES.values()] == [0] * len(FAMILIES)


def test_an_image_gets_no_strips_where_they_show_no_more() -> None:
    plan = FAMILIES["LLaVA 1.6"].plan((1000, 300), HIGH)
    assert (strips.count(plan), plan.tokens) == (0, 4 * 576)


def test_a_model_that_takes_one_image_gets_no_strips() -> None:
    one = VisionProfile(OneSquare(378, 729), max_images=1)
    assert strips.count(one.plan(TALL, HIGH)) == 0
    five = VisionProfile(OneSquare(896, 258), max_images=5)
    assert len(five.plan(TALL, HIGH).canvases) == 5


@pytest.mark.parametrize(
    ("name", "sight", "code"),
    [
        ("LLaVA 1.5", Sight(), "long_image"),
        ("LLaVA 1.6", Sight(), "long_image"),
        ("Qwen-VL", Sight("low"), "long_image"),
        ("LLaVA 1.5", Sight("high", max_image_tokens=3500), "long_image_parts"),
        ("Qwen-VL", HIGH, None),
    ],
)
def test_the_warning_says_what_is_too_small_and_what_shows_more(name: str, sight: Sight, code: str | None) -> None:
    profile = FAMILIES[name]
    plan, better = profile.plan(TALL, sight), profile.plan(TALL, HIGH)
    told = strips.about(TALL, TALL, plan, better)
    assert (told and told.code) == code
    if told is None:
        return
    assert (told.values["width"], told.values["height"], told.values["text"]) == (*TALL, strips.smallest_text(plan, TALL))
    if code == "long_image":
        assert (told.values["parts"], told.values["parts_text"]) == (strips.count(better), strips.smallest_text(better, TALL))


def test_the_warning_counts_in_pixels_of_the_file() -> None:
    plan = FAMILIES["LLaVA 1.5"].plan((540, 4500))
    told = strips.about((540, 4500), (1081, 9000), plan, None)
    assert told == note("long_image_whole", width=1081, height=9000, text=2 * strips.smallest_text(plan, (540, 4500)))


def test_the_strips_show_their_parts_and_can_be_looked_at(worker: DirectWorker) -> None:
    bands = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)]
    tall = Image.new("RGB", (200, 1200))
    for place, colour in enumerate(bands):
        tall.paste(colour, (0, place * 200, 200, (place + 1) * 200))
    profile = VisionProfile(SquareEye(112, 64))
    made = worker.ingest(saved(tall, "PNG"), profile)
    sent = render(made.canonical, profile, HIGH)
    rendition = rendition_of(*_rendered(sent))
    count = strips.count(sent.plan)
    assert [piece.label for piece in rendition.pieces if piece.label] == [f"{n}/{count}:" for n in range(1, count + 1)]
    first, last = (Image.open(BytesIO(rendition.pieces[at].data)).convert("RGB") for at in (1, -1))
    assert first.getpixel((first.width // 2, 10)) == bands[0]
    assert last.getpixel((last.width // 2, last.height - 10)) == bands[-1]
    told = [step.values for step in steps(made.info, sent.plan, rendition) if step.code == "strip"]
    assert [(values["number"], values["count"]) for values in told] == [(n, count) for n in range(1, count + 1)]
    assert f"{count} parts in reading order" in in_words(sent.plan)
    assert len(shown_pieces(sent.plan, rendition)) == len(rendition.pieces)
    assert draw([piece.data for piece in rendition.pieces], sent.plan.canvases).width > 0
