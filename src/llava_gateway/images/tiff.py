"""Read the directories of a TIFF, or of a camera raw file that is laid out like one (pure)."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Tags: TypeAlias = Mapping[int, tuple[int, ...]]
"""The whole numbers of a directory, by tag. Tags of other types are left out."""

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, SAMPLES, COUNTS = 254, 256, 257, 258, 259, 262, 273, 277, 279
PLANES, PREDICTOR, TILE_WIDTH, TILE_OFFSETS, TILE_COUNTS, SUB_DIRECTORIES, SAMPLE_FORMAT = 284, 317, 322, 324, 325, 330, 339
_MAGIC = (b"*\0", b"\0*", b"+\0", b"\0+", b"RO", b"OR", b"RS", b"U\0")
"""TIFF, BigTIFF, and the raw files of Olympus and Panasonic."""
_FORMATS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 6: ("b", 1), 8: ("h", 2), 9: ("i", 4), 13: ("I", 4), 16: ("Q", 8), 18: ("Q", 8)}
"""The struct format and the bytes of each type of whole number."""
_MOST_DIRECTORIES = 32
_MOST_IN_CHAIN = 10_000
"""Directories of a chain that are read; a longer one is a fault, or never ends."""
_REDUCED, _MASK = 1, 4
"""Kinds of subfile that are no pages: a reduced copy of a page, and a mask for one."""
_MOST_ENTRIES = 256
_MOST_VALUES = 200_000
_COMPRESSIONS = {
    1: "none",
    2: "CCITT",
    3: "fax group 3",
    4: "fax group 4",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_COLOURS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab", 32803: "raw sensor data"}
_SAMPLES = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


@dataclass(frozen=True, slots=True)
class Layout:
    """The byte order of a TIFF, whether it is a BigTIFF, and the offset of its first directory."""

    order: str
    big: bool
    first: int


def layout(data: bytes) -> Layout | None:
    """Return the layout of a TIFF, or of a raw file that is laid out like one; None for any other file."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16 or data[2:4] not in _MAGIC:
        return None
    big = data[2:4] in (b"+\0", b"\0+")
    return Layout(order, big, struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0])


def directories(data: bytes, most_values: int = _MOST_VALUES, wanted: Container[int] | None = None) -> Iterator[Tags]:
    """Yield the directories of a TIFF, each followed by its subdirectories. Leaves out tags with more values than `most_values`, and those
    that are not `wanted` (None: all are).
    """
    found = layout(data)
    if found is None:
        return
    waiting, seen = [found.first], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen or not 8 <= at < len(data) - 2:
            continue
        seen.add(at)
        try:
            tags, after = _directory(data, at, found, most_values, wanted)
        except struct.error:
            continue
        yield tags
        waiting = [*tags.get(SUB_DIRECTORIES, ()), *waiting, after]


def pages(data: bytes, most: int = _MOST_IN_CHAIN) -> list[int]:
    """Return the places of the pages in the chain of directories: of the first one, and of all but reduced copies and masks.

    The chain ends after `most` directories, where it comes back to one, and at one that is not there, which counts as a page.
    """
    found = layout(data)
    at, places, seen = found.first if found else 0, list[int](), set[int]()
    while found and at and at not in seen and len(seen) < most:
        try:
            tags, after = _directory(data, at, found, 1, {SUBFILE})
        except struct.error:
            tags, after = {}, 0
        if not seen or not tags.get(SUBFILE, (0,))[0] & (_REDUCED | _MASK):
            places.append(len(seen))
        seen.add(at)
        at = after
    return places


def _directory(data: bytes, at: int, found: Layout, most_values: int, wanted: Container[int] | None) -> tuple[Tags, int]:
    """Return the tags of the directory at this offset, and the offset of the next one. Raises struct.error."""
    order, count_format, entry_format = found.order, "Q" if found.big else "H", "HHQQ" if found.big else "HHII"
    if at > len(data):  # more than struct takes, in a BigTIFF
        raise struct.error
    (count,) = struct.unpack_from(order + count_format, data, at)
    at += struct.calcsize(order + count_format)
    size = struct.calcsize(order + entry_format)
    inline = 8 if found.big else 4
    tags: dict[int, tuple[int, ...]] = {}
    read = struct.Struct(order + entry_format).unpack_from
    for entry in range(at, at + size * min(count, _MOST_ENTRIES), size):
        tag, kind, values, offset = read(data, entry)
        if kind in _FORMATS and values <= most_values and (wanted is None or tag in wanted):
            name, width = _FORMATS[kind]
            place = entry + size - inline if width * values <= inline else offset
            if place + width * values <= len(data):
                tags[tag] = struct.unpack_from(f"{order}{values}{name}", data, place)
    end = at + size * count
    (after,) = struct.unpack_from(f"{order}{'Q' if found.big else 'I'}", data, end) if end + inline <= len(data) else (0,)
    return tags, after


def is_there(data: bytes, tags: Tags) -> bool:
    """Return whether the file has all the pixels that a directory names."""
    places = zip(tags.get(OFFSETS, tags.get(TILE_OFFSETS, ())), tags.get(COUNTS, tags.get(TILE_COUNTS, ())), strict=False)
    ends = [place + count for place, count in places if place]
    return bool(ends) and max(ends) <= len(data)


def depth(bits: int) -> str:
    """Describe how many bits a channel has: '16 bits per channel'."""
    return f"{bits} {'bit' if bits == 1 else 'bits'} per channel"


def kind_of(tags: Tags) -> str:
    """Describe what a directory has: its colours, its bits and its compression."""
    bits, sample = tags.get(BITS, (1,)), tags.get(SAMPLE_FORMAT, (1,))
    colours = _COLOURS.get(tags.get(PHOTOMETRIC, (1,))[0], "unknown colours")
    compression = tags.get(COMPRESSION, (1,))[0]
    parts = [colours, depth(bits[0])]
    parts += [_SAMPLES[sample[0]]] if sample[0] in _SAMPLES else []
    parts += ["separate planes"] if tags.get(PLANES, (1,))[0] == 2 else []
    parts += [f"compression {_COMPRESSIONS.get(compression, compression)}"] if compression != 1 else []
    return ", ".join(parts)
