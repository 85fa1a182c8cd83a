"""Check a PNG chunk by chunk, and mend what a browser would mend: Pillow refuses some faults and overlooks others (pure)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Chunk: TypeAlias = tuple[bytes, int, int]
"""Its name, and where its data begins and ends in the file."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Channels by colour type; 1 for all others."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced PNG as (first column, first row, step across, step down)."""
_INFLATED_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class Mended:
    """A PNG in which every chunk is whole and has the right checksum.

    Attributes:
        data: the file; the original one if nothing was wrong.
        ended: whether the original ended with its end marker.
        wrong: names of the chunks with a wrong checksum. Those that only describe the pixels were left out.
        sound: whether the chunks without which the pixels mean nothing are whole.
    """

    data: bytes
    ended: bool = True
    wrong: tuple[str, ...] = ()
    sound: bool = True


def mended(data: bytes) -> Mended:
    """Leave out the chunks that a browser ignores, and end the file where its last whole chunk ends.

    Pixels behind a wrong checksum count as missing, unless the compressed data's own checksum is right. Pillow verifies only the checksums
    of some chunks, and raises for them.
    """
    whole = list(_chunks(data))
    ended = bool(whole) and whole[-1][0] == b"IEND"
    wrong = [chunk for chunk in whole if not _is_right(data, chunk)]
    if ended and not wrong:
        return Mended(data)
    names = tuple(dict.fromkeys(name.decode("latin-1") for name, _, _ in wrong))
    if any(name in (b"IHDR", b"PLTE") for name, _, _ in wrong):
        return Mended(data, ended, names, sound=False)
    kept = [chunk for chunk in whole if chunk not in wrong or chunk[0] == b"IDAT"]
    if any(name == b"IDAT" for name, _, _ in wrong) and not _is_intact(data, kept):
        first = next(begin for name, begin, _ in wrong if name == b"IDAT")
        kept = [chunk for chunk in kept if chunk[0] != b"IDAT" or chunk[1] < first]
    parts = [_packed(name, data[begin:end]) for name, begin, end in kept if name != b"IEND"]
    if not ended and (rest := _cut_pixels(data, whole)):
        parts.append(_packed(b"IDAT", rest))
    return Mended(b"".join([SIGNATURE, *parts, _packed(b"IEND", b"")]), ended, names)


def find(data: bytes, name: bytes) -> bytes | None:
    """Return the data of the first chunk of this name before the pixels; None if there is none."""
    for found, begin, end in _chunks(data):
        if found == name:
            return data[begin:end]
        if found == b"IDAT":
            return None
    return None


def is_short(data: bytes) -> bool:
    """Return whether a PNG's compressed data, though intact, has fewer pixels than the header says (PNG specification, 8 and 9)."""
    width, height, bits, colour, _, _, interlaced = tuple[int, ...](struct.unpack_from(">IIBBBBB", data, 16))
    pixel = bits * _CHANNELS.get(colour, 1)
    passes = _PASSES if interlaced else [(0, 0, 1, 1)]
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    expected = sum(rows * (1 + (columns * pixel + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)
    return _inflated(data, expected) < expected


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the whole chunks up to the end marker, which may lack its checksum."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if name == b"IEND":
            yield name, at + 8, at + 8
            return
        if end + 4 > len(data) or not name.isalpha():
            return
        yield name, at + 8, end
        at = end + 4


def _is_right(data: bytes, chunk: Chunk) -> bool:
    name, begin, end = chunk
    return name == b"IEND" or zlib.crc32(memoryview(data)[begin - 4 : end]) == int.from_bytes(data[end : end + 4])


def _packed(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _cut_pixels(data: bytes, whole: list[Chunk]) -> bytes:
    """Return the compressed pixels behind the last whole chunk of a file that is cut off within them."""
    at = whole[-1][2] + 4 if whole else 8
    return data[at + 8 :] if data[at + 4 : at + 8] == b"IDAT" and len(data) < at + 12 + int.from_bytes(data[at : at + 4]) else b""


def _is_intact(data: bytes, chunks: list[Chunk]) -> bool:
    """Return whether the compressed pixels end where they should and have the right checksum of their own."""
    inflater = zlib.decompressobj()
    try:
        for _, begin, end in (chunk for chunk in chunks if chunk[0] == b"IDAT"):
            left = data[begin:end]
            while left:
                inflater.decompress(left, _INFLATED_AT_ONCE)
                left = inflater.unconsumed_tail
    except zlib.error:
        return False
    return inflater.eof


def _inflated(data: bytes, most: int) -> int:
    """Count the bytes of the decompressed pixels; stops once it has found `most`."""
    inflater, found = zlib.decompressobj(), 0
    for _, begin, end in (chunk for chunk in _chunks(data) if chunk[0] == b"IDAT"):
        left = data[begin:end]
        while left and found < most and not inflater.eof:
            found += len(inflater.decompress(left, _INFLATED_AT_ONCE))
            left = inflater.unconsumed_tail
    return found
