"""What the bytes of a file say of themselves without being decoded: the format, and whether the end is missing."""

from __future__ import annotations

import struct
import zlib
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"]

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_CONTAINER = {b"mif1", b"msf1", b"miaf"}
_ISOBMFF_BOXES = {b"ftyp", b"meta", b"moov", b"mdat", b"moof", b"free", b"skip", b"uuid"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_PNG_CHANNELS = {2: 3, 4: 2, 6: 4}
"""By colour type; one for all others."""
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced one: its first column and row, and the steps to the next ones."""
_INFLATED_AT_ONCE = 2**20
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def sniff(data: bytes) -> Format | None:
    """The format by content, None for whatever is not on the list. Names and media types are never asked."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(_TIFF):
        return "TIFF"
    # "BM" alone is also how plain text may begin; the length of the header that follows settles it.
    if data[:2] == b"BM" and len(data) >= 18 and struct.unpack_from("<I", data, 14)[0] in _BMP_HEADERS:
        return "BMP"
    return _sniff_isobmff(data) if data[4:8] == b"ftyp" else None


def _sniff_isobmff(data: bytes) -> Format | None:
    """AVIF and HEIC share a container: `ftyp` holds a major brand, a version and compatible brands (ISO 14496-12, 4.3)."""
    end = min(struct.unpack_from(">I", data)[0], len(data), 512)
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))]
    if brands[0] not in _AVIF | _HEIC | _HEIF_CONTAINER:
        return None
    for brand in brands:
        if brand in _AVIF:
            return "AVIF"
        if brand in _HEIC:
            return "HEIC"
    return "HEIC" if brands[0] in _HEIF_CONTAINER else None


def present(data: bytes, kind: Format) -> float | None:
    """Which part of the file is there (below 1: its end is missing), None where the file does not say how long it should be."""
    match kind:
        case "WEBP":
            whole = struct.unpack_from("<I", data, 4)[0] + 7  # some writers count a padding byte that they leave out
        case "BMP":
            whole = struct.unpack_from("<I", data, 2)[0]
        case "AVIF" | "HEIC":
            whole = _boxes_end(data)
        case _:
            return None
    return min(1.0, len(data) / whole) if whole else None


def _boxes_end(data: bytes) -> int:
    """Where the last top-level box says that it ends; what follows the boxes (phones put things there) is no part of the image."""
    at = 0
    while at + 8 <= len(data) and data[at + 4 : at + 8] in _ISOBMFF_BOXES:
        size = int(struct.unpack_from(">I", data, at)[0])
        if size == 1 and at + 16 <= len(data):
            size = int(struct.unpack_from(">Q", data, at + 8)[0])
        # 0 is "to the end of the file"; anything else below 8 is not a box, and the decoder will say so.
        if size < 8:
            return len(data)
        at += size
    return at


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from a WebP header (RFC 9649): Pillow's decoder takes memory for the whole canvas as soon as it is opened."""
    if len(data) < 30:
        return None
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def png_fault(data: bytes) -> Literal["cut", "damaged"] | None:
    """Whether a PNG ends in the middle of a chunk, or a chunk that matters fails its checksum, which Pillow does not look at."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if kind == b"IEND":
            return None
        if end + 4 > len(data):
            return "cut"
        # An upper-case first letter makes a chunk critical (PNG specification, 5.4).
        if kind[:1].isupper() and zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return "damaged"
        at = end + 4
    return "cut"


def png_is_short(data: bytes) -> bool:
    """Whether a PNG's compressed data, itself whole, has fewer pixels than the header says (PNG specification, 8 and 9)."""
    width, height, bits, colour, _, _, interlaced = tuple[int, ...](struct.unpack_from(">IIBBBBB", data, 16))
    pixel = bits * _PNG_CHANNELS.get(colour, 1)
    passes = _PNG_PASSES if interlaced else [(0, 0, 1, 1)]
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    expected = sum(rows * (1 + (columns * pixel + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)
    return _png_inflated(data, expected) < expected


def _png_inflated(data: bytes, most: int) -> int:
    """Bytes that the pixels have, counted no further than `most`."""
    inflater, found, at = zlib.decompressobj(), 0, 8
    while at + 8 <= len(data) and found < most:
        length, kind = struct.unpack_from(">I4s", data, at)
        left = data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while left and found < most and not inflater.eof:
            found += len(inflater.decompress(left, _INFLATED_AT_ONCE))
            left = inflater.unconsumed_tail
        at += length + 12
    return found
