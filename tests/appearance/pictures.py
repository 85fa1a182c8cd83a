"""Files of one picture in many formats, modes, depths and signals, as many encoders write them."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from llava_gateway.images.sniff import Format
from tests.appearance.programs import commands
from tests.odd_images import ADOBE_RGB, DISPLAY_P3, LINEAR_GRAY, chunk, exif, saved

SIZE = (120, 80)
SUFFIXES: dict[str, Format] = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "avif": "AVIF"}


@dataclass(frozen=True, slots=True)
class Case:
    """A file to compare.

    Attributes:
        encoder: program that wrote it; "hand" for files that no encoder writes.
        name: what is special about it.
        kind: its format.
        judge: a file with the same picture in a format that browsers show; None for the file itself.
        subsampled: whether its chroma has less resolution than its brightness.
        ours: why it differs from a browser on purpose.
    """

    encoder: str
    name: str
    kind: Format
    data: bytes
    judge: bytes | None = None
    subsampled: bool = False
    ours: str = ""


@cache
def picture(mode: str = "RGB") -> Image.Image:
    """Draw soft colours with a few fields of plain colour on them; RGBA and LA with an alpha from 0 to 255."""
    across = Image.linear_gradient("L").rotate(90).resize(SIZE)
    down = Image.linear_gradient("L").resize(SIZE)
    im = Image.merge("RGB", (across, down, across.point(lambda value: 255 - value)))
    pen = ImageDraw.Draw(im)
    for i, colour in enumerate(("red", "#00a000", "blue", "white", "black", "#c08040", "gray", "yellow")):
        pen.rectangle((5 + i % 4 * 28, 8 + i // 4 * 40, 24 + i % 4 * 28, 30 + i // 4 * 40), fill=colour)
    im = im.filter(ImageFilter.GaussianBlur(1.2))  # as sharp as a photo; JPEG itself adds errors to sharper edges
    if mode in ("RGBA", "LA"):
        im.putalpha(Image.radial_gradient("L").resize(SIZE))
    return im.convert(mode)


def cases(programs: bool = True) -> Iterator[Case]:
    """Yield the files; without `programs`, only those that Pillow or we ourselves write."""
    yield from _by_pillow()
    yield from _turned()
    yield from _profiled()
    yield from _signalled_in_png()
    yield from _hdr()
    yield from _animated()
    if programs:
        yield from _by_programs()


def few() -> list[Case]:
    """Return about 40 files of all groups, without other programs."""
    every = list(cases(programs=False))
    return every[:: max(1, len(every) // 40)]


def _by_pillow() -> Iterator[Case]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield Case("Pillow", f"png {mode}", "PNG", saved(picture(mode), "PNG"))
    yield Case("Pillow", "png I;16", "PNG", saved(picture("L").convert("I;16").point(lambda value: value * 257), "PNG"))
    for colours in (2, 4, 16, 256):
        yield Case("Pillow", f"png of {colours} colours", "PNG", saved(picture().quantize(colours), "PNG"))
        yield Case("Pillow", f"gif of {colours} colours", "GIF", saved(picture().quantize(colours), "GIF"))
        yield Case("Pillow", f"png with a clear colour of {colours}", "PNG", saved(picture().quantize(colours), "PNG", transparency=1))
        yield Case("Pillow", f"gif with a clear colour of {colours}", "GIF", saved(picture().quantize(colours), "GIF", transparency=1))
    for mode in ("1", "L", "P", "RGB"):
        yield Case("Pillow", f"bmp {mode}", "BMP", saved(picture(mode), "BMP"))
    yield Case("Pillow", "bmp RGBA", "BMP", saved(picture("RGBA"), "BMP"))
    for quality, sampling, progressive in product((75, 92, 100), (0, 1, 2), (False, True)):
        data = saved(picture(), "JPEG", quality=quality, subsampling=sampling, progressive=progressive)
        yield Case("Pillow", f"jpeg {quality}/{sampling}/{progressive}", "JPEG", data, subsampled=sampling > 0)
    for mode, quality in product(("L", "CMYK"), (75, 92)):
        yield Case("Pillow", f"jpeg {mode} {quality}", "JPEG", saved(picture(mode), "JPEG", quality=quality))
    for mode, quality, lossless in product(("RGB", "RGBA"), (50, 80, 100), (False, True)):
        data = saved(picture(mode), "WEBP", quality=quality, lossless=lossless)
        yield Case("Pillow", f"webp {mode} {quality} {lossless}", "WEBP", data, subsampled=not lossless)
    for mode, quality, chroma in product(("RGB", "RGBA", "L"), (60, 90), ("4:4:4", "4:2:0")):
        data = saved(picture(mode), "AVIF", quality=quality, subsampling=chroma)
        yield Case("Pillow", f"avif {mode} {quality} {chroma}", "AVIF", data, subsampled=chroma == "4:2:0")
    for mode, compression in product(("1", "L", "P", "RGB", "RGBA", "CMYK"), ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")):
        judge = picture(mode) if mode != "CMYK" else picture(mode).convert("RGB")
        yield Case(
            "Pillow", f"tiff {mode} {compression}", "TIFF", saved(picture(mode), "TIFF", compression=compression), saved(judge, "PNG")
        )
    for mode in ("L", "RGB", "RGBA"):
        data = saved(picture(mode), "HEIF", quality=100, chroma=444)
        yield Case("pillow-heif", f"heic {mode}", "HEIC", data, saved(picture(mode), "PNG"))
    for name in ("PPM", "TGA", "JPEG2000"):
        kind: Format = "PPM" if name == "PPM" else "TGA" if name == "TGA" else "JPEG2000"
        yield Case("Pillow", name.lower(), kind, saved(picture(), name), saved(picture(), "PNG"))


def _turned() -> Iterator[Case]:
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        *(("PNG", {}), ("JPEG", {"subsampling": 0}), ("WEBP", {"lossless": True}), ("AVIF", {"subsampling": "4:4:4"})),
    )
    for orientation, (name, options) in product(range(1, 9), ways):
        kind = SUFFIXES["jpg" if name == "JPEG" else name.lower()]
        yield Case("Pillow", f"{name.lower()} turned {orientation}", kind, saved(picture(), name, exif=exif(orientation), **options))


def _profiled() -> Iterator[Case]:
    for (profile, icc), mode in product((("P3", DISPLAY_P3), ("Adobe", ADOBE_RGB)), ("RGB", "RGBA")):
        yield Case("Pillow", f"png {mode} {profile}", "PNG", saved(picture(mode), "PNG", icc_profile=icc))
        yield Case("Pillow", f"webp {mode} {profile}", "WEBP", saved(picture(mode), "WEBP", lossless=True, icc_profile=icc))
        yield Case(
            "Pillow", f"avif {mode} {profile}", "AVIF", saved(picture(mode), "AVIF", quality=95, subsampling="4:4:4", icc_profile=icc)
        )
    for profile, icc in (("P3", DISPLAY_P3), ("Adobe", ADOBE_RGB)):
        yield Case("Pillow", f"jpeg {profile}", "JPEG", saved(picture(), "JPEG", quality=95, subsampling=0, icc_profile=icc))
        yield Case("Pillow", f"png P {profile}", "PNG", saved(picture("P"), "PNG", icc_profile=icc))
    yield Case("Pillow", "png L linear", "PNG", saved(picture("L"), "PNG", icc_profile=LINEAR_GRAY))
    yield Case("Pillow", "jpeg L linear", "JPEG", saved(picture("L"), "JPEG", quality=95, icc_profile=LINEAR_GRAY))

    for (profile, icc), orientation in product((("P3", DISPLAY_P3), ("Adobe", ADOBE_RGB)), range(1, 9)):
        data = saved(picture(), "JPEG", quality=95, subsampling=0, icc_profile=icc, exif=exif(orientation))
        yield Case("Pillow", f"jpeg {profile} turned {orientation}", "JPEG", data)
        data = saved(picture("RGBA"), "PNG", icc_profile=icc, exif=exif(orientation))
        yield Case("Pillow", f"png RGBA {profile} turned {orientation}", "PNG", data)


def png(image: Image.Image, before: bytes, bits: int = 8) -> bytes:
    """Write a PNG with chunks before its pixels; 16 bits repeat each byte."""
    colour = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}[image.mode]
    stride = image.width * len(image.getbands()) * bits // 8
    samples = image.tobytes()
    wide = samples if bits == 8 else bytes(value for sample in samples for value in (sample, sample))
    rows = b"".join(b"\0" + wide[i : i + stride] for i in range(0, len(wide), stride))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *image.size, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _signalled_in_png() -> Iterator[Case]:
    for primaries, transfer in product((1, 4, 5, 6, 9, 11, 12, 22), (1, 4, 5, 8, 13, 14)):
        yield Case("hand", f"png cICP {primaries}/{transfer}", "PNG", png(picture(), chunk(b"cICP", bytes((primaries, transfer, 0, 1)))))
    for primaries, mode, bits in product((9, 12), ("RGB", "RGBA", "L"), (8, 16)):
        coded = chunk(b"cICP", bytes((primaries, 13, 0, 1)))
        yield Case("hand", f"png {mode} {bits} cICP {primaries}", "PNG", png(picture(mode), coded, bits))
    chromas = {
        "none": b"",
        "sRGB": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
        "Adobe": struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
        "D50": struct.pack(">8I", 34570, 35850, 64000, 33000, 21000, 71000, 15000, 6000),
    }
    for gamma, (name, chroma), mode in product((30000, 45455, 50000, 55556, 100000), chromas.items(), ("RGB", "L", "RGBA")):
        before = chunk(b"gAMA", struct.pack(">I", gamma)) + (chunk(b"cHRM", chroma) if chroma else b"")
        yield Case("hand", f"png {mode} gAMA {gamma} cHRM {name}", "PNG", png(picture(mode), before))
    srgb = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sRGB", b"\0")
    yield Case("hand", "png sRGB and another gAMA", "PNG", png(picture(), srgb))


def _hdr() -> Iterator[Case]:
    for primaries, transfer, mode in product((1, 9, 12), (16, 18), ("RGB", "RGBA")):
        image = picture(mode).point(lambda value: value * 3 // 4)
        coded = chunk(b"cICP", bytes((primaries, transfer, 0, 1)))
        yield Case("hand", f"png {mode} HDR {primaries}/{transfer}", "PNG", png(image, coded, 16))
    for light in (203, 400, 4000):
        before = chunk(b"cICP", bytes((9, 16, 0, 1))) + chunk(b"cLLI", struct.pack(">II", light * 10_000, 0))
        yield Case("hand", f"png HDR of {light} cd/m2", "PNG", png(picture().point(lambda value: value * 3 // 4), before, 16))


def _animated() -> Iterator[Case]:
    frames = [picture(), picture().rotate(180), picture().point(lambda value: 255 - value)]
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        *(("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"subsampling": "4:4:4"})),
    )
    for name, options in ways:
        data = saved(frames[0], name, save_all=True, append_images=frames[1:], duration=60_000, **options)
        yield Case("Pillow", f"{name.lower()} of three frames", SUFFIXES[name.lower()], data)
    for disposal in (0, 1, 2, 3):
        clear = [frame.quantize(64) for frame in frames]
        data = saved(clear[0], "GIF", save_all=True, append_images=clear[1:], duration=60_000, disposal=disposal, transparency=3)
        yield Case("Pillow", f"gif disposal {disposal}", "GIF", data)
    small = bytearray(saved(picture().crop((0, 0, 60, 40)).quantize(64), "GIF"))
    struct.pack_into("<HH", small, 6, *SIZE)
    at = small.index(b",\0\0\0\0")
    struct.pack_into("<HH", small, at + 1, 20, 10)
    yield Case("hand", "gif whose frame is a part of the canvas", "GIF", bytes(small))
    hidden = saved(frames[2], "PNG", save_all=True, append_images=frames[:2], default_image=True, duration=60_000)
    yield Case("Pillow", "png with a picture before the animation", "PNG", hidden)


def _by_programs() -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("RGB", "RGBA", "L"):
            picture(mode).save(Path(folder) / f"{mode}.png")
        Path(folder, "16.png").write_bytes(png(picture(), b"", 16))
        picture().save(Path(folder) / "RGB.ppm")
        for program, name, command, out in commands():
            if shutil.which(program) is None:
                continue
            path = Path(folder) / out
            path.unlink(missing_ok=True)
            subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
            if not path.is_file():
                continue
            data, suffix = path.read_bytes(), path.suffix[1:]
            kind: Format = "HEIC" if suffix == "heic" else SUFFIXES[suffix]
            judge = Path(folder, "RGB.png").read_bytes() if kind in ("TIFF", "HEIC") else None
            yield Case(program, name, kind, data, judge, subsampled="444" not in name and kind in ("JPEG", "WEBP", "AVIF", "HEIC"))
