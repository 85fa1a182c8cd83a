"""Recognise the format of a file, and whether its end is missing, without decoding it."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Literal, TypeAlias

from llava_gateway.images.raw import is_raw

Format: TypeAlias = Literal[
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC", "RAW", "JPEG2000", "PSD", "ICO", "TGA", "PPM", "SVG"
]

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_CONTAINER = {b"mif1", b"msf1", b"miaf"}
_ISOBMFF_BOXES = {b"ftyp", b"meta", b"moov", b"mdat", b"moof", b"free", b"skip", b"uuid"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_PPM = re.compile(rb"P[1-6f](?>\s+|#[^\n]*\n)++\d")
_TGA_BITS = {1: (8,), 2: (15, 16, 24, 32), 3: (8, 16), 9: (8,), 10: (15, 16, 24, 32), 11: (8, 16)}
"""The bits per pixel of each kind of TGA."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SVG = re.compile(
    r"(?>\s+|<\?(?>.*?\?>)|<!--(?>.*?-->)|<!DOCTYPE[^\[>]*+(?>\[(?>.*?\]\s*>)|>))*+<(?:[\w.-]{1,40}:)?svg[\s>/]", re.DOTALL | re.IGNORECASE
)
"""The beginning of an SVG: the root may follow comments, instructions and a document type."""
_LOOKED_AT = 16_384
"""Bytes of a file, or characters of its text, in which a header that may follow comments is looked for."""


def sniff(data: bytes) -> Format | None:
    """Return the format by content, or None if it is not on the list. File names and media types don't count."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if is_raw(data):
        return "RAW"
    if data.startswith(TIFF):
        return "TIFF"
    # Plain text may also begin with "BM"; the length of the header that follows decides.
    if data[:2] == b"BM" and len(data) >= 18 and struct.unpack_from("<I", data, 14)[0] in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        return _sniff_isobmff(data)
    if data.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if data.startswith(b"8BPS\0\1"):
        return "PSD"
    if _PPM.match(data, 0, _LOOKED_AT):
        return "PPM"
    # An icon's entries follow its number of images; each has a reserved byte of 0.
    if data.startswith(b"\0\0\1\0") and len(data) >= 22 and data[4:6] != b"\0\0" and data[9] == 0:
        return "ICO"
    if _is_tga(data):
        return "TGA"
    return "SVG" if _is_svg(data) else None


def _is_svg(data: bytes) -> bool:
    """Return whether a file is an SVG, as text of any encoding or packed with gzip."""
    head = data[:_LOOKED_AT]
    if head.startswith(b"\x1f\x8b\x08"):
        try:
            head = zlib.decompressobj(31).decompress(head, _LOOKED_AT)
        except zlib.error:
            return False
    wide = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(head[:2])
    text = head.decode(wide or "latin-1", "ignore").removeprefix("\ufeff").removeprefix("\xef\xbb\xbf")
    return _SVG.match(text) is not None


def _is_tga(data: bytes) -> bool:
    """Return whether the header is one of a TGA, which has no signature: a colour map where it needs one, a size, bits per pixel."""
    if len(data) < 19:
        return False
    has_map, kind, map_start, map_length, map_bits = struct.unpack_from("<BBHHB", data, 1)
    width, height, bits, flags = struct.unpack_from("<HHBB", data, 12)
    if not width or not height or flags & 0xC0 or kind not in _TGA_BITS or bits not in _TGA_BITS[kind]:
        return False
    if kind in (1, 9):
        return bool(has_map == 1 and map_bits in (15, 16, 24, 32) and 0 < map_length <= 256 and map_start < map_length)
    return (has_map, map_start, map_length, map_bits) == (0, 0, 0, 0)


def _sniff_isobmff(data: bytes) -> Format | None:
    """Tell AVIF from HEIC by the brands in `ftyp`: a major brand, a version and compatible brands (ISO 14496-12, 4.3)."""
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
    """Return the fraction of the file that is present (below 1: its end is missing), or None if the file does not state its length."""
    match kind:
        case "WEBP":
            whole = struct.unpack_from("<I", data, 4)[0] + 7  # not 8: some writers count a padding byte but don't write it
        case "BMP":
            whole = struct.unpack_from("<I", data, 2)[0]
        case "AVIF" | "HEIC":
            whole = _boxes_end(data)
        case _:
            return None
    return min(1.0, len(data) / whole) if whole else None


def _boxes_end(data: bytes) -> int:
    """Return the offset at which the last top-level box ends. Data behind the boxes, which phones add, is no part of the image."""
    at = 0
    while at + 8 <= len(data) and data[at + 4 : at + 8] in _ISOBMFF_BOXES:
        size = int(struct.unpack_from(">I", data, at)[0])
        if size == 1 and at + 16 <= len(data):
            size = int(struct.unpack_from(">Q", data, at + 8)[0])
        # 0 means "to the end of the file"; any other size below 8 is not a box, and the decoder will raise.
        if size < 8:
            return len(data)
        at += size
    return at


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Read (width, height) in pixels from a WebP header (RFC 9649); None if it is too short or unknown.

    Pillow allocates memory for the whole canvas as soon as it opens a WebP, so its size must be checked before.
    """
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


def webp_whole(data: bytes) -> bytes | None:
    """Return a WebP that is cut off behind its first image as a file that ends there; None if the file is whole or lacks pixels."""
    said = int.from_bytes(data[4:8], "little") + 8
    if said <= len(data) + 1:  # some writers count a padding byte but don't write it
        return None
    at = last = 12
    names = set()
    while at + 8 <= len(data) and (end := at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")) <= len(data):
        names.add(data[at : at + 4])
        at = end + end % 2
        last = end
    if not names & {b"VP8 ", b"VP8L", b"ANMF"}:
        return None
    body = data[8:last] + bytes(last % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body
