from __future__ import annotations

from io import BytesIO
from typing import get_args

import pytest
from PIL import Image

from llava_gateway.cli import sample_images
from llava_gateway.images.sniff import Format, sniff


@pytest.mark.parametrize("kind", get_args(Format))
def test_a_sample_is_of_its_format(kind: Format) -> None:
    assert sniff(sample_images.sample(kind)) == kind


def test_a_sample_is_known_again() -> None:
    assert sample_images.shows_sample(sample_images.sample("PNG"))
    assert sample_images.shows_sample(sample_images.sample("JPEG"))
    assert not sample_images.shows_sample(sample_images.circle("red", 64))


def test_another_colour_is_not_the_sample() -> None:
    file = BytesIO()
    Image.new("RGB", sample_images.SAMPLE_SIZE, (30, 40, 200)).save(file, "PNG")
    assert not sample_images.shows_sample(file.getvalue())


@pytest.mark.parametrize("side", [31, 32])
def test_neighbours_on_the_checkerboard_differ(side: int) -> None:
    board = Image.open(BytesIO(sample_images.circle_on_checkerboard(side))).convert("RGB")
    assert board.size == (side, side)
    assert [board.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (255, 255, 255), (0, 0, 0)]
    assert [board.getpixel((0, y)) for y in range(3)] == [(0, 0, 0), (255, 255, 255), (0, 0, 0)]
    assert board.getpixel((side // 2, side // 2)) == (255, 0, 0)


def test_turned_letters_are_upright_when_their_tag_is_heeded() -> None:
    upright = sample_images.letters("F7", 112)
    rotated = Image.open(BytesIO(sample_images.letters("F7", 112, stored_rotated=True, tagged=True)))
    assert rotated.getexif()[0x0112] == 6
    back = rotated.transpose(Image.Transpose.ROTATE_270)
    assert _difference(back, Image.open(BytesIO(upright))) < 2
    assert _difference(rotated, Image.open(BytesIO(upright))) > 10


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean of the absolute differences, of 255."""
    pairs = list(zip(one.convert("L").tobytes(), other.convert("L").tobytes(), strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)
