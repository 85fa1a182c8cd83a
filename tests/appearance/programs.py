"""The command lines with which other programs write the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeAlias

Command: TypeAlias = tuple[str, str, Sequence[str], str]
"""The program, what is special, its command line, and the file that it writes."""

PROGRAMS = ("convert", "gm", "vips", "ffmpeg", "avifenc", "heif-enc", "cwebp", "cjpeg", "tiffcp", "exiftool")


def commands() -> Iterator[Command]:
    """Yield all command lines."""
    yield from _magick("convert", ["convert"])
    yield from _magick("gm", ["gm", "convert"])
    yield from _vips()
    yield from _ffmpeg()
    yield from _avif_and_heic()
    yield from _webp()
    yield from _jpeg_and_tiff()


def _magick(program: str, first: list[str]) -> Iterator[Command]:
    as_png = ((8, "png24"), (8, "png32"), (16, "png48"), (16, "png64"), (8, "png8"))
    for source, (depth, prefix) in product(("RGB", "RGBA", "L"), as_png):
        yield program, f"png {source} as {prefix}", [*first, f"{source}.png", "-depth", str(depth), f"{prefix}:o.png"], "o.png"
    for quality, sampling in product((70, 85, 95), ("4:4:4", "4:2:0", "2x1")):
        name = f"jpeg {quality} {sampling.replace(':', '')}"
        yield program, name, [*first, "RGB.png", "-sampling-factor", sampling, "-quality", str(quality), "o.jpg"], "o.jpg"
    for space in ("CMYK", "Gray"):
        yield program, f"jpeg 444 {space}", [*first, "RGB.png", "-colorspace", space, "-quality", "92", "o.jpg"], "o.jpg"
    for interlace in ("None", "Line", "Plane"):
        sharp = ["-sampling-factor", "4:4:4", "-quality", "95"]
        yield program, f"jpeg 444 {interlace}", [*first, "RGB.png", "-interlace", interlace, *sharp, "o.jpg"], "o.jpg"
        yield program, f"png {interlace}", [*first, "RGB.png", "-interlace", interlace, "o.png"], "o.png"
    for source, suffix in product(("RGB", "RGBA", "L"), ("gif", "bmp", "webp")):
        yield program, f"{suffix} {source}", [*first, f"{source}.png", f"o.{suffix}"], f"o.{suffix}"
    for prefix in ("bmp2", "bmp3"):
        yield program, prefix, [*first, "RGB.png", f"{prefix}:o.bmp"], "o.bmp"
    for compression, depth in product(("None", "LZW", "Zip", "RLE"), (8, 16)):
        command = [*first, "RGB.png", "-depth", str(depth), "-compress", compression, "o.tif"]
        yield program, f"tiff {compression} {depth}", command, "o.tif"


def _vips() -> Iterator[Command]:
    for source, options in product(("RGB", "RGBA"), ("", "[compression=1]", "[interlace]", "[palette]", "[bitdepth=16]")):
        yield "vips", f"png {source} {options}", ["vips", "copy", f"{source}.png", f"o.png{options}"], "o.png"
    for options in ("[Q=75]", "[Q=95]", "[Q=95,interlace]", "[Q=95,subsample-mode=off]", "[Q=75,optimize-coding]"):
        yield "vips", f"jpeg {'444' if 'off' in options else ''}{options}", ["vips", "copy", "RGB.png", f"o.jpg{options}"], "o.jpg"
    for source, options in product(("RGB", "RGBA"), ("[lossless]", "[Q=80]", "[Q=95]", "[near-lossless]")):
        yield "vips", f"webp {source} {options}", ["vips", "copy", f"{source}.png", f"o.webp{options}"], "o.webp"
    for options in ("", "[compression=lzw]", "[compression=deflate]", "[tile]", "[pyramid,tile]", "[bigtiff]"):
        yield "vips", f"tiff {options}", ["vips", "copy", "RGB.png", f"o.tif{options}"], "o.tif"
    yield "vips", "tiff float", ["vips", "cast", "RGB.png", "o.tif", "float"], "o.tif"


def _ffmpeg() -> Iterator[Command]:
    first = ["ffmpeg", "-y", "-i"]
    for source, pixels in product(("RGB", "RGBA"), ("rgb24", "rgba", "gray", "rgb48be", "rgba64be", "gray16be", "pal8", "monob")):
        yield "ffmpeg", f"png {source} {pixels}", [*first, f"{source}.png", "-pix_fmt", pixels, "o.png"], "o.png"
    for pixels in ("yuvj420p", "yuvj422p", "yuvj444p", "gray"):
        name = f"jpeg {pixels.replace('gray', 'gray 444')}"
        yield "ffmpeg", name, [*first, "RGB.png", "-pix_fmt", pixels, "-q:v", "2", "o.jpg"], "o.jpg"
    for pixels in ("bgr24", "bgra", "rgb565le", "rgb555le", "gray", "pal8"):
        yield "ffmpeg", f"bmp {pixels}", [*first, "RGB.png", "-pix_fmt", pixels, "o.bmp"], "o.bmp"


def _avif_and_heic() -> Iterator[Command]:
    signals = ("1/13/6", "1/13/0", "9/16/9", "9/18/9", "12/13/6", "9/1/9", "1/1/1", "12/16/6")
    for depth, yuv, codes in product((8, 10, 12), ("444", "420"), signals):
        if yuv == "420" and codes.endswith("/0"):
            continue
        quality = ["--min", "0", "--max", "8", "-s", "9"]
        command = ["avifenc", "-d", str(depth), "-y", yuv, "--cicp", codes, *quality, "16.png", "o.avif"]
        yield "avifenc", f"avif {depth} {yuv} {codes}", command, "o.avif"
    more: tuple[tuple[str, ...], ...] = (("-r", "limited"), ("-l",), ("--irot", "1"), ("--imir", "0"), ("-y", "400"))
    for source, flags in product(("RGB", "RGBA"), more):
        name = f"avif 444 {source} {' '.join(flags)}"
        yield "avifenc", name, ["avifenc", "-s", "9", "-y", "444", *flags, f"{source}.png", "o.avif"], "o.avif"
    lossless = ("-L", "-p", "chroma=444", "--matrix_coefficients=0")
    for flags in (lossless, ("-q", "95", "-p", "chroma=444"), ("-q", "90"), ("-q", "95", "-t", "32")):
        name = f"heic {'444 ' if 'chroma=444' in flags else ''}{' '.join(flags)}"
        yield "heif-enc", name, ["heif-enc", *flags, "RGB.png", "-o", "o.heic"], "o.heic"


def _webp() -> Iterator[Command]:
    ways: tuple[tuple[str, ...], ...] = (("-lossless",), ("-q", "80"), ("-q", "95"), ("-near_lossless", "60"), ("-q", "90", "-sharp_yuv"))
    for source, flags in product(("RGB", "RGBA"), ways):
        yield "cwebp", f"webp {source} {' '.join(flags)}", ["cwebp", *flags, f"{source}.png", "-o", "o.webp"], "o.webp"


def _jpeg_and_tiff() -> Iterator[Command]:
    ways: tuple[tuple[str, ...], ...] = (
        *(("-quality", "75"), ("-quality", "95", "-sample", "1x1"), ("-grayscale",), ("-rgb", "-quality", "95", "-sample", "1x1")),
        *(("-progressive",), ("-optimize",), ("-arithmetic",), ("-restart", "1"), ("-sample", "2x1"), ("-sample", "1x2")),
    )
    for flags in ways:
        name = f"jpeg {'444 ' if '1x1' in flags or '-grayscale' in flags else ''}{' '.join(flags)}"
        yield "cjpeg", name, ["cjpeg", *flags, "-outfile", "o.jpg", "RGB.ppm"], "o.jpg"
    for compression in ("none", "lzw", "zip", "packbits", "lzw:2", "zip:2"):
        yield "tiffcp", f"tiff {compression}", ["sh", "-c", f"convert RGB.png t.tif && tiffcp -c {compression} t.tif o.tif"], "o.tif"
    for orientation in range(1, 9):
        command = ["sh", "-c", f"cjpeg -sample 1x1 -quality 95 -outfile o.jpg RGB.ppm && exiftool -n -Orientation={orientation} o.jpg"]
        yield "exiftool", f"jpeg 444 turned {orientation}", command, "o.jpg"
