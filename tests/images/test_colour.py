from __future__ import annotations

import struct

import pytest
from PIL import Image

from llava_gateway.images import colour
from llava_gateway.notes import note
from tests.odd_images import ADOBE_RGB, DISPLAY_P3, TEST_INKS


def test_16_bit_is_divided_by_257() -> None:
    """The test covers all 65,536 values; Pillow's own conversion turns 99.6 % of them white."""
    image = Image.frombytes("I;16", (256, 256), struct.pack("<65536H", *range(65536)))
    eight, changes = colour.eight_bit(image, 16)
    assert eight.mode == "L"
    assert list(eight.tobytes()) == [round(v / 257) for v in range(65536)]
    assert changes == (note("eight_bit", bits=16),)


def test_12_bit_fills_the_range() -> None:
    image = Image.frombytes("I;16", (3, 1), struct.pack("<3H", 0, 2048, 4095))
    assert list(colour.eight_bit(image, 12)[0].tobytes()) == [0, 128, 255]


def test_floats_are_stretched() -> None:
    image = Image.frombytes("F", (3, 1), struct.pack("<3f", -1, 0, 1))
    assert list(colour.eight_bit(image, 32)[0].tobytes()) == [0, 127, 255]
    flat = Image.frombytes("F", (2, 1), struct.pack("<2f", 7, 7))
    assert list(colour.eight_bit(flat, 32)[0].tobytes()) == [0, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_floats_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not numbers"):
        colour.eight_bit(Image.frombytes("F", (2, 1), struct.pack("<2f", value, value)), 32)


@pytest.mark.parametrize(
    ("icc", "mode", "sent", "expected"),
    [
        (DISPLAY_P3, "RGB", (234, 51, 35), (255, 0, 0)),
        (DISPLAY_P3, "RGB", (117, 251, 76), (0, 255, 0)),
        (ADOBE_RGB, "RGB", (219, 0, 0), (255, 0, 0)),
        (ADOBE_RGB, "RGB", (128, 128, 128), (128, 128, 128)),
        (TEST_INKS, "CMYK", (0, 255, 255, 0), (185, 88, 87)),
        (None, "CMYK", (0, 255, 255, 0), (255, 0, 0)),
        (None, "CMYK", (0, 0, 0, 255), (0, 0, 0)),
        (None, "L", 77, (77, 77, 77)),
    ],
)
def test_known_colours(icc: bytes | None, mode: str, sent: int | tuple[int, ...], expected: tuple[int, int, int]) -> None:
    """The values in Display P3 and Adobe RGB are the well-known values of pure sRGB colours."""
    image, _ = colour.to_srgb(Image.new(mode, (2, 2), sent), icc)
    found = image.getpixel((0, 0))
    assert isinstance(found, tuple)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 3


def test_a_profile_that_says_something_odd_is_quoted_briefly() -> None:
    odd = DISPLAY_P3.replace(b"Display P3", b"\x1b[31mEvil!")
    _, changes = colour.to_srgb(Image.new("RGB", (2, 2)), odd)
    assert changes == (note("profile_to_srgb", profile="[31mEvil!"),)
