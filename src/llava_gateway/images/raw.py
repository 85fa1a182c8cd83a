"""Recognise camera raw files, and find the largest preview in them; the sensor's own data is never developed (pure)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_gateway.images import tiff

if TYPE_CHECKING:  # the command line imports this, and shows its help without what that imports
    from llava_gateway.images.plan import Size

LEAST_SIDE = 1000
"""Pixels that the long side of a preview needs at least, to stand for the photo."""
_HEADS = re.compile(rb"FUJIFILMCCD-RAW|....ftypcrx |II(?:RO|RS|U\0)|MMOR|II\*\0....CR\x02", re.DOTALL)
_SENSOR = {32803, 34892}
"""Photometric interpretations of pixels as the sensor saw them."""
_DNG_VERSION, _ORIENTATION = 50706, 274
_JPEG = re.compile(rb"\xff\xd8\xff[\xc0\xc4\xdb\xdd\xe0-\xef\xfe]")
_BASELINE_OR_PROGRESSIVE = (0xC0, 0xC1, 0xC2)
_MOST_SEGMENTS = 100
_FEW = 16
"""Values of a tag that are looked at: the gateway itself calls `is_raw`, so it must take no time, whatever the file."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A JPEG within a raw file.

    Attributes:
        begin: its offset.
        size: (width, height) in pixels, as stored.
        orientation: EXIF orientation that the raw file states, 1 to 8; 1 if it states none.
    """

    begin: int
    size: Size
    orientation: int = 1


def is_raw(data: bytes) -> bool:
    """Return whether a file is a camera raw file: DNG, NEF, CR2, CR3, ARW, RAF, ORF, RW2 and the like."""
    if _HEADS.match(data):
        return True
    found = [*tiff.directories(data, _FEW, {_DNG_VERSION, tiff.PHOTOMETRIC, tiff.SUB_DIRECTORIES})]
    return bool(found) and (_DNG_VERSION in found[0] or any(set(tags.get(tiff.PHOTOMETRIC, ())) & _SENSOR for tags in found))


def largest_preview(data: bytes) -> Preview | None:
    """Return the largest preview; None if none is large enough."""
    found = max(_previews(data), key=lambda preview: preview.size[0] * preview.size[1], default=None)
    if found is None or max(found.size) < LEAST_SIDE:
        return None
    return Preview(found.begin, found.size, _orientation(data))


def _previews(data: bytes) -> Iterator[Preview]:
    """Yield every JPEG in the file. Each maker keeps its previews elsewhere, but all of them are JPEGs."""
    for match in _JPEG.finditer(data):
        if size := _size(data, match.start()):
            yield Preview(match.start(), size)


def _size(data: bytes, at: int) -> Size | None:
    """Read (width, height) of the JPEG at this offset; None if no decoder here reads it. Sensor data may be lossless JPEG."""
    at += 2
    for _ in range(_MOST_SEGMENTS):
        if at + 10 > len(data) or data[at] != 0xFF:
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in _BASELINE_OR_PROGRESSIVE:
            bits, height, width = struct.unpack_from(">BHH", data, at + 4)
            return (width, height) if bits == 8 and width and height else None
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA or marker in (0xC3, 0xF7) or length < 2:
            return None
        at += 2 + length
    return None


def _orientation(data: bytes) -> int:
    """Read the orientation from the first directory; a CR3 has it in a box of its own."""
    box = data.find(b"CMT1", 0, 2**16)
    for tags in tiff.directories(data if box < 0 else data[box + 4 :]):
        (orientation, *_) = tags.get(_ORIENTATION, (1,))
        return orientation if 1 <= orientation <= 8 else 1
    return 1
