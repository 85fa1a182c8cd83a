"""Pixels to files, always the same way: PNG for what came lossless and packs well, JPEG for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, PngImagePlugin

_TILE = 64
_TILES = 4
_SMALL = (_TILE * _TILES) ** 2


@dataclass(frozen=True, slots=True)
class Encoded:
    data: bytes
    format: Literal["PNG", "JPEG"]
    width: int
    height: int


def packs_well(im: Image.Image) -> bool:
    """Whether PNG is the right form for an image that came lossless: yes if it is small, or if a sample of 4x4 tiles spread over it
    takes at most one byte per pixel. Screenshots, drawings and scans do (0.05 to 0.5), photos don't (1 to 2.5)."""
    if im.width * im.height <= _SMALL:
        return True
    sample = Image.new("RGB", (_TILE * _TILES, _TILE * _TILES))
    for row in range(_TILES):
        for column in range(_TILES):
            left, top = (im.width - _TILE) * column // (_TILES - 1), (im.height - _TILE) * row // (_TILES - 1)
            tile = im.crop((left, top, left + _TILE, top + _TILE))
            sample.paste(tile.convert("RGB"), (column * _TILE, row * _TILE))
    return len(encode(sample, lossless=True).data) <= _SMALL


def encode(im: Image.Image, *, lossless: bool, subsampled: bool = False, mark: str = "") -> Encoded:
    """A file without any metadata but `mark`, as a comment, where it must differ from another of the same pixels.

    JPEG quality 92 is where text and edges stop changing visibly. Chroma stays whole (4:4:4), or coloured letters smear; only what came
    subsampled and keeps its size may stay so (`subsampled`, 4:2:0), for there is nothing left to lose. PNG takes the fastest level:
    higher ones take twice the time for a twentieth of the size.
    """
    out = BytesIO()
    if lossless:
        info = PngImagePlugin.PngInfo()
        if mark:
            info.add_text("Comment", mark)
        im.save(out, "PNG", compress_level=1, pnginfo=info)
        return Encoded(out.getvalue(), "PNG", *im.size)
    im.save(out, "JPEG", quality=92, subsampling="4:2:0" if subsampled else "4:4:4", comment=mark)
    return Encoded(out.getvalue(), "JPEG", *im.size)
