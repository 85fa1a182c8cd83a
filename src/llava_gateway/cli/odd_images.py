"""Draws the odd images of `llava-gateway showcase`, and for each a plain image with the same content."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from pillow_heif import register_heif_opener

from llava_gateway.cli.sample_images import circle_on_checkerboard, circle_on_level
from llava_gateway.parts import Box, Sight

CIRCLE_QUESTION = "What color is the circle?"
BACKGROUND_QUESTION = "What color is the background?"
TEXT_QUESTION = "Read the text."

_SIDE = 336
_WHITE = (250, 250, 250)
_RED = (214, 39, 40)
_BLUE = (31, 90, 200)
_LETTERS = "F7"
_ORIENTATION = 0x0112
_TURN_RIGHT = 6
_PHONE = (1512, 2016)
_SCREENSHOT = (390, 1950)
_DARK_RED = (153, 0, 0)
_DARK_RED_IN_PROPHOTO = (95, 37, 14)
"""The colour #990000 in sRGB, converted with the matrices of both (ISO 22028-2, Bradford's adaptation) and the gamma of 1.8."""


@dataclass(frozen=True, slots=True)
class Odd:
    """An image that often causes errors.

    Attributes:
        title: a description. name: the file name.
        data: the file. plain: a small upright PNG with the same content.
        question: the question about it.
        right: what a right answer contains, in lower case. () for a file that no one can answer about: rejecting it is right.
        sight: further fields for the gateway; Ollama has no such fields.
    """

    title: str
    name: str
    data: bytes
    plain: bytes
    question: str = CIRCLE_QUESTION
    right: tuple[str, ...] = ("red",)
    sight: Sight = field(default_factory=Sight)


def odd_images() -> Iterator[Odd]:
    """Draw all of them, except those that this machine can't write (AVIF or HEIC without their codecs)."""
    yield _phone_photo()
    for kind, pillow_name in (("HEIC", "HEIF"), ("AVIF", "AVIF"), ("TIFF", "TIFF")):
        if found := _in_format(kind, pillow_name):
            yield found
    yield _logo()
    yield _cut_out()
    yield _cmyk("A CMYK JPEG, inverted as Adobe's programs write it", "cmyk-adobe.jpg", inverted=True)
    yield _cmyk("A CMYK JPEG, not inverted, as other print programs write it", "cmyk.jpg", inverted=False)
    yield _wide_gamut()
    yield _sixteen_bit()
    yield _checkerboard()
    yield _screenshot()
    yield _small_print()
    yield _cut_off()


def circle(colour: tuple[int, int, int] = _RED, background: tuple[int, int, int] = _WHITE, size: int = _SIDE) -> Image.Image:
    """Draw a circle in the middle."""
    image = Image.new("RGB", (size, size), background)
    ImageDraw.Draw(image).ellipse((size * 0.2, size * 0.2, size * 0.8, size * 0.8), fill=colour)
    return image


def png(image: Image.Image) -> bytes:
    return _saved(image, "PNG")


def _phone_photo() -> Odd:
    """Draw an image whose pixels are stored rotated, with the EXIF orientation that corrects this."""
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURN_RIGHT
    stored = _letters(_PHONE, _PHONE[0] * 0.65).transpose(Image.Transpose.ROTATE_90)
    data = _saved(stored, "JPEG", quality=92, exif=exif)
    return Odd("A phone's photo, held upright (EXIF orientation)", "phone.jpg", data, _plain_letters(), TEXT_QUESTION, (_LETTERS.lower(),))


def _in_format(kind: str, pillow_name: str) -> Odd | None:
    if kind == "HEIC":
        register_heif_opener()
    try:
        data = _saved(circle(), pillow_name)
    except (OSError, KeyError):
        return None
    about = {"HEIC": "HEIC, as phones store photos", "AVIF": "AVIF, as web pages have it", "TIFF": "TIFF, as scanners write it"}
    return Odd(about[kind], f"circle.{kind.lower()}", data, png(circle()))


def _logo() -> Odd:
    """Draw an all-black image in which only the transparency has the shape of letters."""
    ink = _letters((_SIDE, _SIDE), _SIDE * 0.6).convert("L").point(_inverted)
    logo = Image.new("RGBA", ink.size)
    logo.putalpha(ink)
    return Odd("A logo: black on transparent", "logo.png", png(logo), _plain_letters(), TEXT_QUESTION, (_LETTERS.lower(),))


