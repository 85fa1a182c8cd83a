"""A synthetic photo: as hard to compress and to reduce as a phone's, with the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

TWELVE_MEGAPIXELS = (4000, 3000)
SMALL = (800, 600)
_ORIENTATION = 0x0112


def photo(size: tuple[int, int], *, seed: int = 1) -> Image.Image:
    """Draw sky and ground with smooth gradients, soft and fine texture, hard edges, and sensor noise."""
    width, height = size
    random = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    values = np.stack([110 + 90 * y + 30 * np.sin(3 * x), 130 + 60 * x * y + 25 * np.cos(4 * y), 190 - 110 * y + 20 * x], axis=-1)
    for cells, strength in ((12, 40.0), (60, 22.0), (300, 14.0), (1500, 8.0)):
        values += strength * _clouds(random, size, cells)[..., None]
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    _draw_things(image, random)
    # A lens is never perfectly sharp, and a sensor never free of noise.
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(width / 4000)), np.float32)
    noise = random.normal(0, 4, (height, width, 3)).astype(np.float32)
    return Image.fromarray(np.clip(soft + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, *, orientation: int = 1) -> bytes:
    """Encode the image like a phone or a camera; `kind` is "JPEG", "HEIC", "PNG" or "WEBP"."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    match kind:
        case "JPEG":
            image.save(file, "JPEG", quality=90, subsampling="4:2:0", exif=exif)
        case "HEIC":
            from pillow_heif import from_pillow

            from_pillow(image).save(file, quality=60)
        case "PNG":
            image.save(file, "PNG", compress_level=1)
        case _:
            image.save(file, kind, quality=85, method=1)
    return file.getvalue()


def _clouds(random: np.random.Generator, size: tuple[int, int], cells: int) -> NDArray[np.float32]:
    """Return noise between -1 and 1 that changes about `cells` times from left to right."""
    rough = random.uniform(-1, 1, (max(2, cells * size[1] // size[0]), cells)).astype(np.float32)
    return np.asarray(Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC), np.float32)


def _draw_things(image: Image.Image, random: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(120):
        left, top = int(random.integers(0, width)), int(random.integers(height // 3, height))
        side = int(random.integers(width // 200, width // 12))
        colour = tuple(int(value) for value in random.integers(20, 236, 3))
        box = (left, top, left + side, top + int(side * random.uniform(0.4, 1.6)))
        if random.random() < 0.5:
            draw.ellipse(box, fill=colour)
        else:
            draw.rectangle(box, fill=colour)
    for number in range(40):  # twigs, wires, the stripes of a shirt
        start = (width * number // 40, 0)
        draw.line((start, (start[0] + int(random.integers(-200, 200)), height // 2)), fill=(40, 40, 45), width=1 + number % 4)
