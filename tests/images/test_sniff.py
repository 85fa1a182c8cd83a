from __future__ import annotations

import subprocess
import sys

import pytest

from llava_gateway.images.pages import may_have_pages
from llava_gateway.images.sniff import Format, present, sniff, webp_size
from tests.odd_images import odd


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            ("jpeg", "JPEG"),
            ("png", "PNG"),
            ("webp", "WEBP"),
            ("gif", "GIF"),
            ("bmp", "BMP"),
            ("tiff raw", "TIFF"),
            ("tiff big endian", "TIFF"),
        ),
        *(
            ("avif", "AVIF"),
            ("heic", "HEIC"),
            ("avif animated", "AVIF"),
            ("heic of two images", "HEIC"),
            ("jpeg and a zip behind it", "JPEG"),
        ),
        *(("jpeg xl", None), ("psb", None), ("mp4", None), ("pcx", None), ("text that begins like a bmp", None), ("empty", None)),
    ],
)
def test_the_content_tells_the_format(name: str, kind: Format | None) -> None:
    assert sniff(odd(name).data) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1", "HEIC"),
        (b"\0\0\0\x14ftypmsf1\0\0\0\0hevc", "HEIC"),
        (b"\0\0\0\x14ftypavis\0\0\0\0msf1", "AVIF"),
        (b"\0\0\0\x14ftypcrx \0\0\0\0heic", "RAW"),
        (b"\xff\xff\xff\xffftypmif1", "HEIC"),
    ],
)
def test_brands_tell_avif_from_heic(head: bytes, kind: Format | None) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize("name", ["webp", "bmp", "avif", "heic"])
def test_how_much_of_a_file_is_there(name: str) -> None:
    data = odd(name).data
    kind = sniff(data)
    assert kind
    assert present(data, kind) == 1
    assert present(data[: len(data) * 3 // 4], kind) == pytest.approx(0.75, abs=0.01)


def test_formats_that_do_not_say_how_long_they_are() -> None:
    assert present(odd("jpeg").data, "JPEG") is None


@pytest.mark.parametrize("name", ["webp", "webp lossless", "webp with alpha", "webp animated", "webp lossy with alpha"])
def test_the_size_in_a_webp_header(name: str) -> None:
    assert webp_size(odd(name).data) == (96, 64)


def test_no_size_in_half_a_webp_header() -> None:
    assert webp_size(odd("webp").data[:20]) is None
    assert webp_size(b"RIFF\0\0\0\0WEBPXXXX" + bytes(20)) is None


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1, 2**40])
def test_a_tiff_that_points_beyond_any_address_has_one_page(offset: int) -> None:
    assert not may_have_pages(b"II+\0\x08\0\0\0" + offset.to_bytes(8, "little") + bytes(64))


LONG = r"""
from llava_gateway.images.pages import kind_of, may_have_pages

fillings = (b" ", b"\n", b"#", b"#\n", b"# \n", b" #\n \n", b"#x\n#\n ", b"<?", b"<!--", b"<!-- -->", b"<!DOCTYPE a[", b"] ", b"II*\0")
for head in (b"P6", b"P6 1 1 ", b"<?xml", b"<!DOCTYPE svg [", b"II*\0\x08\0\0\0", b"\0\0\0\x18ftyp", b"\xff\xd8\xff"):
    for filling in fillings:
        data = head + filling * (100_000 // len(filling))
        kind_of(data), may_have_pages(data)
"""
"""Takes a tenth of a second; with a pattern that tries all ways to divide the filling, it would not end."""


def test_no_filling_makes_the_look_at_a_header_slow() -> None:
    subprocess.run([sys.executable, "-c", LONG], check=True, timeout=60)


@pytest.mark.parametrize("between", [b" ", b"\n", b"# a comment\n", b" # one\n # another\n\t"])
def test_a_ppm_may_have_comments_before_its_size(between: bytes) -> None:
    assert sniff(b"P6" + between + b"4 4 255\n" + bytes(48)) == "PPM"
    assert sniff(b"P6" + between * 3 + b"4 4 255\n" + bytes(48)) == "PPM"
    assert sniff(b"P6" + between + b"x") is None
