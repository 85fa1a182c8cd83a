"""Decode some kinds of TIFF that Pillow can't. Runs in a worker."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO

from PIL import Image

from llava_gateway.images import tiff
from llava_gateway.images.tiff import Layout

_EXTRA_SAMPLES = 338


def opened_as_gray(data: bytes) -> tuple[Image.Image, int] | None:
    """Open an RGB TIFF as a gray one with its channels side by side: Pillow knows more kinds of gray. Returns (image, channels), or None.

    It is as many times as wide as it has channels. `channels_of` undoes this.
    """
    found = tiff.layout(data)
    tags = next(tiff.directories(data), None)
    if found is None or found.big or tags is None:
        return None
    channels = tags.get(tiff.SAMPLES, (1,))[0]
    if (
        tags.get(tiff.PHOTOMETRIC) != (2,)
        or channels not in (3, 4)
        or tags.get(tiff.PLANES, (1,)) != (1,)
        or tags.get(tiff.PREDICTOR, (1,)) != (1,)
    ):
        return None
    (bits, *_), (sample, *_) = tags.get(tiff.BITS, (1,)), tags.get(tiff.SAMPLE_FORMAT, (1,))
    if (sample, bits) not in ((3, 32), (3, 64), (1, 2), (1, 4)):
        return None
    (width, *_), (tile, *_) = tags.get(tiff.WIDTH, (0,)), tags.get(tiff.TILE_WIDTH, (0,))
    changed = {
        tiff.WIDTH: width * channels,
        tiff.BITS: bits,
        tiff.PHOTOMETRIC: 1,
        tiff.SAMPLES: 1,
        tiff.TILE_WIDTH: tile * channels,
        tiff.SAMPLE_FORMAT: sample,
        _EXTRA_SAMPLES: None,
    }
    return Image.open(BytesIO(_with(data, found, changed)), formats=["TIFF"]), channels


def _with(data: bytes, found: Layout, changed: Mapping[int, int | None]) -> bytes:
    """Return a TIFF with other values of some tags in its first directory, each one number; None makes a tag private."""
    out = bytearray(data)
    (count,) = struct.unpack_from(f"{found.order}H", data, found.first)
    for entry in range(found.first + 2, found.first + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(f"{found.order}H", data, entry)
        if tag in changed:
            value = changed[tag]
            struct.pack_into(f"{found.order}HHII", out, entry, 65000 if value is None else tag, 4, 1, value or 0)
    return bytes(out)


def channels_of(im: Image.Image, channels: int) -> Image.Image:
    """Return the RGB or RGBA image of one whose channels are side by side (`opened_as_gray`), in 8 bits.

    Numbers up to 16 count as parts of full brightness, which is 1; larger ones as 0 to 255, or as parts of the largest.
    """
    width = im.width // channels
    top = 1.0
    if im.mode == "F":
        _, most = im.getextrema()
        if not isinstance(most, float) or not most < 3e38:
            raise ValueError("values that are not numbers")
        top = 1.0 if most <= 16 else max(255.0, most)
    bands = []
    for channel in range(channels):
        band = im.transform((width, im.height), Image.Transform.AFFINE, (channels, 0, channel + 0.5 - channels / 2, 0, 1, 0))
        bands.append(band.point(lambda value: value * (255 / top) + 0.5).convert("L") if band.mode == "F" else band.convert("L"))
    merged = Image.merge("RGBA" if channels == 4 else "RGB", bands)
    merged.info = {key: value for key, value in im.info.items() if key == "icc_profile"}
    return merged
