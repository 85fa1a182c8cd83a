"""Test that nothing turns invisible: the colour behind transparent parts, and transparency that hides everything."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image, ImageDraw

from llava_gateway.images import ground
from llava_gateway.images.decode import Source
from llava_gateway.images.info import Limits
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.images.conftest import DirectWorker
from tests.odd_images import chunk, saved, scene

SIZE = (160, 120)
WHITE_GROUND, GRAY_GROUND, IGNORED = note("white_ground"), note("gray_ground"), note("transparency_ignored")


def logo(colour: str, *, size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw a ring and a line on transparency."""
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 20, 90, 90), outline=colour, width=6)
    pen.line((100, 20, 150, 100), fill=colour, width=5)
    return image


def framed(inside: str) -> Image.Image:
    """Draw a white card with something dark on it and transparent corners, as screenshots of windows have."""
    image = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, 159, 119), 12, fill="white")
    pen.rectangle((40, 40, 120, 80), fill=inside)
    return image


@pytest.mark.parametrize(
    ("colour", "fact"),
    [
        *(("black", WHITE_GROUND), ("#202020", WHITE_GROUND), ("red", WHITE_GROUND), ("#808080", WHITE_GROUND), ("blue", WHITE_GROUND)),
        *(("white", GRAY_GROUND), ("#fafafa", GRAY_GROUND), ("#e0e0e0", GRAY_GROUND), ("#ffffe0", GRAY_GROUND)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_the_ground_is_another_than_the_outline(worker: DirectWorker, kind: str, colour: str, fact: object) -> None:
    image = logo(colour).convert("LA") if kind == "PNG" and colour in ("black", "white") else logo(colour)
    options = {"quality": 95} if kind in ("AVIF", "HEIF") else {"lossless": True} if kind == "WEBP" else {}
    shown = worker.ingest(saved(image, kind, **options), None)
    assert fact in shown.info.changes
    gray = shown.image.convert("L")
    assert max(gray.tobytes()) - min(gray.tobytes()) > 80


def test_gifs_and_palettes_have_a_ground_too(worker: DirectWorker) -> None:
    for kind in ("GIF", "PNG"):
        image = logo("white").convert("P") if kind == "PNG" else logo("white")
        assert GRAY_GROUND in worker.ingest(saved(image, kind), None).info.changes


@pytest.mark.parametrize(("bits", "clear"), [(1, 0), (1, 1), (2, 1), (4, 2), (8, 70)])
def test_a_gray_png_may_name_its_transparent_value(bits: int, clear: int) -> None:
    width, top = 32, (1 << bits) - 1
    row = [(clear, top - clear)[x >= width // 2] for x in range(width)]
    packed = sum(value << bits * (width - 1 - x) for x, value in enumerate(row)).to_bytes(width * bits // 8)
    header = struct.pack(">IIBBBBB", width, 32, bits, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", clear)), chunk(b"IDAT", zlib.compress((b"\0" + packed) * 32)))
    shown, _ = Source(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b""), Limits()).pixels((width, 32))
    other = (top - clear) * 255 // top
    assert (shown.getpixel((3, 3)), shown.getpixel((20, 3))) == ((clear * 255 // top, 0), (other, 255))


def test_a_png_of_16_bits_may_name_its_transparent_colour() -> None:
    row = struct.pack(">3H", 256, 7, 9) * 16 + struct.pack(">3H", 65535, 65535, 65535) * 16
    chunks = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)),
        chunk(b"tRNS", struct.pack(">3H", 256, 7, 9)),
        chunk(b"IDAT", zlib.compress((b"\0" + row) * 32)),
    )
    shown, _ = Source(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b""), Limits()).pixels((32, 32))
    assert (shown.getchannel("A").getpixel((3, 3)), shown.getpixel((20, 3))) == (0, (255, 255, 255, 255))


def test_something_white_beside_something_dark_is_seen(worker: DirectWorker) -> None:
    image = logo("white")
    image.paste(logo("black").crop((20, 20, 60, 90)), (20, 20))
    shown = worker.ingest(saved(image, "PNG"), None)
    assert GRAY_GROUND in shown.info.changes
    levels = shown.image.convert("L").histogram()
    assert levels[0] > 50
    assert levels[255] > 50


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("alpha", [0, 1])
def test_transparency_that_hides_everything_is_ignored(worker: DirectWorker, kind: str, alpha: int) -> None:
    image = scene().convert("RGBA")
    image.putalpha(alpha)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    for background in (None, "#00ff00"):
        shown = worker.ingest(saved(image, kind, **options), None, background=background)
        assert IGNORED in shown.info.changes
        assert shown.image.convert("RGB").tobytes() == scene().tobytes()


def test_a_clipboards_bitmap_of_which_alpha_is_never_set(worker: DirectWorker) -> None:
    width, height = scene().size
    rows = b"".join(
        bytes(reversed(scene().crop((x, y, x + 1, y + 1)).tobytes())) + b"\0" for y in range(height - 1, -1, -1) for x in range(width)
    )
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(rows), 2835, 2835, 0, 0)
    head += struct.pack("<IIIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742) + bytes(48) + struct.pack("<IIII", 4, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows
    assert worker.ingest(data, None).image.convert("RGB").tobytes() == scene().tobytes()


def test_an_image_in_which_there_is_nothing_is_white(worker: DirectWorker) -> None:
    shown = worker.ingest(saved(Image.new("RGBA", SIZE, (0, 0, 0, 0)), "PNG"), None)
    assert WHITE_GROUND in shown.info.changes
    assert shown.image.convert("RGB").getcolors() == [(160 * 120, (255, 255, 255))]


def test_a_ground_that_was_asked_for(worker: DirectWorker) -> None:
    shown = worker.ingest(saved(logo("white"), "PNG"), None, background="#336699")
    assert note("ground", colour="#336699") in shown.info.changes
    assert shown.image.convert("RGB").getpixel((0, 0)) == (0x33, 0x66, 0x99)
    opaque = saved(scene(), "PNG")
    assert worker.ingest(opaque, None, background="#336699").canonical == worker.ingest(opaque, None).canonical


def test_pixels_are_mixed_with_the_ground() -> None:
    image = Image.new("RGB", (3, 1))
    image.putdata([(0, 0, 0), (200, 100, 0), (0, 0, 0)])
    alpha = Image.new("L", (3, 1))
    alpha.putdata([0, 255, 128])
    assert ground.laid_on(image, alpha, ground.WHITE).tobytes() == bytes([255, 255, 255, 200, 100, 0, 127, 127, 127])


def test_a_white_card_with_round_corners_is_read_on_either_ground() -> None:
    found = ground.chosen(framed("black"), None)
    assert found
    assert found.colour == ground.GRAY
    assert ground.chosen(scene(), None) is None


async def test_the_same_file_on_another_ground_is_another_image() -> None:
    store, data = ImageStore(Settings(image_workers=1)), saved(logo("white"), "PNG")
    await store.start()
    try:
        ids = [
            await (await store.add(data, background=background)).stored() for background in (None, "#336699", None, "#000000", "#336699")
        ]
        opaque = [await (await store.add(saved(scene(), "PNG"), background=background)).stored() for background in (None, "#336699")]
    finally:
        await store.aclose()
    assert len(set(ids)) == 3
    assert (ids[0], ids[1]) == (ids[2], ids[4])
    assert len(set(opaque)) == 1
