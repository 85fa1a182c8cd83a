"""Draws the images that `llava-gateway doctor` tries decoders and models with."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw, ImageFont
from pillow_heif import register_heif_opener

from llava_gateway.images.sniff import Format

SAMPLE_SIZE = (64, 48)
_SAMPLE_COLOUR = (200, 40, 30)
_TOLERANCE = 12
"""How far lossy formats may be from the colour, of 255."""
_ORIENTATION = 0x0112
_TURN_RIGHT = 6


def sample(kind: Format) -> bytes:
    """A tiny image of one colour in a format. Raises OSError, KeyError where this machine can't write that format."""
    if kind == "HEIC":
        register_heif_opener()
    return _encoded(Image.new("RGB", SAMPLE_SIZE, _SAMPLE_COLOUR), "HEIF" if kind == "HEIC" else kind)


def shows_sample(data: bytes) -> bool:
    """Whether an image (of ours: PNG or JPEG) is what `sample` drew."""
    with Image.open(BytesIO(data), formats=["PNG", "JPEG"]) as image:
        if image.size != SAMPLE_SIZE:
            return False
        middle = image.convert("RGB").getpixel((SAMPLE_SIZE[0] // 2, SAMPLE_SIZE[1] // 2))
    assert isinstance(middle, tuple)  # noqa: S101 (for the type checker: it is RGB)
    return all(abs(got - drawn) <= _TOLERANCE for got, drawn in zip(middle, _SAMPLE_COLOUR, strict=True))


def circle(colour: str, side: int) -> bytes:
    """PNG of a circle on white."""
    return _encoded(_with_circle(Image.new("RGB", (side, side), "white"), colour), "PNG")


def circle_on_level(level: int, side: int) -> bytes:
    """PNG of a red circle on a gray of 0 to 255."""
    return _encoded(_with_circle(Image.new("RGB", (side, side), (level, level, level)), "red"), "PNG")


def circle_on_checkerboard(side: int) -> bytes:
    """PNG of a red circle on a checkerboard of single black and white pixels: gray to an eye that averages them, black or white (or
    stripes) to one that picks some."""
    # Every second row is the first one moved by a pixel.
    rows = (bytes((x + y) % 2 * 255 for x in range(side)) for y in range(2))
    board = b"".join(rows) * (side // 2 + 1)
    gray = Image.frombytes("L", (side, side), board[: side * side])
    return _encoded(_with_circle(gray.convert("RGB"), "red"), "PNG")


def letters(text: str, side: int, *, stored_rotated: bool = False, tagged: bool = False) -> bytes:
    """JPEG of black letters on white.

    Args:
        stored_rotated: the pixels lie a quarter to the left, as phones store images.
        tagged: the EXIF orientation says so: rotate it a quarter to the right.
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


def _with_circle(image: Image.Image, colour: str) -> Image.Image:
    width, height = image.size
    radius = min(image.size) * 0.3
    box = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image


def _encoded(image: Image.Image, pillow_name: str) -> bytes:
    file = BytesIO()
    image.save(file, pillow_name)
    return file.getvalue()
