"""Decode what is there of a file that lacks some of its pixels, and measure how much that is. Runs in a worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from PIL import Image, ImageChops, ImageFile

from llava_gateway.images.plan import Size

Ink: TypeAlias = int | tuple[int, ...]


def what_is_there(opened: Callable[[], Image.Image]) -> tuple[Image.Image, float, int | None]:
    """Decode a file as far as possible. Returns (image, share of its pixels that were decoded, 0 to 1, first row that lacks any); the
    other pixels are white.

    Decodes twice, over two grounds: a pixel that differs was never decoded. `opened` opens the file. Raises any error of a decoder.
    """
    black = _decoded_over(opened(), _black)
    white = _decoded_over(opened(), _white)
    missing = _differing(white, black)
    share = missing.histogram()[0] / (missing.width * missing.height)
    box = missing.getbbox()
    if share < 1 and white.info.get("interlace") and white.format == "PNG":
        _fill_odd_rows(white, missing)
    return white, share, box[1] if box else None


def whitened(im: Image.Image, size: Size, boxes: Iterable[tuple[int, int, int, int]]) -> Image.Image:
    """Paint parts of a decoded image white.

    Args:
        size: (width, height) of the whole image in pixels, which may have been decoded at reduced size.
        boxes: the parts, in pixels of the whole image.
    """
    across, down = im.width / size[0], im.height / size[1]
    for left, top, right, bottom in boxes:
        box = math.floor(left * across), math.floor(top * down), math.ceil(right * across), math.ceil(bottom * down)
        im.im.paste(_white(im), box)
    return im


def _decoded_over(im: Image.Image, ink: Callable[[Image.Image], Ink]) -> Image.Image:
    if not isinstance(im, ImageFile.ImageFile):
        raise TypeError("not a file")
    # A strip or tile at offset 0 was never written.
    im.tile = [tile for tile in im.tile if tile.offset or tile.codec_name != "raw"]
    prepare = im.load_prepare

    def prepared() -> None:
        prepare()
        im.im.paste(ink(im), (0, 0, *im.im.size))

    im.load_prepare = prepared  # type: ignore[method-assign]
    # libtiff reports missing parts even after it has decoded the others.
    with _lenient(), suppress(*((OSError,) if im.format == "TIFF" else ())):
        im.load()
    return im


@contextmanager
def _lenient() -> Iterator[None]:
    """Let Pillow keep what it has decoded when a file ends early."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _white(im: Image.Image) -> Ink:
    mode = im.im.mode
    if mode == "P":
        return _lightest(im)
    if mode == "LAB":
        return 255, 128, 128
    if mode.startswith("I;16"):
        return 65535
    return _same(im, 0 if mode == "CMYK" else 255)


def _black(im: Image.Image) -> Ink:
    if im.im.mode == "P":
        return (_lightest(im) + 1) % 256
    return _same(im, 255 if im.im.mode == "CMYK" else 0)


def _same(im: Image.Image, value: int) -> Ink:
    return value if im.im.bands == 1 else (value,) * im.im.bands


def _lightest(im: Image.Image) -> int:
    """Return the index of the lightest colour of a palette; of the transparent one if there is one."""
    clear = im.info.get("transparency")
    if isinstance(clear, int):
        return clear
    colours = im.im.getpalette("RGB", "RGB")
    return max(range(len(colours) // 3 or 1), key=lambda index: sum(colours[3 * index : 3 * index + 3]))


def _differing(one: Image.Image, other: Image.Image) -> Image.Image:
    """Return an image of one band that is 0 where the two are the same."""
    if one.mode == "P":
        return ImageChops.difference(*(Image.frombytes("L", im.size, im.tobytes()) for im in (one, other)))
    if len(one.getbands()) == 1:
        return ImageChops.difference(one.convert("L"), other.convert("L"))
    first, *more = ImageChops.difference(one, other).split()
    for band in more:
        first = ImageChops.lighter(first, band)
    return first


def _fill_odd_rows(im: Image.Image, missing: Image.Image) -> None:
    """Fill each missing row of the last pass of an interlaced PNG with the row above, as browsers do while such a file loads."""
    for y in range(1, im.height, 2):
        if missing.getpixel((0, y)):
            im.paste(im.crop((0, y - 1, im.width, y)), (0, y))
