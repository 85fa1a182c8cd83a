"""Test that what was really decoded decides: whole images are accepted with a warning, those that lack little too, all others refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageStat

from llava_gateway.errors import ImageError
from llava_gateway.images import png as png_file
from llava_gateway.images.tiff import COUNTS, OFFSETS, directories
from llava_gateway.notes import Note, note
from tests.images.conftest import DirectWorker, Made
from tests.images.test_missing import EOI, KINDS, PROGRESSIVE, SIZE, jpeg, photo, png, same, scans
from tests.odd_images import chunk, saved

END = note("end_missing")


def made(worker: DirectWorker, data: bytes) -> Made:
    return worker.ingest(data, None)


def refused(worker: DirectWorker, data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        worker.ingest(data, None)
    return caught.value


def percent(warnings: tuple[Note, ...]) -> int:
    (warning,) = warnings
    assert warning.code.startswith("image_incomplete"), warning
    return int(str(warning.values["percent"]))


@pytest.mark.parametrize("colour", ["", "white"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_end_marker_is_whole(worker: DirectWorker, kind: str, colour: str) -> None:
    data = jpeg(kind, colour)
    shown = made(worker, data[:-2])
    assert shown.info.warnings == (END,)
    assert same(shown, made(worker, data))


@pytest.mark.parametrize(("present", "taken"), [(61, False), (93, False), (97, True)])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "gray", "restarts by the row", "restarts by the block", "CMYK"])
def test_rows_of_a_jpeg_are_counted(worker: DirectWorker, kind: str, ended: bool, present: int, taken: bool) -> None:
    mode, options = KINDS[kind]
    whole = photo().resize((416, 640)).convert(mode)
    data = saved(whole, "JPEG", **options)
    ((begin, end, _),) = scans(data)
    data = data[: begin + (end - begin) * present // 100] + (EOI if ended else b"")
    if taken:
        shown = made(worker, data)
        assert percent(shown.info.warnings) == pytest.approx(present, abs=1)
        kept = shown.image.convert("RGB")
        assert kept.getpixel((415, 639)) == (255, 255, 255)
        top = (0, 0, 416, 600)
        assert max(ImageStat.Stat(ImageChops.difference(kept.crop(top), whole.convert("RGB").crop(top))).mean) < 4
    else:
        error = refused(worker, data)
        assert (error.status, error.reason) == (422, "image_cut_off_at")
        assert error.values["percent"] == pytest.approx(present, abs=1)


@pytest.mark.parametrize("kind", [kind for kind in PROGRESSIVE if "CMYK" not in kind])
def test_a_progressive_jpeg_is_estimated(worker: DirectWorker, kind: str) -> None:
    data = jpeg(kind)
    begin = scans(data)[0][0]
    shares = []
    for present in (20, 40, 60, 80):
        error = refused(worker, data[: begin + (len(data) - begin) * present // 100])
        assert error.reason == "image_cut_off_about"
        shares.append(int(str(error.values["percent"])))
    assert shares == sorted(shares)
    assert all(abs(share - present) < 30 for share, present in zip(shares, (20, 40, 60, 80), strict=True)), shares
    shown = made(worker, data[: len(data) - len(data) // 100])
    assert 95 <= percent(shown.info.warnings) < 100


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_a_png_without_its_end_is_whole(worker: DirectWorker, mode: str, interlaced: bool) -> None:
    data = png(SIZE[1], mode=mode, interlaced=interlaced)
    for cut in (12, 14):
        shown = made(worker, data[:-cut])
        assert shown.info.warnings == (END,)
        assert same(shown, made(worker, data))


@pytest.mark.parametrize("name", [b"tEXt", b"pHYs", b"iCCP", b"gAMA", b"tIME", b"eXIf", b"caBX"])
def test_a_wrong_checksum_beside_the_pixels_does_not_matter(worker: DirectWorker, name: bytes) -> None:
    data = png(SIZE[1])
    wrong = chunk(name, b"Comment\0x")[:-4] + bytes(4)
    shown = made(worker, data[:33] + wrong + data[33:])
    assert shown.info.warnings == (note("checksum_wrong", chunks=name.decode()),)
    assert same(shown, made(worker, data))


def test_a_wrong_checksum_of_right_pixels_does_not_matter(worker: DirectWorker) -> None:
    data = png(SIZE[1])
    at = data.index(b"IEND") - 8
    shown = made(worker, data[:at] + bytes(4) + data[at + 4 :])
    assert shown.info.warnings == (note("checksum_wrong", chunks="IDAT"),)
    assert same(shown, made(worker, data))


def test_a_wrong_checksum_of_the_header_or_the_colours_is_damage(worker: DirectWorker) -> None:
    data = png(SIZE[1])
    assert refused(worker, data[:29] + bytes(4) + data[33:]).reason == "image_parse_error"
    palette = saved(photo().quantize(64), "PNG")
    at = palette.index(b"PLTE")
    at += 4 + int.from_bytes(palette[at - 4 : at])
    assert refused(worker, palette[:at] + bytes(4) + palette[at + 4 :]).reason == "image_parse_error"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_rows_of_a_png_are_counted(worker: DirectWorker, mode: str) -> None:
    for rows in (80, 150):
        error = refused(worker, png(rows, mode=mode))
        assert (error.reason, error.values) == ("image_cut_off_at", {"percent": rows * 100 // SIZE[1]})
    shown = made(worker, png(155, mode=mode))
    assert percent(shown.info.warnings) == 155 * 100 // SIZE[1]
    kept = shown.image.convert("RGB")
    assert kept.getpixel((9, 159)) == (255, 255, 255)
    assert max(ImageStat.Stat(ImageChops.difference(kept, photo().convert(mode).convert("RGB")).crop((0, 0, SIZE[0], 155))).mean) < 4


def test_the_missing_rows_of_an_interlaced_png_are_those_above(worker: DirectWorker) -> None:
    shown = made(worker, png(158, interlaced=True))
    assert 95 <= percent(shown.info.warnings) < 100
    kept = shown.image.convert("RGB")
    assert kept.crop((0, 158, SIZE[0], 159)).tobytes() == kept.crop((0, 159, SIZE[0], 160)).tobytes()


def test_a_png_that_is_cut_off_within_its_pixels(worker: DirectWorker) -> None:
    data = saved(photo().resize((416, 640)), "PNG")
    error = refused(worker, data[: len(data) * 61 // 100])
    assert error.values["percent"] == pytest.approx(61, abs=3)
    assert percent(made(worker, data[: len(data) * 98 // 100]).info.warnings) == pytest.approx(98, abs=2)


def test_an_animation_without_its_last_frames_is_whole(worker: DirectWorker) -> None:
    frames = [photo(), photo().rotate(90), photo().rotate(180)]
    for pillow_name in ("PNG", "WEBP", "GIF"):
        data = saved(frames[0], pillow_name, save_all=True, append_images=frames[1:], duration=100)
        shown = made(worker, data[: len(data) * 8 // 10])
        assert shown.image.size == SIZE, pillow_name


def test_rows_of_a_gif_and_a_bmp_are_counted(worker: DirectWorker) -> None:
    for pillow_name in ("GIF", "BMP"):
        data = saved(photo().resize((416, 640)).quantize(64).convert("P" if pillow_name == "GIF" else "RGB"), pillow_name)
        assert refused(worker, data[: len(data) * 61 // 100]).values["percent"] == pytest.approx(61, abs=4)
        assert percent(made(worker, data[: len(data) * 98 // 100]).info.warnings) == pytest.approx(98, abs=2)


def tiff_of(bands: bytes, bits: int, sample: int, *, size: tuple[int, int] = SIZE, compression: int = 1, cut: int = 0) -> bytes:
    """Make an RGB TIFF with one strip, of samples of a kind that Pillow can't decode."""
    at = 8 + 2 + 10 * 12 + 4
    data = zlib.compress(bands) if compression == 8 else bands
    tags = ((256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 3, at), (259, 3, 1, compression), (262, 3, 1, 2), (273, 4, 1, at + 12))
    more = ((277, 3, 1, 3), (278, 4, 1, size[1]), (279, 4, 1, len(data)), (339, 3, 3, at + 6))
    head = b"II*\0" + struct.pack("<IH", 8, 10) + b"".join(struct.pack("<HHII", *tag) for tag in (*tags, *more)) + bytes(4)
    return head + struct.pack("<6H", *[bits] * 3, *[sample] * 3) + data[: len(data) - cut]


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("top", [1.0, 255.0])
def test_colours_in_floating_point_are_decoded(worker: DirectWorker, compression: int, top: float) -> None:
    samples = photo().tobytes()
    data = tiff_of(struct.pack(f"<{len(samples)}f", *(value / 255 * top for value in samples)), 32, 3, compression=compression)
    shown = made(worker, data)
    assert note("eight_bit", bits=32) in shown.info.changes
    assert max(ImageStat.Stat(ImageChops.difference(shown.image.convert("RGB"), photo())).mean) < 3


