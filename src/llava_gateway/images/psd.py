"""Tell what the fourth channel of an RGB Photoshop file is: transparency, or a selection that was saved with it (pure)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SECTIONS = 26
"""The bytes of the header (Adobe Photoshop File Formats Specification)."""
_NAMES, _IDENTIFIERS = 1006, 1053
"""The resources that name and number the channels after the colours. The transparency has the number 0."""


def fourth_is_selection(data: bytes) -> bool:
    """Return whether the fourth channel is a saved selection.

    The number of layers is negative if the first channel after the colours is the transparency of the merged image. A file without
    layers tells it by the number or the name of that channel; without these it counts as transparency.
    """
    try:
        colours = _SECTIONS + 4 + _length(data, _SECTIONS)
        resources = colours + 4 + _length(data, colours)
        if _length(data, resources) >= 6 and _length(data, resources + 4) >= 2:
            (layers,) = struct.unpack_from(">h", data, resources + 8)
            if layers:
                return bool(layers > 0)
        found = dict(_resources(data, colours + 4, resources))
    except struct.error:
        return False
    if len(numbers := found.get(_IDENTIFIERS, b"")) >= 4:
        return numbers[:4] != bytes(4)
    names = found.get(_NAMES, b"")
    return bool(names) and names[1 : 1 + names[0]] != b"Transparency"


def _length(data: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">I", data, at)
    return int(length)


def _resources(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number, content) of each image resource. Raises struct.error."""
    while at < end:
        number, name = struct.unpack_from(">4xHB", data, at)
        at += 6 + (name + 2) // 2 * 2
        length = _length(data, at)
        yield number, data[at + 4 : at + 4 + length]
        at += 4 + (length + 1) // 2 * 2
