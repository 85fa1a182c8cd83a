"""Writes examples/pictures/: scenes that the demo model can answer questions about, for the tutorial, the README and its screenshots.

    .venv/bin/python scripts/example_pictures.py

Needs the DejaVu fonts.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).parents[1] / "examples" / "pictures"
SIZE = (960, 720)
SMOOTH = 4
"""The scale at which images are drawn before they are reduced, so that edges are smooth."""
RED, BLUE, GREEN, YELLOW, ORANGE = (214, 39, 40), (31, 90, 200), (44, 160, 44), (240, 210, 30), (255, 127, 14)
WHITE, BLACK = (250, 250, 250), (15, 15, 15)
Point = tuple[float, float]


def blank(background: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (SIZE[0] * SMOOTH, SIZE[1] * SMOOTH), background)


def circle(image: Image.Image, at: Point, radius: float, colour: tuple[int, int, int]) -> None:
    x, y, r = (SMOOTH * value for value in (*at, radius))
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=colour)


def square(image: Image.Image, at: Point, radius: float, colour: tuple[int, int, int]) -> None:
    x, y, r = (SMOOTH * value for value in (*at, radius))
    ImageDraw.Draw(image).rectangle((x - r, y - r, x + r, y + r), fill=colour)


def star(image: Image.Image, at: Point, radius: float, colour: tuple[int, int, int]) -> None:
    x, y, r = (SMOOTH * value for value in (*at, radius))
    reach = [r if corner % 2 == 0 else 0.42 * r for corner in range(10)]
    angles = [math.pi / 5 * corner - math.pi / 2 for corner in range(10)]
    ImageDraw.Draw(image).polygon(
        [(x + far * math.cos(a), y + far * math.sin(a)) for far, a in zip(reach, angles, strict=True)], fill=colour
    )


def text(image: Image.Image, characters: str, colour: tuple[int, int, int]) -> None:
    font = ImageFont.truetype("DejaVuSans-Bold.ttf", 0.5 * SIZE[1] * SMOOTH)
    ImageDraw.Draw(image).text((image.width / 2, image.height / 2), characters, fill=colour, font=font, anchor="mm")


def finished(image: Image.Image) -> Image.Image:
    return image.resize(SIZE, Image.Resampling.LANCZOS)


def shapes() -> Image.Image:
    image = blank(WHITE)
    circle(image, (290, 360), 165, RED)
    square(image, (680, 370), 140, BLUE)
    return finished(image)


def night() -> Image.Image:
    image = blank(BLACK)
    star(image, (480, 370), 250, YELLOW)
    return finished(image)


def sign() -> Image.Image:
    image = blank(YELLOW)
    text(image, "A5", BLACK)
    return finished(image)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    shapes().save(FOLDER / "shapes.png", optimize=True)
    night().save(FOLDER / "night.png", optimize=True)
    # As a phone stores a photo: rotated, with a tag (EXIF orientation 6) for the rotation that makes it upright.
    exif = Image.Exif()
    exif[0x0112] = 6
    sign().transpose(Image.Transpose.ROTATE_90).save(FOLDER / "sideways.jpg", quality=90, exif=exif)


if __name__ == "__main__":
    main()