STRIPS = 40


def without_strips(compression: str, how: str, *numbers: int) -> bytes:
    """Return a TIFF of the photo in strips of four rows, of which some hold no data or are not in the file."""
    data = bytearray(saved(photo(), "TIFF", compression=compression, tiffinfo={278: SIZE[1] // STRIPS}))
    tags = next(directories(bytes(data)))
    offsets, counts = tags[OFFSETS], tags[COUNTS]
    assert len(offsets) == STRIPS
    table = data.index(struct.pack(f"<{STRIPS}I", *offsets))
    for number in numbers:
        if how == "damaged":
            data[offsets[number] : offsets[number] + counts[number]] = b"\xff" * counts[number]
        else:
            struct.pack_into("<I", data, table + 4 * number, 0)
    return bytes(data)


@pytest.mark.parametrize("how", ["damaged", "absent"])
@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw"])
def test_a_tiff_without_some_of_its_strips_shows_the_others(worker: DirectWorker, compression: str, how: str) -> None:
    shown = made(worker, without_strips(compression, how, 4, 39))
    assert shown.info.warnings == (note("image_incomplete", percent=95),)
    expected = photo().copy()
    for number in (4, 39):
        expected.paste("white", (0, 4 * number, SIZE[0], 4 * number + 4))
    whole = ImageChops.difference(shown.image.convert("RGB"), expected)
    assert max(ImageStat.Stat(whole).mean) < 3


def test_a_tiff_without_too_many_of_its_strips_is_cut_off(worker: DirectWorker) -> None:
    assert refused(worker, without_strips("tiff_adobe_deflate", "absent", 4, 20, 21)).values == {"percent": 92}
    assert refused(worker, without_strips("tiff_adobe_deflate", "damaged", *range(4, 30))).values == {"percent": 10}


def test_colours_of_four_bits_are_decoded(worker: DirectWorker) -> None:
    samples = photo().tobytes()
    packed = bytes(samples[i] & 0xF0 | samples[i + 1] >> 4 for i in range(0, len(samples), 2))
    shown = made(worker, tiff_of(packed, 4, 1))
    assert max(ImageStat.Stat(ImageChops.difference(shown.image.convert("RGB"), photo())).mean) < 12


def test_a_sound_tiff_of_an_unknown_kind_is_called_that(worker: DirectWorker) -> None:
    halves = tiff_of(bytes(2 * 3 * SIZE[0] * SIZE[1]), 16, 3)
    error = refused(worker, halves)
    assert (error.status, error.reason) == (415, "image_kind")
    assert error.values == {"format": "TIFF", "kind": "RGB, 16 bits per channel, floating-point"}
    assert refused(worker, tiff_of(bytes(999), 12, 1, compression=50001)).values["kind"] == "RGB, 12 bits per channel, compression WebP"
    assert refused(worker, tiff_of(bytes(999), 1, 1, compression=50001)).values["kind"] == "RGB, 1 bit per channel, compression WebP"
    assert refused(worker, tiff_of(bytes(2 * 3 * SIZE[0] * SIZE[1]), 16, 3, cut=99)).reason == "image_parse_error"


@pytest.mark.parametrize(("marker", "bits", "kind"), [(0xC3, 8, "lossless"), (0xC1, 12, "12 bits per channel"), (0xF7, 8, "lossless")])
def test_a_jpeg_of_an_unknown_kind_is_called_that(worker: DirectWorker, marker: int, bits: int, kind: str) -> None:
    data = bytearray(jpeg("4:4:4"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    error = refused(worker, bytes(data))
    assert (error.status, error.values) == (415, {"format": "JPEG", "kind": kind})


def test_a_png_is_mended_chunk_by_chunk() -> None:
    data = png(SIZE[1])
    assert png_file.mended(data).data is data
    assert png_file.mended(data[:-4]).data == data[:-4], "nothing is missing but the checksum of nothing"
    cut = png_file.mended(data[:-13])
    assert (cut.ended, cut.sound) == (False, True)
    assert Image.open(BytesIO(cut.data)).size == SIZE
    assert png_file.find(data[:33] + chunk(b"gAMA", bytes(4)) + data[33:], b"gAMA") == bytes(4)
    assert png_file.find(data, b"gAMA") is None
