"""Draws images that the demo model knows, and converts images to an engine's input."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from llava_gateway.chat import JSON, EngineRequest, Message, Piece, Rendition
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart

SIDE = 112
"""Side of the demo model's input, in pixels."""
LETTERBOX = (122, 116, 104)
COLOURS = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 90, 200),
    "yellow": (240, 210, 30),
    "orange": (255, 127, 14),
    "purple": (130, 60, 180),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "gray": (128, 128, 128),
    "pink": (250, 150, 190),
}
"""The colours that the demo model was trained with."""


def shape(kind: str, colour: str, *, background: str = "white", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Draw one circle or square in the middle."""
    image = Image.new("RGB", size, COLOURS[background])
    width, height = size
    radius = min(size) * 0.3
    box = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    draw = ImageDraw.Draw(image)
    draw.ellipse(box, fill=COLOURS[colour]) if kind == "circle" else draw.rectangle(box, fill=COLOURS[colour])
    return image


def words(text: str, *, colour: str = "black", background: str = "white", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Draw large letters or digits in the middle."""
    image = Image.new("RGB", size, COLOURS[background])
    width, height = size
    font = ImageFont.load_default(min(height * 0.6, width * 1.2 / max(len(text), 1)))
    ImageDraw.Draw(image).text((width / 2, height / 2), text, fill=COLOURS[colour], font=font, anchor="mm")
    return image


def noise(width: int, height: int, chance: random.Random) -> Image.Image:
    """Draw an image that no format can compress well."""
    return Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))


def encoded(image: Image.Image, format: str = "PNG") -> bytes:  # noqa: A002 (Pillow's own word)
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def rendition(image: Image.Image) -> Rendition:
    """Return the demo model's input: the image letterboxed to its square."""
    square = Image.new("RGB", (SIDE, SIDE), LETTERBOX)
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    square.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return Rendition((Piece(encoded(square), "PNG", SIDE, SIDE),), tokens=64, label="exact")


def ask(
    prompt: str,
    *images: Image.Image,
    model: str = "demo",
    history: tuple[Message, ...] = (),
    earlier: EngineRequest | None = None,
    format: Literal["json"] | JSON | None = None,  # noqa: A002 (Ollama's own word)
    **options: Any,
) -> EngineRequest:
    """Build a question about `images`; `earlier` and its following turns (`history`) make it a later turn."""
    given = {ImagePart(image_id(made)): made for made in (rendition(image) for image in images)}
    message = Message("user", (*given, TextPart(prompt)))
    before = (earlier.messages if earlier else ()) + history
    renditions = {**(earlier.renditions if earlier else {}), **given}
    return EngineRequest(model, (*before, message), Options(**options), format, renditions=renditions)


def image_id(image: Rendition) -> str:
    return hashlib.sha256(image.pieces[0].data).hexdigest()
