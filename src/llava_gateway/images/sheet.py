"""Make a contact sheet of several numbered images for a model that takes only one image. Runs in a worker."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from llava_gateway.images import colour, encode, resize
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import UNLIMITED
from llava_gateway.images.plan import CLIP_MEAN, Size

MOST_SIDE = 2016
"""Longest side of a sheet in pixels: six squares of LLaVA, so that regions and tiles of the sheet still show details."""
_BADGE = 7
"""The short side of a cell divided by the height of its number."""
_LEAST_BADGE = 10


def sheet(images: Sequence[bytes]) -> Encoded:
    """Draw canonical images in a grid, row by row, with the numbers 1, 2, ... in their top left corners. Raises ImageError."""
    sizes = [_opened(data).upright_size for data in images]
    columns, rows, shape = best_grid(sizes)
    cell = _cell(sizes, columns, rows, shape)
    gap = max(1, min(cell) // 50)
    whole = Image.new("RGB", (columns * (cell[0] + gap) - gap, rows * (cell[1] + gap) - gap), CLIP_MEAN)
    lossless = True
    for index, data in enumerate(images):  # one at a time: each decoded image may take 36 MB
        small, is_lossless = _shrunk(_opened(data), cell)
        lossless = lossless and is_lossless
        left, top = index % columns * (cell[0] + gap), index // columns * (cell[1] + gap)
        left, top = left + (cell[0] - small.width) // 2, top + (cell[1] - small.height) // 2
        whole.paste(small, (left, top))
        _number(whole, (left, top), index + 1, max(_LEAST_BADGE, min(cell) // _BADGE))
    return encode.encode(whole, lossless=lossless and encode.packs_well(whole))


def best_grid(sizes: Sequence[Size]) -> tuple[int, int, float]:
    """Return (columns, rows, width / height of a cell) for which the images cover most of a square that the sheet fits into."""
    shapes = [width / height for width, height in sizes]

    def covered(columns: int, rows: int, shape: float) -> float:
        # With cells of height 1, an image covers min(its shape / the cell's shape, the inverse) of its cell.
        area = sum(min(own / shape, shape / own) for own in shapes) * shape
        return area / max(columns * shape, rows) ** 2

    grids = [(columns, math.ceil(len(sizes) / columns), shape) for columns in range(1, len(sizes) + 1) for shape in sorted(set(shapes))]
    return max(grids, key=lambda grid: (round(covered(*grid), 6), -grid[0] * grid[1], grid[0]))


def _cell(sizes: Sequence[Size], columns: int, rows: int, shape: float) -> Size:
    """Return the size of a cell in pixels: as large as the sheet allows, but no larger than the largest image needs."""
    height = min(MOST_SIDE / (columns * shape), MOST_SIDE / rows)
    height = min(height, max(max(h, w / shape) for w, h in sizes))
    return max(1, round(height * shape)), max(1, round(height))


def _opened(canonical: bytes) -> Source:
    return Source(canonical, UNLIMITED)


def _shrunk(source: Source, cell: Size) -> tuple[Image.Image, bool]:
    width, height = source.upright_size
    scale = min(cell[0] / width, cell[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    decoded, _ = source.pixels(size)
    return colour.to_srgb(resize.resample(decoded, size), None)[0], source.lossless


def _number(im: Image.Image, corner: Size, number: int, height: int) -> None:
    """Write a number at a corner, white on black: the contrast must survive the reduction to the size that the model sees."""
    pen = ImageDraw.Draw(im)
    font = ImageFont.load_default(height * 0.9)
    width = max(height, round(pen.textlength(str(number), font) + height * 0.4))
    pen.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), fill="black")
    pen.text((corner[0] + width / 2, corner[1] + height / 2), str(number), fill="white", font=font, anchor="mm")
