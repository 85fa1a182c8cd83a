"""Test camera raw files, the formats that few people have, the names of those that are not read, and a bomb of each."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from llava_gateway.cli.sample_images import sample
from llava_gateway.errors import ImageError
from llava_gateway.images import tiff
from llava_gateway.images.raw import is_raw
from llava_gateway.images.sniff import Format, sniff
from llava_gateway.images.unsupported import unsupported_file
from llava_gateway.notes import note
from tests.images.conftest import DirectWorker
from tests.odd_images import exif, saved, scene

PREVIEW = (1536, 1024)
RARE: tuple[Format, ...] = ("RAW", "PSD", "JPEG2000", "ICO", "TGA", "PPM", "SVG")


def preview(size: tuple[int, int] = PREVIEW, **options: Any) -> bytes:
    return saved(scene(size=size), "JPEG", quality=90, **options)


def tiff_like(magic: bytes, tags: dict[int, tuple[int, int]], rest: bytes) -> bytes:
    """Make a file of one directory, with these tags (each a type and a value), followed by `rest`."""
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    return magic + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + rest


def raw_files(jpegs: bytes, orientation: int = 1) -> dict[str, bytes]:
    """Make files with the signatures of each maker; the previews stand anywhere in them, between sensor data."""
    turned = {274: (3, orientation)}
    sensor = bytes(range(256)) * 40
    box = b"CMT1" + tiff_like(b"II*\0", turned, b"")
    return {
        "DNG": tiff_like(b"II*\0", {**turned, 50706: (1, 1)}, sensor + jpegs + sensor),
        "NEF": tiff_like(b"II*\0", {**turned, 262: (3, 32803)}, sensor + jpegs + sensor),
        "ARW": tiff_like(b"II*\0", {**turned, 262: (3, 32803), 271: (3, 1)}, jpegs + sensor),
        "CR2": b"II*\0" + struct.pack("<I", 16) + b"CR\2\0" + bytes(4) + struct.pack("<HHHIII", 1, 274, 3, 1, orientation, 0) + jpegs,
        "ORF": tiff_like(b"IIRO", turned, sensor + jpegs),
        "RW2": tiff_like(b"IIU\0", turned, sensor + jpegs),
        "RAF": b"FUJIFILMCCD-RAW 0201FF389501" + bytes(100) + jpegs + sensor,
        "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + struct.pack(">I", len(box) + 4) + box + jpegs + sensor,
    }


@pytest.mark.parametrize("name", raw_files(b""))
def test_the_largest_preview_of_a_raw_file_is_taken(worker: DirectWorker, name: str) -> None:
    data = raw_files(preview((160, 120)) + bytes(99) + preview() + preview((640, 480)))[name]
    assert sniff(data) == "RAW"
    shown = worker.ingest(data, None)
    assert shown.image.size == PREVIEW
    assert shown.info.original_format == "RAW"
    assert note("raw_preview", width=1536, height=1024) in shown.info.changes
    assert max(ImageStat.Stat(ImageChops.difference(shown.image.convert("RGB"), scene(size=PREVIEW))).mean) < 3


@pytest.mark.parametrize("name", [name for name in raw_files(b"") if name != "RAF"])
def test_a_preview_is_turned_as_the_raw_file_says_unless_it_says_so_itself(worker: DirectWorker, name: str) -> None:
    upright = scene(size=PREVIEW)
    on_its_side = saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90)
    shown = worker.ingest(raw_files(on_its_side, orientation=6)[name], None)
    assert shown.image.size == PREVIEW
    assert max(ImageStat.Stat(ImageChops.difference(shown.image.convert("RGB"), upright)).mean) < 3
    own = saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90, exif=exif(6))
    assert worker.ingest(raw_files(own)[name], None).image.size == PREVIEW
    assert worker.ingest(raw_files(own, orientation=6)[name], None).image.size == PREVIEW


@pytest.mark.parametrize("name", raw_files(b""))
def test_a_raw_file_without_a_large_preview_is_refused(worker: DirectWorker, name: str) -> None:
    lossless = bytearray(preview())
    lossless[lossless.index(b"\xff\xc0") + 1] = 0xC3
    for jpegs in (b"", preview((160, 120)), preview((999, 640)), bytes(lossless)):
        with pytest.raises(ImageError) as caught:
            worker.ingest(raw_files(jpegs)[name], None)
        assert (caught.value.status, caught.value.reason, caught.value.values) == (415, "raw_without_preview", {"least": 1000})


def test_a_cut_preview_is_refused_with_the_percentage(worker: DirectWorker) -> None:
    data = raw_files(saved(Image.effect_noise(PREVIEW, 60).convert("RGB"), "JPEG"))["RAF"]
    with pytest.raises(ImageError) as caught:
        worker.ingest(data[: (len(data) - 10240) * 6 // 10], None)
    assert caught.value.reason == "image_cut_off_at"


def test_other_tiffs_are_no_raw_files() -> None:
    assert not is_raw(saved(scene(), "TIFF"))
    assert not is_raw(saved(scene(), "TIFF", compression="jpeg"))
    assert not is_raw(b"II*\0")


def psd(mode: str) -> bytes:
    """Write a flattened Photoshop file without layers."""
    image, code = scene().convert(mode), {"L": 1, "RGB": 3, "CMYK": 4, "RGBA": 3}[mode]
    bands = [ImageChops.invert(band) if mode == "CMYK" else band for band in image.split()]
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, len(bands), image.height, image.width, 8, code)
    return head + bytes(14) + b"".join(band.tobytes() for band in bands)


def rare() -> dict[str, tuple[Format, bytes, float]]:
    """Return files of the rare formats: the format, the file, and how much it may differ."""
    wide = bytes(v for value in scene().tobytes() for v in (value, value))
    lossy = saved(scene(), "JPEG2000", quality_mode="rates", quality_layers=[20], irreversible=True)
    return {
        "ppm": ("PPM", saved(scene(), "PPM"), 0),
        "ppm text": ("PPM", b"P3\n# a comment\n96 64\n255\n" + " ".join(map(str, scene().tobytes())).encode(), 0),
        "ppm 16 bits": ("PPM", b"P6 96 64 65535\n" + wide, 1),
        "tga": ("TGA", saved(scene(), "TGA"), 0),
        "tga packed": ("TGA", saved(scene(), "TGA", compression="tga_rle"), 0),
        "tga palette": ("TGA", saved(scene().quantize(16), "TGA"), 3),
        "tga rgba": ("TGA", saved(scene().convert("RGBA"), "TGA"), 0),
        "jp2": ("JPEG2000", saved(scene(), "JPEG2000"), 1),
        "j2k": ("JPEG2000", saved(scene(), "JPEG2000", no_jp2=True), 1),
        "jp2 lossy": ("JPEG2000", lossy, 8),
        "ico": ("ICO", saved(scene(), "ICO", sizes=[(96, 64), (48, 32)]), 1),
        "ico bmp": ("ICO", saved(scene(), "ICO", sizes=[(96, 64)], bitmap_format="bmp"), 1),
        "psd": ("PSD", psd("RGB"), 0),
        "psd rgba": ("PSD", psd("RGBA"), 0),
        "psd cmyk": ("PSD", psd("CMYK"), 3),
    }


@pytest.mark.parametrize("name", rare())
def test_a_rare_format_shows_the_same(worker: DirectWorker, name: str) -> None:
    kind, data, most = rare()[name]
    assert sniff(data) == kind
    shown = worker.ingest(data, None)
    assert shown.info.original_format == kind
    assert shown.info.warnings == ()
    assert max(ImageStat.Stat(ImageChops.difference(shown.image.convert("RGB"), scene())).mean) <= most


def test_gray_of_sixteen_bits_is_not_stretched(worker: DirectWorker) -> None:
    gray = bytes([0x40, 0]) * (96 * 64)
    for data in (b"P5 96 64 65535\n" + gray, saved(Image.new("I;16", (96, 64), 0x4000), "JPEG2000")):
        assert worker.ingest(data, None).image.convert("L").getpixel((9, 9)) in (63, 64, 65)


def resource(number: int, content: bytes) -> bytes:
    return struct.pack(">4sHHI", b"8BIM", number, 0, len(content)) + content + bytes(len(content) % 2)


def photoshop(layers: int, *resources: bytes) -> bytes:
    """Write a Photoshop file with a fourth channel that is 0 in the upper half, and with this number of empty layers."""
    image = scene().convert("RGB")
    half = Image.new("L", image.size, 255)
    half.paste(0, (0, 0, image.width, image.height // 2))
    info = struct.pack(">h", layers)
    for _ in range(abs(layers)):
        extra = bytes(4) + bytes(4) + b"\5Layer" + bytes(2)
        info += struct.pack(">4IH", 0, 0, 0, 0, 0) + b"8BIMnorm" + bytes((255, 0, 0, 0)) + struct.pack(">I", len(extra)) + extra
    info += bytes(len(info) % 2)
    section = struct.pack(">I", len(info)) + info + bytes(4) if layers else b""
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 4, image.height, image.width, 8, 3) + bytes(4)
    known = b"".join(resources)
    body = struct.pack(">I", len(known)) + known + struct.pack(">I", len(section)) + section + bytes(2)
    return head + body + b"".join(band.tobytes() for band in (*image.split(), half))


@pytest.mark.parametrize(
    ("data", "hides"),
    [
        (photoshop(-1), True),
        (photoshop(-2, resource(1006, b"\x0cTransparency"), resource(1053, bytes(4))), True),
        (photoshop(1), False),
        (photoshop(2, resource(1006, b"\5Alpha")), False),
        (photoshop(0), True),
        (photoshop(0, resource(1006, b"\x0cTransparency")), True),
        (photoshop(0, resource(1036, b"x"), resource(1006, b"\5Alpha")), False),
        (photoshop(0, resource(1053, bytes(4))), True),
        (photoshop(0, resource(1006, b"\x08Auswahl1"), resource(1053, b"\0\0\0\3")), False),
    ],
)
def test_a_selection_in_a_photoshop_file_hides_nothing(worker: DirectWorker, data: bytes, hides: bool) -> None:
    shown = worker.ingest(data, None)
    assert any(change.code.endswith("_ground") for change in shown.info.changes) == hides
    upper = ImageChops.difference(shown.image.convert("RGB"), scene()).crop((0, 0, 96, 32))
    assert (max(ImageStat.Stat(upper).mean) > 3) == hides


def test_a_photoshop_file_of_another_depth_is_called_that(worker: DirectWorker) -> None:
    with pytest.raises(ImageError) as caught:
        worker.ingest(struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 64, 96, 16, 3) + bytes(14 + 96 * 64 * 6), None)
    assert (caught.value.status, caught.value.values) == (415, {"format": "PSD", "kind": "16 bits per channel"})


def bombs() -> dict[str, bytes]:
    """Make small files that claim to be huge."""
    side = 60_000
    jp2 = bytearray(saved(scene(), "JPEG2000"))
    struct.pack_into(">II", jp2, jp2.index(b"ihdr") + 4, side, side)
    struct.pack_into(">II", jp2, jp2.index(b"\xff\x51") + 6, side, side)
    huge = bytearray(preview())
    struct.pack_into(">HH", huge, huge.index(b"\xff\xc0") + 5, side, side)
    icon = bytearray(saved(scene(), "ICO", sizes=[(96, 64)]))
    struct.pack_into(">II", icon, icon.index(b"IHDR") + 4, side, side)
    tga = "<BBBHHBHHHHBB"
    return {
        "RAW": raw_files(bytes(huge))["DNG"],
        "JPEG2000": bytes(jp2),
        "PSD": struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, side, side, 8, 3) + bytes(14),
        "PSD packed": struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 7000, 7000, 8, 3) + bytes(12) + b"\0\1" + bytes(100),
        "ICO": bytes(icon),
        "TGA": struct.pack(tga, 0, 0, 10, 0, 0, 0, 0, 0, side, side, 24, 0) + bytes(40),
        "TGA packed": struct.pack(tga, 0, 0, 10, 0, 0, 0, 0, 0, 7000, 7000, 24, 0) + b"\xff\1\2\3" * 999,
        "PPM": b"P6 60000 60000 255\n" + bytes(99),
        "PPM text": b"P3 7000 7000 255\n" + b"1 " * 999,
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_of_each_is_refused_by_a_worker_that_lives_on(worker: DirectWorker, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        worker.ingest(bombs()[name], None)
    assert caught.value.code in ("image_too_large", "image_parse_error"), caught.value
    assert worker.ingest(saved(scene(), "PNG"), None).image.size == scene().size


@pytest.mark.parametrize(
    ("head", "reason", "name"),
    [
        (b"v/1\x01\2\0\0\0", "file_image", "OpenEXR"),
        (b"#?RADIANCE\n", "file_image", "Radiance HDR"),
        (b"qoif\0\0\0\1", "file_image", "QOI"),
        (bytes(128) + b"DICM", "file_image", "DICOM"),
        (b"8BPS\0\2", "file_image", "PSB"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "file_document", "PostScript"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "file_document", "Microsoft Office"),
        (b"Rar!\x1a\x07\1\0", "file_archive", "RAR"),
        (b"7z\xbc\xaf\x27\x1c", "file_archive", "7z"),
        (b"ID3\4\0\0", "file_sound", None),
        (b"FOVb\0\0\2\0", "file_raw", None),
        (b"\xff\x0a\xfa\x1f", "file_jpeg_xl", None),
    ],
)
def test_what_is_not_read_is_named(head: bytes, reason: str, name: str | None) -> None:
    data = head + bytes(range(100, 200))
    assert sniff(data) is None
    error = unsupported_file(data)
    assert (error.status, error.reason, error.values.get("name")) == (415, reason, name)
    assert error.hint


def test_text_is_no_image() -> None:
    for text in (b"P5 is a chess opening, they say, and so on.", b"Hello, world. This is a text.", b"\0" * 100, b"P3 or not P3"):
        assert sniff(text) is None


@pytest.mark.parametrize("kind", RARE)
def test_a_sample_of_each_rare_format_is_read(worker: DirectWorker, kind: Format) -> None:
    made = worker.ingest(sample(kind), None)
    assert made.info.original_format == kind
    assert Image.open(BytesIO(made.canonical)).width >= 64


def test_recognising_a_tiff_looks_at_few_of_its_values() -> None:
    """A directory of many long lists, which points to itself and to others like it."""
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 3, 200_000, 8) for tag in range(255))
    many = struct.pack("<H", 256) + entries + struct.pack("<HHII", 330, 4, 16, 8) + struct.pack("<I", 8)
    data = b"II*\0" + struct.pack("<I", 8) + many + bytes(400_000)
    found = [*tiff.directories(data, 16)]
    assert len(found) <= 32
    assert sum(map(len, found)) <= 32 * 16
    assert not is_raw(data)
