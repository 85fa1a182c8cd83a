"""Geometry and resampling: how large an image becomes, and the filters that make it so."""

from __future__ import annotations

import math

from PIL import Image

from llava_gateway.chat import Box
from llava_gateway.images.plan import SMALLEST_SIDE, Canvas, Size
from llava_gateway.notes import Note, note

_LARGE = 4_000_000
# EXIF orientation: what makes the image upright (the table of PIL.ImageOps.exif_transpose), and what to call it.
_UPRIGHT: dict[int, tuple[Image.Transpose, Note]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, note("mirrored")),
    3: (Image.Transpose.ROTATE_180, note("rotated", degrees=180)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, note("flipped")),
    5: (Image.Transpose.TRANSPOSE, note("rotated_and_mirrored", degrees=90)),
    6: (Image.Transpose.ROTATE_270, note("rotated", degrees=90)),
    7: (Image.Transpose.TRANSVERSE, note("rotated_and_mirrored", degrees=270)),
    8: (Image.Transpose.ROTATE_90, note("rotated", degrees=270)),
}


def rotated(size: Size, orientation: int) -> Size:
    """The size after (or before: it is its own inverse) rotating upright."""
    return (size[1], size[0]) if orientation >= 5 else size


def rotated_box(box: Box, orientation: int) -> Box:
    """Where a part of the upright image lies in the image as it is stored."""
    x, y, width, height = box
    right, bottom = 1 - x - width, 1 - y - height
    match orientation:
        case 2:
            return right, y, width, height
        case 3:
            return right, bottom, width, height
        case 4:
            return x, bottom, width, height
        case 5:
            return y, x, height, width
        case 6:
            return y, right, height, width
        case 7:
            return bottom, right, height, width
        case 8:
            return bottom, x, height, width
    return box


def rotate_upright(im: Image.Image, orientation: int) -> Image.Image:
    return im.transpose(_UPRIGHT[orientation][0]) if orientation in _UPRIGHT else im


def turn_note(orientation: int) -> Note | None:
    """What `rotate_upright` does; degrees are clockwise."""
    return _UPRIGHT[orientation][1] if orientation in _UPRIGHT else None


def stored_size(size: Size, max_pixels: int) -> Size:
    """The size at which an image is kept: at most `max_pixels`, the short side at least SMALLEST_SIDE."""
    width, height = size
    scale = min(1.0, math.sqrt(max_pixels / (width * height)))
    if min(size) * scale < SMALLEST_SIDE:
        scale = SMALLEST_SIDE / min(size)
    if scale == 1.0:
        return size
    return max(SMALLEST_SIDE, int(width * scale + 1e-6)), max(SMALLEST_SIDE, int(height * scale + 1e-6))


def resample(im: Image.Image, size: Size) -> Image.Image:
    """BICUBIC, antialiased when it shrinks: what CLIP was trained on (`CLIPImageProcessor`) and what engines use that do it right
    (llama.cpp since b11549), so that an image resampled here looks to the model like one resampled there.

    Of large images `reducing_gap` first takes whole-number box means while at least twice the target remains: nobody sees that
    (51 to 55 dB against BICUBIC alone), and 12 MP take 12 ms instead of 63 to 336 px, 34 instead of 72 to 672 px.
    """
    if im.size == size:
        return im
    return im.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0 if im.width * im.height > _LARGE else None)


def on_canvas(im: Image.Image, canvas: Canvas) -> Image.Image:
    """Centred on the canvas; `im` has its inner size."""
    if im.size == canvas.size:
        return im
    padded = Image.new("RGB", canvas.size, canvas.fill)
    padded.paste(im, ((canvas.size[0] - im.width) // 2, (canvas.size[1] - im.height) // 2))
    return padded


def draft_scale(size: Size, target: Size) -> int:
    """By how much (8, 4, 2 or 1) a JPEG may be reduced while it is decoded, so that a filter still has enough to work on.

    Twice the target is kept, or 1.4 times where twice would be more than 1.5 MP to filter. Measured on a 4000x3000 photo to 672x504
    against BICUBIC on a full decode: 26 ms and 45.9 dB instead of 42 ms and 51.6 dB (libvips: 29 ms and 42.9 dB); nobody sees a
    difference beyond 40 dB.
    """
    ratio = min(size[0] / target[0], size[1] / target[1])
    for scale in (8, 4, 2):
        finer = 4 * size[0] * size[1] / scale**2
        if ratio / scale >= 2 or (ratio / scale >= 1.4 and finer > 1_500_000):
            return scale
    return 1
