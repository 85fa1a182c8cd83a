"""Name the kinds of accepted formats that no decoder here knows, so that a sound file is not called damaged (pure)."""

from __future__ import annotations

import re

from llava_gateway.images import sniff, tiff

_FRAME = re.compile(rb"\xff([\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7])..(.)", re.DOTALL)
_LOSSLESS = b"\xc3\xc5\xc6\xc7\xcb\xcd\xce\xcf\xf7"
"""The frame headers of lossless and hierarchical JPEG, and of JPEG-LS."""
_ITEM = re.compile(rb"infe[\2\3].{3}(?:.{4}|.{6})(unci|vvc1|evc1|avc1|j2k1|jpeg)", re.DOTALL)
_CODECS = {b"unci": "uncompressed", b"vvc1": "VVC", b"evc1": "EVC", b"avc1": "AVC", b"j2k1": "JPEG 2000", b"jpeg": "JPEG"}
_BMP_COMPRESSIONS = {4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK", 13: "CMYK"}


def unreadable_kind(data: bytes) -> str | None:
    """Return the kind of a file of an accepted format if no decoder here knows that kind."""
    match sniff.sniff(data):
        case "JPEG":
            return _of_jpeg(data)
        case "HEIC" if b"hvc1" not in data[:65536] and (item := _ITEM.search(data[:65536])):
            return f"compression {_CODECS[item[1]]}"
        case "BMP" if len(data) > 34 and data[14] >= 40 and (name := _BMP_COMPRESSIONS.get(int.from_bytes(data[30:34], "little"))):
            return f"compression {name}"
        case "PSD" if len(data) > 26 and data[23] in (1, 16, 32):
            return tiff.depth(data[23])
    return None


def _of_jpeg(data: bytes) -> str | None:
    """Read the frame header, which follows other segments (ITU-T T.81, B.1.1)."""
    at = 2
    while at + 5 < len(data) and data[at] == 0xFF:
        if found := _FRAME.match(data, at):
            if found[1] in _LOSSLESS:
                return "lossless"
            return tiff.depth(found[2][0]) if found[2][0] != 8 else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
