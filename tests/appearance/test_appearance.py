"""Compare about 40 files with what a browser draws, and check the parts of colour that no browser is needed for."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from llava_gateway.images import hdr, signalled
from llava_gateway.notes import note
from tests.appearance.chromium import Chromium
from tests.appearance.compare import canonical, delta_e, difference
from tests.appearance.pictures import Case, few, picture, png
from tests.appearance.reasons import reason
from tests.odd_images import chunk, saved


@pytest.mark.parametrize("case", few(), ids=lambda case: f"{case.encoder}: {case.name}")
def test_the_canonical_image_is_what_a_browser_draws(judge: Chromium, case: Case) -> None:
    found = difference(case, judge)
    assert found.is_small or reason(case), found


def test_hdr_is_shown_as_usual_images_are_and_that_is_said() -> None:
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        white = {16: 148, 18: 191}[transfer]
        data = png(Image.new("RGB", (64, 64), (white, white, white)), chunk(b"cICP", bytes((9, transfer, 0, 1))), 16)
        image, info = canonical(data)
        assert note("hdr_to_sdr", transfer=name) in info.changes
        assert image.getpixel((9, 9)) == pytest.approx((187, 187, 187), abs=3)


def test_hdr_in_avif_and_heic_is_seen() -> None:
    for name, options in (("AVIF", {"quality": 95, "subsampling": "4:4:4"}), ("HEIF", {"quality": 95, "chroma": 444})):
        data = saved(picture(), name, **options)
        at = data.index(b"colrnclx") + 8
        coded = data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :]
        assert note("hdr_to_sdr", transfer="PQ") in canonical(coded)[1].changes


@pytest.mark.parametrize("peak", [203.0, 400.0, 1000.0, 4000.0, 10000.0])
def test_the_tone_curve_rises_and_ends_at_white(peak: float) -> None:
    mapped = hdr.curve(peak)
    values = [mapped(index / 20 * peak / 203) for index in range(21)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == pytest.approx(1)


def test_what_signals_nothing_sensible_is_ignored() -> None:
    for before in (
        chunk(b"cICP", b"\1\2"),
        chunk(b"gAMA", bytes(4)),
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cHRM", bytes(32)),
    ):
        found = signalled.read(png(picture(), before), "PNG")
        assert found is None or found.is_srgb or found.primaries == signalled.SRGB


def test_matrices_are_inverted() -> None:
    matrix = signalled.to_xyz(signalled.BT2020)
    unit = signalled.product(matrix, signalled.inverse(matrix))
    assert [round(value, 9) for row in unit for value in row] == [1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_pixels_of_a_fax_become_square() -> None:
    page = Image.new("1", (864, 550), 1)
    for compression, turned in (("group4", False), ("raw", True)):
        dpi = (98, 204) if turned else (204, 98)
        image, info = canonical(saved(page.rotate(90, expand=True) if turned else page, "TIFF", compression=compression, dpi=dpi))
        assert image.size == ((1145, 864) if turned else (864, 1145))
        assert note("square_pixels", width=image.width, height=image.height) in info.changes
    for dpi in ((300, 300), (300, 299), (1, 100)):
        assert canonical(saved(page, "TIFF", dpi=dpi))[0].size == page.size


def test_equal_images_do_not_differ_and_others_do() -> None:
    assert delta_e(picture(), picture()).max() == 0
    assert delta_e(Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")).min() == pytest.approx(52.9, abs=0.5)
