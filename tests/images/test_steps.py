from __future__ import annotations

import pytest

from llava_gateway.chat import Piece, Rendition
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.profile import Canvas, Plan, VisionProfile
from llava_gateway.images.steps import in_words, shown_pieces, steps
from llava_gateway.notes import note

CHANGES = (note("rotated", degrees=90), note("profile_to_srgb", profile="Display P3"), note("kept_as", original="HEIC", format="JPEG"))
PHONE = ImageInfo(3024, 4032, 4032, 3024, "HEIC", 2_100_000, CHANGES)
ANYRES = Plan(
    (
        Canvas("tiles", (504, 672), (672, 672), fill=(0, 0, 0), tile=(336, 336)),
        Canvas("overview", (336, 336), (336, 336)),
    ),
    tokens=2880,
    label="exact",
    detail="high",
)
REGION = Plan(
    (
        Canvas("overview", (252, 336), (336, 336)),
        Canvas("region", (336, 168), (336, 336), region=(0.25, 0.5, 0.5, 0.1875)),
    ),
)


def sent(plan: Plan, size: int = 1000) -> Rendition:
    pieces = [
        Piece(bytes(size), "PNG", *(canvas.tile or canvas.size)) for canvas in plan.canvases for _ in range(canvas.grid[0] * canvas.grid[1])
    ]
    return Rendition(tuple(pieces), plan.tokens, plan.label, plan.detail)


def test_a_phones_photo_for_llava_step_by_step() -> None:
    plan = VisionProfile(SquareEye(336, 576)).plan((3024, 4032))
    found = steps(PHONE, plan, sent(plan, 91234))
    assert found == (
        note("decoded", format="HEIC", width=4032, height=3024, bytes=2_100_000),
        *CHANGES,
        note("shrunk", from_width=3024, from_height=4032, width=252, height=336),
        note("padded", width=336, height=336, colour="#7a7468"),
        note("encoded", format="PNG", count=1, bytes=91234, kilobytes=91.234),
        note("tokens", tokens=576, label="exact"),
    )


def test_tiles_and_an_overview_step_by_step() -> None:
    codes = [step.code for step in steps(PHONE, ANYRES, sent(ANYRES))][4:]
    assert codes == ["shrunk", "padded", "cut", "overview", "stretched", "encoded", "tokens"]
    cut = next(step for step in steps(PHONE, ANYRES, sent(ANYRES)) if step.code == "cut")
    assert cut.values == {"columns": 2, "rows": 2, "width": 336, "height": 336}


def test_a_region_step_by_step() -> None:
    found = steps(PHONE, REGION, sent(REGION))[4:]
    assert [step.code for step in found] == [
        *("overview", "shrunk", "padded", "region", "shrunk", "padded", "encoded", "tokens_unknown"),
    ]
    assert found[3].values == {"x": 0.25, "y": 0.5, "width": 1512, "height": 756}
    assert found[4].values == {"from_width": 1512, "from_height": 756, "width": 336, "height": 168}


def test_a_region_that_ends_within_pixels_takes_all_of_them() -> None:
    """The note gives the region as it is cut."""
    small = ImageInfo(100, 100, 100, 100, "PNG", 500)
    plan = Plan((Canvas("region", (51, 50), (51, 50), region=(0.005, 0, 0.5, 0.5)),))
    _, region, encoded, _ = steps(small, plan, sent(plan))
    assert encoded.code == "encoded", "nothing was resized"
    assert region.values == {"x": 0.005, "y": 0, "width": 51, "height": 50}


def test_an_image_that_fits_is_neither_resized_nor_padded() -> None:
    info = ImageInfo(640, 480, 640, 480, "PNG", 5000)
    plan = VisionProfile().plan((640, 480))
    assert [step.code for step in steps(info, plan, sent(plan))] == ["decoded", "encoded", "tokens_unknown"]
    small = ImageInfo(64, 48, 64, 48, "PNG", 500)
    square = VisionProfile(SquareEye(112)).plan((64, 48))
    assert [step.code for step in steps(small, square, sent(square))][1:3] == ["enlarged", "padded"]


def test_every_piece_tells_what_part_of_the_image_it_shows() -> None:
    # 504 of 672 px: 84 px of padding left and right, so each column of tiles shows half of the image.
    boxes = [(piece.role, piece.box, piece.tokens) for piece in shown_pieces(ANYRES, sent(ANYRES))]
    assert boxes == [
        ("tiles", (0.0, 0.0, 0.5, 0.5), 576),
        ("tiles", (0.5, 0.0, 0.5, 0.5), 576),
        ("tiles", (0.0, 0.5, 0.5, 0.5), 576),
        ("tiles", (0.5, 0.5, 0.5, 0.5), 576),
        ("overview", (0.0, 0.0, 1.0, 1.0), 576),
    ]
    region = [(piece.role, piece.box, piece.tokens) for piece in shown_pieces(REGION, sent(REGION))]
    assert region == [("overview", (0.0, 0.0, 1.0, 1.0), None), ("region", (0.25, 0.5, 0.5, 0.1875), None)]


def test_a_tile_of_padding_alone_shows_nothing() -> None:
    plan = Plan((Canvas("tiles", (336, 100), (336, 1008), tile=(336, 336)),))
    assert [piece.box for piece in shown_pieces(plan, sent(plan))] == [None, (0.0, 0.0, 1.0, 1.0), None]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (VisionProfile(SquareEye(336)).plan((400, 300)), "The whole image on 336x336 pixels, the rest of them padded."),
        (VisionProfile().plan((400, 300)), "The whole image as 400x300 pixels."),
        (ANYRES, "A grid of 2x2 tiles of 336x336 pixels and an overview of the whole as 336x336 pixels."),
    ],
)
def test_the_kind_of_eye_in_words(plan: Plan, words: str) -> None:
    assert in_words(plan) == words
