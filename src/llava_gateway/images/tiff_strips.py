"""Decode a compressed TIFF that lacks some of its strips: libtiff stops at the first of them. Runs in a worker."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

from PIL import Image

from llava_gateway.images import partial, tiff
from llava_gateway.images.plan import Size

_ROWS, _ORIENTATION = 278, 274
_MOST_TRIES = 4
"""How often the file is decoded at most: each strip that is there but unreadable is found by decoding once more."""


@dataclass(frozen=True, slots=True)
class _Strips:
    """The strips of a TIFF: the rows of each, their offsets and lengths, and where in the file these stand with which struct format."""

    data: bytes
    size: Size
    rows: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    places: tuple[tuple[int, str], tuple[int, str]]

    @property
    def absent(self) -> set[int]:
        pairs = enumerate(zip(self.offsets, self.counts, strict=True))
        return {number for number, (offset, count) in pairs if not offset or not count or offset + count > len(self.data)}

    def box(self, number: int) -> tuple[int, int, int, int]:
        width, height = self.size
        return 0, number * self.rows, width, min(height, (number + 1) * self.rows)

    def share_without(self, bad: Collection[int]) -> float:
        return 1 - sum(bottom - top for _, top, _, bottom in map(self.box, bad)) / self.size[1]

    def replaced(self, bad: Collection[int]) -> bytes:
        """Return the file with another strip in the place of each bad one. The last strip may be shorter, so it replaces none."""
        other = next(number for number in range(len(self.offsets) - 1) if number not in bad)
        out = bytearray(self.data)
        for (place, kind), values in zip(self.places, (self.offsets, self.counts), strict=True):
            for number in bad:
                struct.pack_into(kind, out, place + struct.calcsize(kind) * number, values[other])
        return bytes(out)


def without_missing_strips(
    data: bytes, size: Size, least: float, opened: Callable[[bytes], Image.Image]
) -> tuple[Image.Image | None, float]:
    """Decode all strips that can be decoded; the others are white. Returns (image, share of its pixels that were decoded, 0 to 1).

    Returns (None, share) if the file names so few strips that the share is less than `least`, and (None, 0) if it can't be told.
    `opened` opens a file.
    """
    strips = _strips(data, size)
    if strips is None:
        return None, 0
    bad = strips.absent
    if (share := strips.share_without(bad)) < least:
        return None, share
    for _ in range(_MOST_TRIES):
        mended = strips.replaced(bad)
        whole, _, top = partial.what_is_there(lambda: opened(mended))  # noqa: B023 - called at once
        if top is None:
            return partial.whitened(whole, size, map(strips.box, bad)), share
        if top // strips.rows in bad:
            break
        bad.add(top // strips.rows)
        if (share := strips.share_without(bad)) < least:
            break
    return None, 0


def _strips(data: bytes, size: Size) -> _Strips | None:
    """Return the strips of the first directory of an upright TIFF with all channels in each strip."""
    found, tags = tiff.layout(data), next(tiff.directories(data), {})
    offsets, counts, rows = tags.get(tiff.OFFSETS, ()), tags.get(tiff.COUNTS, ()), tags.get(_ROWS, (0,))[0]
    if found is None or found.big or tags.get(tiff.PLANES, (1,)) != (1,) or tags.get(_ORIENTATION, (1,)) != (1,):
        return None
    if not rows or len(offsets) != len(counts) or len(offsets) != -(-size[1] // rows) or len(offsets) < 2:
        return None
    places: dict[int, tuple[int, str]] = {}
    (entries,) = struct.unpack_from(f"{found.order}H", data, found.first)
    for entry in range(found.first + 2, found.first + 2 + 12 * entries, 12):
        tag, kind, values, place = struct.unpack_from(f"{found.order}HHII", data, entry)
        if tag in (tiff.OFFSETS, tiff.COUNTS) and kind in (3, 4):
            width = 2 if kind == 3 else 4
            places[tag] = (place if width * values > 4 else entry + 8, f"{found.order}{'H' if kind == 3 else 'I'}")
    if len(places) < 2:
        return None
    return _Strips(data, size, rows, offsets, counts, (places[tiff.OFFSETS], places[tiff.COUNTS]))
