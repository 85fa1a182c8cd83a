"""Test that files which end correctly but lack some of their pixels are rejected, and complete files of every kind are accepted."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any, TypeAlias

import pytest
from PIL import Image, ImageChops, ImageStat

from llava_gateway.errors import ImageError
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.info import Limits
from llava_gateway.images.profile import VisionProfile
from tests.images.conftest import DirectWorker, Made
from tests.odd_images import chunk, saved

Scan: TypeAlias = tuple[int, int, bool]
"""(begin, end) of its data as offsets, and whether it only adds the last bit to earlier coefficients."""
SQUARE = VisionProfile(SquareEye(112))
SIZE = (208, 160)
EOI = b"\xff\xd9"
BASELINE: dict[str, tuple[str, dict[str, Any]]] = {
    "4:2:0": ("RGB", {}),
    "4:2:2": ("RGB", {"subsampling": 1}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "fine": ("RGB", {"quality": 95}),
    "gray": ("L", {}),
    "CMYK": ("CMYK", {}),
    "codes of its own": ("RGB", {"optimize": True}),
    "restarts by the row": ("RGB", {"restart_marker_rows": 1}),
    "restarts by the block": ("RGB", {"restart_marker_blocks": 1}),
    "gray with restarts": ("L", {"restart_marker_blocks": 7}),
}
PROGRESSIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "progressive": ("RGB", {"progressive": True}),
    "progressive 4:4:4": ("RGB", {"progressive": True, "subsampling": 0, "quality": 95}),
    "progressive gray": ("L", {"progressive": True}),
    "progressive CMYK": ("CMYK", {"progressive": True}),
    "progressive with restarts": ("RGB", {"progressive": True, "restart_marker_rows": 1}),
}
KINDS = BASELINE | PROGRESSIVE


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("L", size, random.Random(1).randbytes(size[0] * size[1]))


@cache
def photo() -> Image.Image:
    coarse = noise((SIZE[0] // 8, SIZE[1] // 8)).resize(SIZE, Image.Resampling.BICUBIC)
    grain = noise(SIZE).point(lambda value: 112 + value // 8)
    return Image.merge("RGB", [ImageChops.add(coarse.rotate(angle), grain, 2) for angle in (0, 90, 180)])


@cache
def jpeg(kind: str, colour: str = "") -> bytes:
    """Encode the photo, or an image of one colour."""
    mode, options = KINDS[kind]
    return saved((Image.new("RGB", SIZE, colour) if colour else photo()).convert(mode), "JPEG", **options)


def scans(data: bytes) -> list[Scan]:
    found: list[Scan] = []
    at = 2
    while data[at : at + 2] != EOI:
        marker, at = data[at + 1], at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xDA:
            begin = at
            while data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8)):
                at += 1
            found.append((begin, at, data[begin - 1] >> 4 > 0 and data[begin - 1] & 15 == 0))
    return found


def pixels(data: bytes) -> bytes:
    return Image.open(BytesIO(data)).tobytes()


def refusal(worker: DirectWorker, data: bytes) -> str:
    """Return the reason for which a file is rejected; check that it is the same with and without a profile."""
    said = set()
    for profile in (SQUARE, None):
        with pytest.raises(ImageError) as caught:
            worker.ingest(data, profile)
        assert caught.value.code == "image_parse_error"
        said.add(caught.value.reason)
    (reason,) = said
    return reason


def same(made: Made, other: Made) -> bool:
    return made.canonical == other.canonical and made.rendition == other.rendition


@pytest.mark.parametrize("colour", ["", "white", "black", "#808080", "red"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_taken_as_it_is(worker: DirectWorker, kind: str, colour: str) -> None:
    data = jpeg(kind, colour)
    made = worker.ingest(data, SQUARE)
    assert made.info.original_bytes == len(data)
    decoded, kept = Image.open(BytesIO(data)).convert("RGB"), made.image.convert("RGB")
    assert max(ImageStat.Stat(ImageChops.difference(decoded, kept)).mean) < 3


def cut_off(kind: str) -> str:
    """Return the reason for which a JPEG is rejected that lacks some of its data: whether it is known how much, or about how much."""
    if kind in BASELINE:
        return "image_cut_off_at"
    return "image_cut_off" if kind == "progressive CMYK" else "image_cut_off_about"


@pytest.mark.parametrize("percent", [0, 10, 50, 90])
@pytest.mark.parametrize("kind", BASELINE)
def test_a_jpeg_that_ends_early_is_cut_off(worker: DirectWorker, kind: str, percent: int) -> None:
    for colour in ("", "white") if percent else ("",):
        data = jpeg(kind, colour)
        ((begin, end, _),) = scans(data)
        assert refusal(worker, data[: begin + (end - begin) * percent // 100] + EOI) == (cut_off(kind) if percent else "image_cut_off")


@pytest.mark.parametrize("kind", PROGRESSIVE)
def test_a_scan_that_ends_early_is_cut_off(worker: DirectWorker, kind: str) -> None:
    data = jpeg(kind)
    refused = 0
    for begin, end, _ in [scan for scan in scans(data) if not scan[2]]:
        cut, whole = data[: (begin + end) // 2] + EOI, data[:end] + EOI
        if pixels(cut) != pixels(whole):  # the second half may change no pixel
            assert refusal(worker, cut) == cut_off(kind)
            refused += 1
    assert refused > 2


@pytest.mark.parametrize("kind", PROGRESSIVE)
def test_an_image_without_its_last_bits_is_taken(worker: DirectWorker, kind: str) -> None:
    """Browsers show such an image, and the difference is hardly visible."""
    data = jpeg(kind)
    whole = worker.ingest(data, SQUARE).image.convert("RGB")
    for begin, end, _ in [scan for scan in scans(data) if scan[2]]:
        made = worker.ingest(data[: (begin + end) // 2] + EOI, SQUARE).image.convert("RGB")
        assert max(ImageStat.Stat(ImageChops.difference(whole, made)).mean) < 7


def test_a_large_header_with_data_for_a_small_image_is_cut_off(worker: DirectWorker) -> None:
    data = saved(noise((800, 600)).convert("RGB"), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    assert refusal(worker, data[:at] + struct.pack(">HH", 6000, 8000) + data[at + 4 :]) == "image_cut_off_at"


@pytest.mark.parametrize("kind", BASELINE)
def test_zeros_in_place_of_data_are_damage(worker: DirectWorker, kind: str) -> None:
    data = jpeg(kind)
    ((begin, end, _),) = scans(data)
    for share in (3, 5, 7):
        at = begin + (end - begin) * share // 10
        reason = "image_parse_error" if "restarts" in kind else "image_cut_off_at"
        assert refusal(worker, data[:at] + bytes(1024) + data[at + 1024 :]) == reason


@pytest.mark.parametrize("padding", [0, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_download_that_stopped_in_reserved_space_is_cut_off(worker: DirectWorker, kind: str, padding: int) -> None:
    data = jpeg(kind)
    for percent in (40, 70):
        there = data[: len(data) * percent // 100]
        assert refusal(worker, there + bytes(len(data) - len(there) + padding)) == cut_off(kind), percent


def test_a_lost_row_of_blocks_is_damage(worker: DirectWorker) -> None:
    data = jpeg("restarts by the row")
    first, second = data.index(b"\xff\xd2"), data.index(b"\xff\xd3")
    assert refusal(worker, data[:first] + data[second:]) == "image_parse_error"


def interleaved_not(planes: str = "YCbCr") -> bytes:
    """Make a JPEG with one scan per component; leave out the components that are not in `planes`."""
    parts = [saved(band, "JPEG") for band in photo().convert("YCbCr").split()]
    at = parts[0].index(b"\xff\xc0")
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, SIZE[1], SIZE[0], 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    tables = parts[0][at + 2 + struct.unpack_from(">H", parts[0], at + 2)[0] : parts[0].index(b"\xff\xda")]
    ids = {"Y": 1, "Cb": 2, "Cr": 3}
    found = b""
    for part, (name, number) in zip(parts, ids.items(), strict=True):
        ((begin, end, _),) = scans(part)
        if name in planes:
            found += b"\xff\xda\0\x08\1" + bytes([number]) + b"\0\0\x3f\0" + part[begin:end]
    return parts[0][:at] + frame + tables + found + EOI


def test_a_scan_for_each_colour_is_a_whole_image(worker: DirectWorker) -> None:
    made = worker.ingest(interleaved_not(), SQUARE).image.convert("RGB")
    assert max(ImageStat.Stat(ImageChops.difference(photo(), made)).mean) < 6


def test_a_colour_that_is_not_there_is_damage(worker: DirectWorker) -> None:
    assert refusal(worker, interleaved_not("YCb")) == "image_parse_error"
    assert refusal(worker, interleaved_not()[:-500] + EOI) == "image_cut_off"


def before_the_end(more: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:-2] + more + EOI


def before_the_scan(more: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(b"\xff\xda", more + b"\xff\xda", 1)


@cache
def thumbnail() -> bytes:
    return b"Exif\0\0" + saved(photo().resize((64, 48)), "JPEG", progressive=True)


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "rubbish after the end": lambda data: data + b"rubbish" * 100 + EOI,
    "another image after the end": lambda data: data + jpeg("gray"),
    "a cut image after the end": lambda data: data + jpeg("gray")[:900],
    "bytes before the end": before_the_end(b"dhav\x59\x19\x01\x00"),
    "zeros before the end": before_the_end(bytes(4096)),
    "fill bytes before the end": before_the_end(b"\xff" * 100),
    "zeros and fill bytes before the end": before_the_end(bytes(512) + b"\xff" * 3),
    "a comment after the scan": before_the_end(b"\xff\xfe\0\x06abcd"),
    "a comment full of markers": before_the_scan(b"\xff\xfe\0\x0c\xff\xd9\xff\xda\xff\xc2\xff\xc4\xff\xd0"),
    "a thumbnail": lambda data: data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail())) + thumbnail() + data[2:],
    "rubbish between segments": before_the_scan(bytes(99)),
    "fill bytes between segments": before_the_scan(b"\xff" * 9),
}


@pytest.mark.parametrize("kind", ["4:2:0", "restarts by the row", "progressive"])
@pytest.mark.parametrize("oddity", WHOLE)
def test_what_is_beside_the_pixels_does_not_matter(worker: DirectWorker, kind: str, oddity: str) -> None:
    data = jpeg(kind)
    assert same(worker.ingest(WHOLE[oddity](data), SQUARE), worker.ingest(data, SQUARE))


def test_a_phones_image_with_previews_behind_it_is_taken(worker: DirectWorker) -> None:
    data = saved(photo(), "MPO", save_all=True, append_images=[photo().resize((104, 80))])
    assert worker.ingest(data, SQUARE).image.size == SIZE
    ((begin, end, _),) = scans(data)
    assert refusal(worker, data[: (begin + end) // 2] + data[end:]) == "image_cut_off_at"


def png(rows: int, colour: str = "", *, mode: str = "RGB", interlaced: bool = False) -> bytes:
    """Make a PNG that is complete except that its pixels end after `rows` rows."""
    image = (Image.new("RGB", SIZE, colour) if colour else photo()).convert(mode)
    kinds = {"L": (8, 0), "RGB": (8, 2), "RGBA": (8, 6), "1": (1, 0)}
    head = struct.pack(">IIBBBBB", *SIZE, *kinds[mode], 0, 0, interlaced)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    lines = []
    for left, top, across, down in passes if interlaced else ((0, 0, 1, 1),):
        for y in range(top, SIZE[1], down):
            row = image.crop((0, y, SIZE[0], y + 1)).resize((-(-(SIZE[0] - left) // across), 1), box=None, resample=0)
            lines.append(b"\0" + row.tobytes())
    pixels = b"".join(lines if rows == SIZE[1] else lines[: len(lines) * rows // SIZE[1]])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_a_png_has_all_its_rows(worker: DirectWorker, mode: str, interlaced: bool) -> None:
    assert worker.ingest(png(SIZE[1], mode=mode, interlaced=interlaced), SQUARE).image.size == SIZE
    assert worker.ingest(png(SIZE[1], "black", mode=mode, interlaced=interlaced), SQUARE).image.size == SIZE
    for rows in (1, SIZE[1] // 2, SIZE[1] * 9 // 10):
        assert refusal(worker, png(rows, mode=mode, interlaced=interlaced)) == ("image_cut_off" if rows == 1 else "image_cut_off_at")


def test_a_png_ends_at_the_first_row_that_is_wrong(worker: DirectWorker) -> None:
    """Pillow finds this damage while it looks for EXIF, and leaves the other pixels black."""
    whole = png(SIZE[1])
    begin, end = whole.index(b"IDAT") + 4, whole.index(b"IEND") - 8
    rows = bytearray(zlib.decompress(whole[begin:end]))
    for row in (0, SIZE[1] // 2, SIZE[1] * 9 // 10):
        wrong = bytearray(rows)
        wrong[row * (1 + 3 * SIZE[0])] = 9  # only the filters 0 to 4 exist
        filtered = whole[: begin - 8] + chunk(b"IDAT", zlib.compress(wrong)) + chunk(b"IEND", b"")
        assert refusal(worker, filtered) == ("image_cut_off_at" if row else "image_cut_off")
    packed = bytearray(whole[begin:end])
    middle = len(packed) // 2
    packed[middle : middle + 64] = b"\xff" * 64
    assert refusal(worker, whole[: begin - 8] + chunk(b"IDAT", bytes(packed)) + chunk(b"IEND", b"")) == "image_cut_off_at"


def test_a_text_behind_the_pixels_that_is_too_long_does_no_harm(worker: DirectWorker) -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 * 2**20)))
    whole = png(SIZE[1])
    end = whole.index(b"IEND") - 4
    assert worker.ingest(whole[:end] + text + whole[end:], SQUARE).image.size == SIZE


def tiff(parts: list[bytes], more: dict[int, tuple[int, int]], *, unwritten: int = 0, packed: bool = False) -> bytes:
    """Make a TIFF of strips or tiles.

    Args:
        parts: pixels of each strip or tile.
        more: further tags, each a type and a value.
        unwritten: number of parts at the end whose offset is 0.
        packed: whether to compress the parts.
    """
    parts = [zlib.compress(part) for part in parts] if packed else parts
    short, long = 3, 4
    count, places_at = len(parts), 8 + 2 + 12 * (7 + 2 + len(more)) + 4 + 6
    lengths_at = places_at + 4 * count
    places = [lengths_at + 4 * count + sum(map(len, parts[:index])) for index in range(count)]
    places[count - unwritten :] = [0] * unwritten
    lengths = [len(part) if place else 0 for part, place in zip(parts, places, strict=True)]
    tiled = 322 in more
    tags = [
        (256, long, 1, SIZE[0]),
        (257, long, 1, SIZE[1]),
        (258, short, 3, places_at - 6),
        (259, short, 1, 8 if packed else 1),
        (262, short, 1, 2),
        (277, short, 1, 3),
        (324 if tiled else 273, long, count, places_at),
        (325 if tiled else 279, long, count, lengths_at),
        *((tag, kind, 1, value) for tag, (kind, value) in more.items()),
    ]
    tags += [(284, short, 1, 1)] if 284 not in more else []
    assert len(tags) <= 9 + len(more)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    head += bytes(places_at - 6 - len(head))
    return head + struct.pack(f"<3H{2 * count}I", 8, 8, 8, *places, *lengths) + b"".join(parts)


def strips(image: Image.Image) -> list[bytes]:
    """Cut an image into ten strips."""
    lines = SIZE[1] // 10
    return [image.crop((0, y, SIZE[0], y + lines)).tobytes() for y in range(0, SIZE[1], lines)]


def tiles() -> list[bytes]:
    """Cut the photo into tiles of 64 x 64 pixels; those at the right and at the bottom extend beyond the edge."""
    return [photo().crop((x, y, x + 64, y + 64)).tobytes() for y in range(0, SIZE[1], 64) for x in range(0, SIZE[0], 64)]


LAYOUTS: dict[str, tuple[Callable[[], list[bytes]], dict[int, tuple[int, int]]]] = {
    "strips": (lambda: strips(photo()), {278: (4, SIZE[1] // 10)}),
    "planes": (lambda: [part for band in photo().split() for part in strips(band)], {278: (4, SIZE[1] // 10), 284: (3, 2)}),
    "tiles": (tiles, {322: (4, 64), 323: (4, 64)}),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tiff_has_all_its_parts(worker: DirectWorker, layout: str, packed: bool) -> None:
    cut, more = LAYOUTS[layout]
    parts = cut()
    whole = worker.ingest(tiff(parts, more, packed=packed), SQUARE).image.convert("RGB")
    assert max(ImageStat.Stat(ImageChops.difference(photo(), whole)).mean) < 3
    for data, reason in (
        (tiff(parts[: len(parts) * 9 // 10 - 1], more, packed=packed), "image_cut_off_at"),
        # Half of three planes: no pixel has all its colours.
        (tiff(parts[: len(parts) // 2], more, packed=packed), "image_cut_off" if layout == "planes" else "image_cut_off_at"),
        (tiff(parts, more, unwritten=len(parts) // 4, packed=packed), "image_cut_off_at"),
    ):
        assert refusal(worker, data) == reason


def gif(rows: int) -> bytes:
    data = bytearray(saved(photo().quantize(64).crop((0, 0, SIZE[0], rows)), "GIF"))
    struct.pack_into("<H", data, 8, SIZE[1])
    struct.pack_into("<H", data, data.index(b",\0\0\0\0") + 7, SIZE[1])
    return bytes(data)


def resized(data: bytes, at: int, order: str, beside: int) -> bytes:
    """Keep seven tenths of a file and change its stated length to match."""
    part = bytearray(data[: len(data) * 7 // 10 & ~1])
    struct.pack_into(f"{order}I", part, at, len(part) - beside)
    return bytes(part)


def test_other_formats_that_end_early_are_refused(worker: DirectWorker) -> None:
    assert worker.ingest(gif(SIZE[1]), SQUARE).image.size == SIZE
    assert refusal(worker, gif(SIZE[1] // 2))
    assert refusal(worker, resized(saved(photo(), "BMP"), 2, "<", 0))
    for lossless in (False, True):
        assert refusal(worker, resized(resized(saved(photo(), "WEBP", lossless=lossless), 4, "<", 8), 16, "<", 20))
    for kind in ("HEIF", "AVIF"):
        data = saved(photo(), kind)
        at = data.index(b"mdat") - 4
        assert refusal(worker, resized(data, at, ">", at))


def test_limits_are_looked_at_before_anything_is_decoded(worker: DirectWorker) -> None:
    with pytest.raises(ImageError) as caught:
        worker.ingest(jpeg("progressive"), SQUARE, Limits(max_pixels=100))
    assert caught.value.code == "image_too_large"