def _cut_out() -> Odd:
    """Draw an image whose removed green background is still in the file, fully transparent."""
    cut = circle(background=(44, 160, 44)).convert("RGBA")
    cut.putalpha(circle((255, 255, 255), (0, 0, 0)).convert("L"))
    return Odd(
        "A thing cut out of its background, now transparent", "cut-out.png", png(cut), png(circle()), BACKGROUND_QUESTION, ("white",)
    )


def _cmyk(title: str, name: str, *, inverted: bool) -> Odd:
    inks = circle().convert("CMYK")
    if inverted:
        return Odd(title, name, _saved(inks, "JPEG", quality=92), png(circle()))
    # Pillow inverts the values that it writes and adds Adobe's marker (APP14): both are undone.
    data = _saved(inks.point(_inverted), "JPEG", quality=92)
    at = data.index(b"\xff\xee")
    return Odd(title, name, data[:at] + data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] :], png(circle()))


def _wide_gamut() -> Odd:
    data = _saved(circle(_DARK_RED_IN_PROPHOTO), "JPEG", quality=92, icc_profile=_prophoto())
    return Odd("A photo in a wide gamut (ProPhoto RGB), dark red", "prophoto.jpg", data, png(circle(_DARK_RED)))


def _sixteen_bit() -> Odd:
    gray = _letters((_SIDE, _SIDE), _SIDE * 0.6).convert("L").tobytes()
    deep = Image.frombytes("I;16", (_SIDE, _SIDE), b"".join(bytes((value, value)) for value in gray))
    return Odd("A 16-bit PNG, as scanners and microscopes write it", "deep.png", png(deep), _plain_letters(), TEXT_QUESTION, ("f7",))


def _checkerboard() -> Odd:
    """Draw a checkerboard that is gray if pixels are averaged, and black or striped if pixels are picked."""
    data = circle_on_checkerboard(10 * _SIDE // 3)
    return Odd("A fine pattern that aliases", "checkerboard.png", data, circle_on_level(128, _SIDE), BACKGROUND_QUESTION, ("gray",))


def _screenshot() -> Odd:
    image = Image.new("RGB", _SCREENSHOT, _WHITE)
    pen = ImageDraw.Draw(image)
    width, height = _SCREENSHOT
    for index, y in enumerate(range(60, height, 40)):
        if not 900 <= y <= 1150:
            pen.rectangle((30, y, width - 30 - 70 * (index % 3), y + 14), fill=(200, 200, 200))
    _write(image, (width / 2, 1030), 130)
    box = (0.2, 0.47, 0.6, 0.12)
    return _closer("A tall screenshot with a code in the middle", "screenshot.png", image, box)


def _small_print() -> Odd:
    image = Image.new("RGB", (1200, 900), _WHITE)
    _write(image, (900, 640), 100)
    return _closer("Small print in a large image", "small-print.png", image, (0.65, 0.6, 0.2, 0.22))


def _closer(title: str, name: str, image: Image.Image, region: Box) -> Odd:
    return Odd(title, name, png(image), _plain_letters(), TEXT_QUESTION, (_LETTERS.lower(),), Sight(region=region))


def _cut_off() -> Odd:
    """Return half of a download: nobody can know the other half."""
    data = _saved(_letters((_SIDE, _SIDE), _SIDE * 0.6), "JPEG", quality=92)
    return Odd("A JPEG of which the second half is missing", "cut-off.jpg", data[: len(data) // 2], _plain_letters(), TEXT_QUESTION, ())


def _plain_letters() -> bytes:
    return png(_letters((_SIDE, _SIDE), _SIDE * 0.6))


def _letters(size: tuple[int, int], height: float) -> Image.Image:
    image = Image.new("RGB", size, _WHITE)
    _write(image, (size[0] / 2, size[1] / 2), height)
    return image


def _write(image: Image.Image, middle: tuple[float, float], height: float) -> None:
    ImageDraw.Draw(image).text(middle, _LETTERS, fill=(15, 15, 15), font=ImageFont.load_default(height), anchor="mm")


def _inverted(value: int) -> int:
    return 255 - value


def _prophoto() -> bytes:
    """Build ProPhoto RGB (ISO 22028-2) as an ICC profile of version 2 (ICC.1:2001-04): a header, a tag table, and the tag data."""
    name = b"ProPhoto RGB\0"
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(8 + 3 + 67),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": _xyz(0.79767, 0.28804, 0.0),
        b"gXYZ": _xyz(0.13519, 0.71188, 0.0),
        b"bXYZ": _xyz(0.03134, 0.00008, 0.8249),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, bodies, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, body in tags.items():
        table += tag + struct.pack(">II", start + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(bodies), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bodies


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(value * 65536) for value in (x, y, z)))


def _saved(image: Image.Image, pillow_name: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, pillow_name, **options)
    return file.getvalue()
