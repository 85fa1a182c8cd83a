"""Odd image files, made on the spot: formats x modes x EXIF x ICC x broken, each with what must come of it.

`odd_images()` has them all. Every readable one shows the same scene, four fields of plain colour, so that what was rotated, mirrored or
coloured wrongly shows at the corners.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, TypeAlias

from PIL import Image, ImageCms
from pillow_heif import from_pillow, register_heif_opener

from llava_gateway.notes import Note, note

RGB: TypeAlias = tuple[int, int, int]
Corners: TypeAlias = tuple[RGB, RGB, RGB, RGB]

register_heif_opener()

WIDTH, HEIGHT = 96, 64
RED, GREEN, BLUE, WHITE, BLACK = (220, 20, 30), (20, 160, 40), (30, 40, 200), (255, 255, 255), (0, 0, 0)
SCENE: Corners = (RED, GREEN, BLUE, WHITE)
"""Top left, top right, bottom left, bottom right."""
GRAYS: Corners = ((40, 40, 40), (120, 120, 120), (200, 200, 200), (255, 255, 255))
EXACT, NEAR, LOSSY = 0, 4, 14
"""By how much a channel may be off: what keeps exact pixels, what is converted, what is compressed with loss."""


@dataclass(frozen=True, slots=True)
class OddImage:
    """A file, and either the colours at the corners of the upright image or the code of the error.

    Attributes:
        size: of the canonical image.
        changes: those that must be among those reported.
        warnings: all warnings that must be reported.
    """

    name: str
    data: bytes
    corners: Corners | None = None
    error: str | None = None
    size: tuple[int, int] = (WIDTH, HEIGHT)
    tolerance: int = NEAR
    changes: tuple[Note, ...] = ()
    warnings: tuple[Note, ...] = ()


@cache
def odd_images() -> tuple[OddImage, ...]:
    """All of them; names are unique."""
    return (
        *_formats(),
        *_deep(),
        *_see_through(),
        *_several_frames(),
        *_turned(),
        *_profiled(),
        *_telling(),
        *_limits(),
        *_cut(),
        *_broken(),
    )


def odd(name: str) -> OddImage:
    return next(image for image in odd_images() if image.name == name)


def scene(corners: Corners = SCENE, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Four fields of plain colour."""
    width, height = size
    image = Image.new("RGB", size)
    for colour, (column, row) in zip(corners, ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True):
        image.paste(colour, (column * width // 2, row * height // 2, (column + 1) * width // 2, (row + 1) * height // 2))
    return image


def corners_of(image: Image.Image, inside: tuple[int, int, int, int] | None = None) -> Corners:
    """The colours in the middle of the four fields of the image (or of the part `inside`, a Pillow box)."""
    left, top, right, bottom = inside or (0, 0, *image.size)
    rgb = image.convert("RGB")
    found = []
    for y in (top + (bottom - top) // 4, top + 3 * (bottom - top) // 4):
        for x in (left + (right - left) // 4, left + 3 * (right - left) // 4):
            colour = rgb.getpixel((x, y))
            assert isinstance(colour, tuple)
            found.append((int(colour[0]), int(colour[1]), int(colour[2])))
    return found[0], found[1], found[2], found[3]


def farthest(some: Corners, others: Corners) -> int:
    """The largest difference in any channel."""
    return max(abs(a - b) for one, other in zip(some, others, strict=True) for a, b in zip(one, other, strict=True))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 (Pillow's own word)
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def kept(original: str, format: str) -> tuple[Note, ...]:  # noqa: A002 (Pillow's own word)
    return (note("kept_as", original=original, format=format),)


FIRST_ONLY = (note("first_frame_only"),)


def _formats() -> Iterator[OddImage]:
    rgb, gray = scene(), scene(GRAYS).convert("L")
    jpeg = {"tolerance": LOSSY}
    yield OddImage("jpeg", saved(rgb, "JPEG", quality=95), SCENE, **jpeg)  # type: ignore[arg-type]
    yield OddImage("jpeg progressive", saved(rgb, "JPEG", progressive=True, quality=95), SCENE, tolerance=LOSSY)
    yield OddImage("jpeg 4:4:4", saved(rgb, "JPEG", subsampling=0, quality=95), SCENE, tolerance=LOSSY)
    yield OddImage("jpeg 4:2:2", saved(rgb, "JPEG", subsampling=1, quality=95), SCENE, tolerance=LOSSY)
    yield OddImage("jpeg gray", saved(gray, "JPEG", quality=95), GRAYS, tolerance=LOSSY)
    yield OddImage("jpeg with restart markers", saved(rgb, "JPEG", quality=95, restart_marker_rows=1), SCENE, tolerance=LOSSY)
    cmyk = rgb.convert("CMYK")
    adobe = saved(cmyk, "JPEG", quality=95)
    yield OddImage("jpeg cmyk as adobe inverts it", adobe, SCENE, tolerance=LOSSY, changes=(note("cmyk_to_srgb"),))
    yield OddImage("jpeg cmyk not inverted", _plain_cmyk_jpeg(cmyk), SCENE, tolerance=LOSSY, changes=(note("cmyk_to_srgb"),))
    yield OddImage("jpeg and a zip behind it", saved(rgb, "JPEG", quality=95) + b"PK\3\4" + b"x" * 500, SCENE, tolerance=LOSSY)
    yield OddImage("jpeg and html behind it", saved(rgb, "JPEG", quality=95) + b"<script>alert(1)</script>", SCENE, tolerance=LOSSY)
    for pillow_name in ("WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"):
        data = saved(rgb, pillow_name) + b"PK\3\4 and so on, for more than the length of a box"
        yield OddImage(f"{pillow_name.lower()} and a zip behind it", data, SCENE, tolerance=LOSSY + 6)
    yield OddImage("png", saved(rgb, "PNG"), SCENE, tolerance=EXACT)
    yield OddImage("png gray", saved(gray, "PNG"), GRAYS, tolerance=EXACT)
    yield OddImage("png palette", saved(rgb.quantize(16), "PNG"), SCENE)
    yield OddImage(
        "png 1-bit", saved(scene((BLACK, WHITE, WHITE, BLACK)).convert("1"), "PNG"), (BLACK, WHITE, WHITE, BLACK), tolerance=EXACT
    )
    yield OddImage("png 2-bit palette", saved(rgb.quantize(4), "PNG", bits=2), SCENE)
    yield OddImage("png interlaced", _interlaced_png(rgb), SCENE, tolerance=EXACT)
    yield OddImage("png and html behind it", saved(rgb, "PNG") + b"<html>", SCENE, tolerance=EXACT)
    yield OddImage("gif", saved(rgb.quantize(16), "GIF"), SCENE, changes=kept("GIF", "PNG"))
    yield OddImage("gif gray", saved(gray, "GIF"), GRAYS, changes=kept("GIF", "PNG"))
    yield OddImage("gif interlaced", saved(rgb.quantize(16), "GIF", interlace=True), SCENE)
    yield OddImage("bmp", saved(rgb, "BMP"), SCENE, tolerance=EXACT, changes=kept("BMP", "PNG"))
    yield OddImage("bmp gray", saved(gray, "BMP"), GRAYS, tolerance=EXACT)
    yield OddImage("bmp palette", saved(rgb.quantize(16), "BMP"), SCENE)
    yield OddImage("bmp 1-bit", saved(scene((BLACK, WHITE, WHITE, BLACK)).convert("1"), "BMP"), (BLACK, WHITE, WHITE, BLACK))
    yield OddImage("webp", saved(rgb, "WEBP", quality=95), SCENE, tolerance=LOSSY, changes=kept("WEBP", "JPEG"))
    yield OddImage("webp lossless", saved(rgb, "WEBP", lossless=True), SCENE, tolerance=EXACT, changes=kept("WEBP", "PNG"))
    yield OddImage("avif", saved(rgb, "AVIF", quality=95), SCENE, tolerance=LOSSY, changes=kept("AVIF", "JPEG"))
    yield OddImage("avif gray", saved(gray, "AVIF", quality=95), GRAYS, tolerance=LOSSY)
    yield OddImage("heic", saved(rgb, "HEIF", quality=95), SCENE, tolerance=LOSSY, changes=kept("HEIC", "JPEG"))
    yield OddImage("heic gray", saved(gray, "HEIF", quality=95), GRAYS, tolerance=LOSSY)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield OddImage(
            f"tiff {compression}", saved(rgb, "TIFF", compression=compression), SCENE, tolerance=EXACT, changes=kept("TIFF", "PNG")
        )
    yield OddImage("tiff jpeg", saved(rgb, "TIFF", compression="jpeg", quality=95), SCENE, tolerance=LOSSY, changes=kept("TIFF", "JPEG"))
    yield OddImage("tiff gray", saved(gray, "TIFF"), GRAYS, tolerance=EXACT)
    yield OddImage("tiff palette", saved(rgb.quantize(16), "TIFF"), SCENE)
    yield OddImage("tiff cmyk", saved(cmyk, "TIFF"), SCENE, changes=(note("cmyk_to_srgb"),))
    fax = scene((BLACK, WHITE, WHITE, BLACK)).convert("1")
    yield OddImage("tiff fax group 4", saved(fax, "TIFF", compression="group4"), (BLACK, WHITE, WHITE, BLACK), tolerance=EXACT)
    yield OddImage("tiff big endian", _tiff(rgb.tobytes(), 2, (8, 8, 8), order=">"), SCENE, tolerance=EXACT)


def _deep() -> Iterator[OddImage]:
    """More than eight bits; the plain conversion clips them to white."""
    deep = (note("eight_bit", bits=16),)
    gray16 = _pixels16(scene(GRAYS).convert("L"), ">")
    rgb16 = _pixels16(scene(), ">")
    yield OddImage("png 16-bit gray", _png(gray16, 16, 0, 2), GRAYS, tolerance=EXACT, changes=deep)
    yield OddImage("png 16-bit colour", _png(rgb16, 16, 2, 6), SCENE, tolerance=EXACT, changes=deep)
    alpha = b"".join(rgb16[i : i + 6] + b"\xff\xff" for i in range(0, len(rgb16), 6))
    yield OddImage("png 16-bit colour with alpha", _png(alpha, 16, 6, 8), SCENE, tolerance=EXACT, changes=deep)
    for order, name in (("<", "little"), (">", "big")):
        gray, colour = _pixels16(scene(GRAYS).convert("L"), order), _pixels16(scene(), order)
        yield OddImage(f"tiff 16-bit gray {name} endian", _tiff(gray, 1, (16,), order=order), GRAYS, tolerance=EXACT, changes=deep)
        yield OddImage(
            f"tiff 16-bit colour {name} endian", _tiff(colour, 2, (16, 16, 16), order=order), SCENE, tolerance=EXACT, changes=deep
        )
    negative = _pixels16(Image.eval(scene(GRAYS).convert("L"), lambda v: 255 - v), "<")
    yield OddImage("tiff 16-bit gray, white is zero", _tiff(negative, 0, (16,), order="<"), GRAYS, tolerance=EXACT, changes=deep)
    spread: Corners = (BLACK, (120, 120, 120), (200, 200, 200), WHITE)
    stretched = (note("eight_bit_stretched", bits=32),)
    floats = scene(spread).convert("L").convert("F").point(lambda v: v * 0.01 + -1.0)
    yield OddImage("tiff float", saved(floats, "TIFF"), spread, changes=stretched)
    whole = scene(spread).convert("L").convert("I").point(lambda v: v * 100 + 0)
    yield OddImage("tiff 32-bit", saved(whole, "TIFF"), spread, changes=stretched)
    lab = ImageCms.profileToProfile(scene(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert lab is not None
    yield OddImage("tiff lab", saved(lab, "TIFF"), SCENE, tolerance=LOSSY, changes=(note("lab_to_srgb"),))
    ten = from_pillow(scene())
    file = BytesIO()
    ten.save(file, format="HEIF", quality=95)
    yield OddImage("heic by another writer", file.getvalue(), SCENE, tolerance=LOSSY)


def _see_through() -> Iterator[OddImage]:
    """The right half is transparent over black pixels, which an engine that drops alpha would show."""
    rgba = scene((RED, BLACK, BLUE, BLACK)).convert("RGBA")
    rgba.paste((0, 0, 0, 0), (WIDTH // 2, 0, WIDTH, HEIGHT))
    expected: Corners = (RED, WHITE, BLUE, WHITE)
    white = (note("white_ground"),)
    yield OddImage("png with alpha", saved(rgba, "PNG"), expected, tolerance=EXACT, changes=white)
    yield OddImage("png gray with alpha", saved(rgba.convert("LA"), "PNG"), _grays(expected), changes=white)
    yield OddImage("png palette with transparency", saved(rgba.quantize(8), "PNG"), expected, changes=white)
    one_colour = scene((RED, BLACK, BLUE, BLACK))
    yield OddImage("png with one transparent colour", saved(one_colour, "PNG", transparency=BLACK), expected, changes=white)
    gray = one_colour.convert("L")
    yield OddImage("png gray with one transparent tone", saved(gray, "PNG", transparency=0), _grays(expected), changes=white)
    yield OddImage("png 16-bit gray, one transparent tone", _png(_pixels16(gray, ">"), 16, 0, 2, b"\0\0"), _grays(expected), changes=white)
    yield OddImage(
        "png 16-bit colour, one transparent colour", _png(_pixels16(one_colour, ">"), 16, 2, 6, bytes(6)), expected, changes=white
    )
    yield OddImage("gif with transparency", saved(rgba, "GIF"), expected, changes=white)
    yield OddImage("webp with alpha", saved(rgba, "WEBP", lossless=True), expected, changes=white)
    yield OddImage("webp lossy with alpha", saved(rgba, "WEBP", quality=95), expected, tolerance=LOSSY, changes=white)
    yield OddImage("avif with alpha", saved(rgba, "AVIF", quality=95), expected, tolerance=LOSSY, changes=white)
    yield OddImage("heic with alpha", saved(rgba, "HEIF", quality=95), expected, tolerance=LOSSY, changes=white)
    yield OddImage("tiff with alpha", saved(rgba, "TIFF"), expected, tolerance=EXACT, changes=white)
    half = scene().convert("RGBA")
    half.putalpha(128)
    pale = tuple(tuple(round(c * 128 / 255 + 127) for c in colour) for colour in SCENE)
    yield OddImage("png half transparent", saved(half, "PNG"), pale, changes=white)  # type: ignore[arg-type]
    opaque = scene().convert("RGBA")
    yield OddImage("png with alpha that hides nothing", saved(opaque, "PNG"), SCENE, tolerance=EXACT)


def _several_frames() -> Iterator[OddImage]:
    first, second = scene(), scene((WHITE, BLUE, GREEN, RED))
    several = {"save_all": True, "append_images": [second], "duration": 50}
    expect = {"changes": (note("first_frame"),), "warnings": FIRST_ONLY}
    yield OddImage("gif animated", saved(first, "GIF", **several), SCENE, **expect)  # type: ignore[arg-type]
    yield OddImage("webp animated", saved(first, "WEBP", lossless=True, **several), SCENE, **expect)  # type: ignore[arg-type]
    yield OddImage("png animated", saved(first, "PNG", **several), SCENE, **expect)  # type: ignore[arg-type]
    yield OddImage("avif animated", saved(first, "AVIF", quality=95, **several), SCENE, tolerance=LOSSY, **expect)  # type: ignore[arg-type]
    pages = saved(first, "TIFF", save_all=True, append_images=[second])
    yield OddImage("tiff of two pages", pages, SCENE, changes=(note("first_page"),), warnings=FIRST_ONLY)
    heic = saved(first, "HEIF", quality=95, save_all=True, append_images=[second])
    yield OddImage("heic of two images", heic, SCENE, tolerance=LOSSY, changes=(note("main_image"),), warnings=FIRST_ONLY)
    mpo = saved(first, "MPO", quality=95, save_all=True, append_images=[second])
    yield OddImage("jpeg with a preview behind it (mpo)", mpo, SCENE, tolerance=LOSSY)


# What lies in the file so that rotating it by the EXIF orientation shows the scene.
_TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
TURNS = {
    2: note("mirrored"),
    3: note("rotated", degrees=180),
    4: note("flipped"),
    5: note("rotated_and_mirrored", degrees=90),
    6: note("rotated", degrees=90),
    7: note("rotated_and_mirrored", degrees=270),
    8: note("rotated", degrees=270),
}


def rotated_back(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNED_BACK[orientation]) if orientation in _TURNED_BACK else image


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def _turned() -> Iterator[OddImage]:
    options: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
    options |= {"AVIF": {"quality": 95}, "HEIF": {"quality": 95}}
    for pillow_name, more in options.items():
        for orientation in range(1, 9):
            data = saved(rotated_back(scene(), orientation), pillow_name, exif=exif(orientation), **more)
            turn = (TURNS[orientation],) if orientation > 1 else ()
            name = f"{pillow_name.lower()} turned {orientation}"
            yield OddImage(name, data, SCENE, tolerance=LOSSY if "quality" in more else EXACT, changes=turn)
    for orientation in (0, 9, 99):
        data = saved(scene(), "JPEG", quality=95, exif=exif(orientation))
        yield OddImage(f"jpeg with orientation {orientation}", data, SCENE, tolerance=LOSSY)
    yield OddImage(
        "jpeg with broken exif", saved(scene(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), SCENE, tolerance=LOSSY
    )
    yield OddImage("jpeg with empty exif", saved(scene(), "JPEG", quality=95, exif=b"Exif\0\0"), SCENE, tolerance=LOSSY)


def _profiled() -> Iterator[OddImage]:
    for name, profile, to_profile in (("Display P3", DISPLAY_P3, _to_p3), ("Adobe RGB", ADOBE_RGB, _to_adobe_rgb)):
        image = scene((to_profile(RED), to_profile(GREEN), to_profile(BLUE), to_profile(WHITE)))
        said = (note("profile_to_srgb", profile=name),)
        for pillow_name in ("PNG", "TIFF"):
            yield OddImage(f"{pillow_name.lower()} in {name}", saved(image, pillow_name, icc_profile=profile), SCENE, changes=said)
        yield OddImage(f"webp in {name}", saved(image, "WEBP", lossless=True, icc_profile=profile), SCENE, changes=said)
        for pillow_name in ("JPEG", "AVIF", "HEIF"):
            data = saved(image, pillow_name, quality=95, icc_profile=profile)
            yield OddImage(f"{pillow_name.lower()} in {name}", data, SCENE, tolerance=LOSSY, changes=said)
        clear = image.convert("RGBA")
        clear.paste((0, 0, 0, 0), (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
        yield OddImage(f"png with alpha in {name}", saved(clear, "PNG", icc_profile=profile), SCENE, changes=said)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield OddImage("png in sRGB", saved(scene(), "PNG", icc_profile=srgb), SCENE, tolerance=EXACT)
    ignored = (note("profile_broken"),)
    yield OddImage("png with a broken profile", saved(scene(), "PNG", icc_profile=b"junk" * 50), SCENE, tolerance=EXACT, changes=ignored)
    data = saved(scene(), "JPEG", quality=95, icc_profile=DISPLAY_P3[:300])
    yield OddImage("jpeg with half a profile", data, SCENE, tolerance=LOSSY, changes=ignored)
    gray = saved(scene(GRAYS).convert("L"), "PNG", icc_profile=DISPLAY_P3)
    yield OddImage("png gray with a profile for colour", gray, GRAYS, tolerance=EXACT, changes=ignored)
    linear = scene(tuple((_linear16(v[0]),) * 3 for v in GRAYS)).convert("L")  # type: ignore[arg-type]
    said = (note("profile_to_srgb", profile="Linear gray"),)
    yield OddImage("png gray with a gray profile", saved(linear, "PNG", icc_profile=LINEAR_GRAY), GRAYS, tolerance=LOSSY, changes=said)
    inks = Image.new("CMYK", (WIDTH, HEIGHT))
    for cmyk, (column, row) in zip(
        ((0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 0, 0)), ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True
    ):
        inks.paste(cmyk, (column * WIDTH // 2, row * HEIGHT // 2, (column + 1) * WIDTH // 2, (row + 1) * HEIGHT // 2))
    said = (note("profile_to_srgb", profile="Test inks"),)
    yield OddImage("tiff cmyk with a profile", saved(inks, "TIFF", icc_profile=TEST_INKS), INK_SCENE, tolerance=6, changes=said)
    data = saved(inks, "JPEG", quality=95, icc_profile=TEST_INKS)
    yield OddImage("jpeg cmyk with a profile", data, INK_SCENE, tolerance=LOSSY, changes=said)


def _telling() -> Iterator[OddImage]:
    """Metadata about places and people."""
    tags = Image.Exif()
    tags[0x010F] = "A camera maker"
    tags[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
    gone = (note("gps_removed"), note("metadata_removed"))
    for pillow_name in ("JPEG", "PNG", "WEBP", "HEIF", "AVIF"):
        data = saved(scene(), pillow_name, exif=tags.tobytes(), **({} if pillow_name == "PNG" else {"quality": 95}))
        tolerance = EXACT if pillow_name == "PNG" else LOSSY
        yield OddImage(f"{pillow_name.lower()} with a position", data, SCENE, tolerance=tolerance, changes=gone)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><exif:GPSLatitude>52,31N</exif:GPSLatitude></x:xmpmeta>'
    yield OddImage("jpeg with a position in xmp", saved(scene(), "JPEG", quality=95, xmp=xmp), SCENE, tolerance=LOSSY, changes=gone)
    comment = saved(scene(), "JPEG", quality=95, comment=b"Hi")
    yield OddImage("jpeg with a comment", comment, SCENE, tolerance=LOSSY, changes=(note("metadata_removed"),))


def _limits() -> Iterator[OddImage]:
    no_pixels = _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    yield OddImage("png bomb of 60,000 x 60,000", _png_head(60_000, 60_000, 8, 2) + no_pixels, error="image_too_large")
    wide = _png_head(14_000, 12_650, 1, 0) + _chunk(b"IDAT", zlib.compress(bytes(12_650 * (1 + 14_000 // 8)), 9)) + _chunk(b"IEND", b"")
    yield OddImage("png bomb of 177 megapixels in 21 KB", wide, error="image_too_large")
    text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000), 9))
    plain = saved(scene(), "PNG")
    yield OddImage("png text bomb before the pixels", plain[:33] + text + plain[33:], error="image_parse_error")
    yield OddImage("png of 100,000 x 1", _png_head(100_000, 1, 8, 0) + no_pixels, error="image_too_small")
    yield OddImage("png of 40,000 x 1,000", _png_head(40_000, 1_000, 8, 0) + no_pixels, error="image_too_large")
    yield OddImage("png 65 times as long as wide", saved(Image.new("RGB", (650, 10)), "PNG"), error="image_too_large")
    yield OddImage("webp of 16,000 x 16,000", _webp_head(16_000, 16_000), error="image_too_large")
    yield OddImage("webp of 30 megapixels", _webp_head(6_000, 5_000), error="image_too_large")
    yield OddImage("gif of 60,000 x 60,000", _gif_head(60_000, 60_000), error="image_too_large")
    yield OddImage("bmp of 49 megapixels without pixels", _bmp_head(7_000, 7_000), error="image_parse_error")
    yield OddImage("png 1 x 1", saved(Image.new("RGB", (1, 1)), "PNG"), error="image_too_small")
    yield OddImage("png 7 x 100", saved(Image.new("RGB", (7, 100)), "PNG"), error="image_too_small")
    small = scene(size=(12, 8))
    said = (note("kept_larger", from_width=12, from_height=8, width=48, height=32),)
    yield OddImage("png 12 x 8", saved(small, "PNG"), SCENE, size=(48, 32), tolerance=12, changes=said)
    long = saved(scene(size=(512, 8)), "PNG")
    said = (note("kept_larger", from_width=512, from_height=8, width=2048, height=32),)
    yield OddImage("png 512 x 8", long, SCENE, size=(2048, 32), tolerance=26, changes=said)


def _cut() -> Iterator[OddImage]:
    """Files whose end is missing, cut in the pixels; never guessed at, though every engine does."""
    noisy = Image.effect_noise((256, 192), 90).convert("RGB")
    whole = {
        "jpeg": saved(noisy, "JPEG"),
        "jpeg progressive": saved(noisy, "JPEG", progressive=True),
        "png": saved(noisy, "PNG"),
        "gif": saved(noisy.quantize(64), "GIF"),
        "bmp": saved(noisy, "BMP"),
        "webp": saved(noisy, "WEBP"),
        "webp lossless": saved(noisy, "WEBP", lossless=True),
        "avif": saved(noisy, "AVIF"),
        "heic": saved(noisy, "HEIF"),
        "tiff": _tiff(noisy.tobytes(), 2, (8, 8, 8), order="<", size=noisy.size),
    }
    for name, data in whole.items():
        for percent in (3, 50, 95):
            yield OddImage(f"{name} cut off at {percent} %", data[: len(data) * percent // 100], error="image_parse_error")


def _broken() -> Iterator[OddImage]:
    wrong = "unsupported_image_media_type"
    yield OddImage("empty", b"", error="empty_image_file")
    yield OddImage("text", b"Hello, I am not an image at all, but I was sent as one.", error=wrong)
    yield OddImage("text that begins like a bmp", b"BMW is a car maker from Munich, they say.", error=wrong)
    yield OddImage("svg", b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>", error=wrong)
    yield OddImage("html", b"<!doctype html><img src=x>", error=wrong)
    yield OddImage("pdf", b"%PDF-1.7\n%%EOF", error=wrong)
    yield OddImage("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", error=wrong)
    yield OddImage("psd", b"8BPS\0\1" + bytes(200), error=wrong)
    for pillow_name in ("ICO", "JPEG2000", "PPM", "TGA", "PCX", "ICNS"):
        yield OddImage(pillow_name.lower(), saved(scene(size=(64, 64)), pillow_name), error=wrong)
    yield OddImage("mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(100), error=wrong)
    yield OddImage("jpeg signature alone", b"\xff\xd8\xff", error="image_parse_error")
    yield OddImage("png signature alone", b"\x89PNG\r\n\x1a\n", error="image_parse_error")
    yield OddImage("gif signature alone", b"GIF89a", error="image_parse_error")
    yield OddImage("webp signature alone", b"RIFF\4\0\0\0WEBP", error="image_parse_error")
    yield OddImage("tiff signature alone", b"II*\0", error="image_parse_error")
    yield OddImage("heic signature alone", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", error="image_parse_error")
    yield OddImage("avif signature alone", b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", error="image_parse_error")
    yield OddImage("jpeg of noise", b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20, error="image_parse_error")
    png = saved(scene(), "PNG")
    at = png.index(b"IDAT")
    yield OddImage("png with a wrong checksum", png[: at + 6] + bytes([png[at + 6] ^ 0xFF]) + png[at + 7 :], error="image_parse_error")


def _grays(corners: Corners) -> Corners:
    return corners_of(scene(corners).convert("L"))


def _pixels16(image: Image.Image, order: str) -> bytes:
    """8-bit samples as 16-bit ones: v becomes 257 v."""
    samples = image.tobytes()
    return struct.pack(f"{order}{len(samples)}H", *(257 * v for v in samples))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_head(width: int, height: int, bits: int, colour: int, interlaced: bool = False) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


def _png(pixels: bytes, bits: int, colour: int, bytes_per_pixel: int, transparent: bytes = b"") -> bytes:
    """A PNG of the scene's size from raw samples; Pillow can't write 16-bit colour."""
    stride = WIDTH * bytes_per_pixel
    lines = b"".join(b"\0" + pixels[i : i + stride] for i in range(0, len(pixels), stride))
    clear = _chunk(b"tRNS", transparent) if transparent else b""
    return _png_head(WIDTH, HEIGHT, bits, colour) + clear + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def _interlaced_png(image: Image.Image) -> bytes:
    """Adam7 (PNG specification, 8.2)."""
    lines = b""
    for left, top, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(top, image.height, down):
            row = [image.getpixel((x, y)) for x in range(left, image.width, across)]
            lines += b"\0" + b"".join(bytes(pixel) for pixel in row if isinstance(pixel, tuple))
    return _png_head(*image.size, 8, 2, interlaced=True) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def _webp_head(width: int, height: int) -> bytes:
    """An extended WebP that names a canvas and holds nothing (RFC 9649, 2.7)."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _gif_head(width: int, height: int) -> bytes:
    """A screen, one frame of the same size, no pixels."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\2\0;"
    )


def _bmp_head(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + 3 * width * height, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def _tiff(pixels: bytes, photometric: int, bits: tuple[int, ...], *, order: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """An uncompressed TIFF of one strip; Pillow can't write 16-bit colour."""
    short, long = 3, 4
    bits_at = 8 + 2 + 12 * 9 + 4
    data_at = bits_at + 2 * len(bits)
    bits_value = bits_at if len(bits) > 2 else (bits[0] if order == "<" else bits[0] << 16)
    tags = [
        (256, long, 1, size[0]),
        (257, long, 1, size[1]),
        (258, short, len(bits), bits_value),
        (259, long, 1, 1),
        (262, long, 1, photometric),
        (273, long, 1, data_at),
        (277, long, 1, len(bits)),
        (278, long, 1, size[1]),
        (279, long, 1, len(pixels)),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    head += b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + struct.pack(order + "I", 0)
    return head + struct.pack(f"{order}{len(bits)}H", *bits) + pixels


def _plain_cmyk_jpeg(cmyk: Image.Image) -> bytes:
    """CMYK as it is, without Adobe's marker: Pillow inverts what it writes and adds the marker, so both are undone."""
    data = saved(Image.eval(cmyk, lambda v: 255 - v), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] :]


def _linear(v: int) -> float:
    """sRGB (IEC 61966-2-1) to light, 0 to 1."""
    c = v / 255
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def _linear16(v: int) -> int:
    return round(255 * _linear(v))


def _gamma(light: float) -> int:
    light = min(1.0, max(0.0, light))
    return round(255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055))


def _to_p3(colour: RGB) -> RGB:
    """sRGB to Display P3 (the matrix of CSS Color 4, through XYZ)."""
    r, g, b = (_linear(v) for v in colour)
    p3 = (0.8224621 * r + 0.177538 * g, 0.0331941 * r + 0.9668058 * g, 0.0170827 * r + 0.0723974 * g + 0.9105199 * b)
    return _gamma(p3[0]), _gamma(p3[1]), _gamma(p3[2])


def _to_adobe_rgb(colour: RGB) -> RGB:
    """sRGB to Adobe RGB (1998): same white, wider green, gamma 563/256."""
    r, g, b = (_linear(v) for v in colour)
    wide = (0.7151256 * r + 0.2848744 * g, g, 0.0411619 * g + 0.9588381 * b)
    first, second, third = (round(255 * v ** (256 / 563)) for v in wide)
    return first, second, third


def _icc(name: str, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2 (ICC.1:2001-04): a header, a table of tags, their bodies."""
    text = name.encode() + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67)
    bodies = {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(0.9642, 1.0, 0.8249), **tags}
    table, data, at = b"", b"", 128 + 4 + 12 * len(bodies)
    for tag, body in bodies.items():
        padded = body + bytes(-len(body) % 4)
        table += tag + struct.pack(">II", at + len(data), len(body))
        data += padded
    head = struct.pack(">I4sI4s4s4s", at + len(data), bytes(4), 0x02400000, b"scnr", space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(bodies)) + table + data


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(v * 65536) for v in (x, y, z)))


def _rgb_icc(name: str, red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], curve: bytes) -> bytes:
    primaries = {b"rXYZ": _xyz(*red), b"gXYZ": _xyz(*green), b"bXYZ": _xyz(*blue)}
    return _icc(name, b"RGB ", b"XYZ ", {**primaries, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def _inks_icc(name: str, colours: dict[tuple[int, int, int], tuple[float, float, float]]) -> bytes:
    """A CMYK profile as a table of its 16 corners (lut8Type); `colours` are L*, a*, b* by (C, M, Y) where they matter."""
    corners = b""
    for corner in range(16):
        c, m, y, k = (corner >> 3 & 1, corner >> 2 & 1, corner >> 1 & 1, corner & 1)
        lightness, a, b = (0.0, 0.0, 0.0) if k else colours.get((c, m, y), (100.0 * (3 - c - m - y) / 3, 0.0, 0.0))
        corners += bytes([round(lightness * 2.55), round(a + 128), round(b + 128)])
    same = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + same * 4 + corners + same * 3
    return _icc(name, b"CMYK", b"Lab ", {b"A2B0": table})


_SRGB_CURVE = (
    b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *(round(v * 65536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
)
_ADOBE_CURVE = b"curv" + bytes(4) + struct.pack(">IH", 1, 563)
DISPLAY_P3 = _rgb_icc("Display P3", (0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407), _SRGB_CURVE)
"""Colorants adapted to D50, as in the profiles of phones."""
ADOBE_RGB = _rgb_icc("Adobe RGB", (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), _ADOBE_CURVE)
LINEAR_GRAY = _icc("Linear gray", b"GRAY", b"XYZ ", {b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 0)})
# Inks that look quite unlike ideal ones: without the profile the colours would be pure red, green and blue.
TEST_INKS = _inks_icc("Test inks", {(0, 0, 0): (100, 0, 0), (0, 1, 1): (50, 40, 20), (1, 0, 1): (60, -30, 20), (1, 1, 0): (30, 10, -40)})
INK_SCENE: Corners = ((185, 88, 87), (94, 159, 108), (50, 68, 134), WHITE)
"""The Lab values of TEST_INKS in sRGB, by the CIE's formulas (D50, Bradford)."""
