"""Draws the images with which `llava-gateway doctor` tests decoders and models."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from pillow_heif import register_heif_opener

from llava_gateway.images.sniff import Format

SAMPLE_SIZE = (64, 48)
_SAMPLE_COLOUR = (200, 40, 30)
_TOLERANCE = 12
"""The largest error of lossy formats in the colour, of 255."""
_ORIENTATION = 0x0112
_TURN_RIGHT = 6


def sample(kind: Format) -> bytes:
    """Draw a tiny image of one colour in a format. Raises OSError, KeyError if this machine can't write that format."""
    if kind == "PSD":
        return _flat_psd()
    if kind == "RAW":
        return _raw()
    if kind == "SVG":
        return _drawing()
    if kind == "ICO":
        return _encoded(Image.new("RGB", SAMPLE_SIZE, _SAMPLE_COLOUR), kind, sizes=[SAMPLE_SIZE])
    if kind == "HEIC":
        register_heif_opener()
    return _encoded(Image.new("RGB", SAMPLE_SIZE, _SAMPLE_COLOUR), "HEIF" if kind == "HEIC" else kind)


def _drawing() -> bytes:
    width, height = SAMPLE_SIZE
    colour = "rgb({}, {}, {})".format(*_SAMPLE_COLOUR)
    ground = f'<rect width="{width}" height="{height}" fill="{colour}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{ground}</svg>'.encode()


def shows_sample(data: bytes) -> bool:
    """Return whether an image (our own PNG or JPEG) shows the drawing of `sample`."""
    with Image.open(BytesIO(data), formats=["PNG", "JPEG"]) as image:
        if image.width * SAMPLE_SIZE[1] != image.height * SAMPLE_SIZE[0]:
            return False
        middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(middle, tuple)  # noqa: S101 (for the type checker: it is RGB)
    return all(abs(got - drawn) <= _TOLERANCE for got, drawn in zip(middle, _SAMPLE_COLOUR, strict=True))


def circle(colour: str, side: int) -> bytes:
    """Draw a circle on white, as PNG."""
    return _encoded(_with_circle(Image.new("RGB", (side, side), "white"), colour), "PNG")


def circle_on_level(level: int, side: int) -> bytes:
    """Draw a red circle on a gray of 0 to 255, as PNG."""
    return _encoded(_with_circle(Image.new("RGB", (side, side), (level, level, level)), "red"), "PNG")


def circle_on_checkerboard(side: int) -> bytes:
    """Draw a red circle on a checkerboard of single black and white pixels, as PNG: gray if pixels are averaged, black or white (or
    stripes) if pixels are picked.
    """
    # Every second row is the first row shifted by a pixel.
    rows = (bytes((x + y) % 2 * 255 for x in range(side)) for y in range(2))
    board = b"".join(rows) * (side // 2 + 1)
    gray = Image.frombytes("L", (side, side), board[: side * side])
    return _encoded(_with_circle(gray.convert("RGB"), "red"), "PNG")


def letters(text: str, side: int, *, stored_rotated: bool = False, tagged: bool = False) -> bytes:
    """Draw black letters on white, as JPEG.

    Args:
        stored_rotated: store the pixels a quarter turn to the left, as phones do.
        tagged: set the EXIF orientation that turns them a quarter to the right.
    """
    image = Image.new("RGB", (side, side), "white")
    font = ImageFont.load_default(side * 0.6)
    ImageDraw.Draw(image).text((side / 2, side / 2), text, fill="black", font=font, anchor="mm")
    if stored_rotated:
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    if tagged:
        exif[_ORIENTATION] = _TURN_RIGHT
    file = BytesIO()
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def _flat_psd() -> bytes:
    """Write a Photoshop file of one flattened picture, without layers."""
    width, height = SAMPLE_SIZE
    planes = b"".join(bytes([value]) * (width * height) for value in _SAMPLE_COLOUR)
    return struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3) + bytes(12) + bytes(2) + planes


def _raw() -> bytes:
    """Write the part of a DNG that matters here: its version, and a preview of 20 times the size of the other samples."""
    preview = _encoded(Image.new("RGB", (SAMPLE_SIZE[0] * 20, SAMPLE_SIZE[1] * 20), _SAMPLE_COLOUR), "JPEG")
    return b"II*\0" + struct.pack("<IHHHI4sI", 8, 1, 50706, 1, 4, b"\1\4\0\0", 0) + preview


def _with_circle(image: Image.Image, colour: str) -> Image.Image:
    width, height = image.size
    radius = min(image.size) * 0.3
    box = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image


def _encoded(image: Image.Image, pillow_name: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, pillow_name, **options)
    return file.getvalue()
