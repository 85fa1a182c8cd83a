"""What a file is that is no image we read, as far as its beginning says, and what to send in its place (pure)."""

from __future__ import annotations

import re

from llava_gateway.errors import UnsupportedImageType

_LOOKED_AT = 1024
"""Bytes at the beginning; readers of PDF allow for as many before its first line."""
_KINDS: tuple[tuple[str, str], ...] = (
    (r"(?s:.*?)%PDF-", "file_pdf"),
    (r"(?s:.*?)<svg[\s>]", "file_svg"),
    (r"\s*(?i:<!doctype html|<html|<head)", "file_web_page"),
    (r"....ftyp(?:isom|iso\d|mp4|avc1|M4V|qt  |3g)", "file_video"),
    (r"RIFF....AVI |\x1aE\xdf\xa3", "file_video"),
    (r"PK\x03\x04", "file_zip"),
    (r"\xff\x0a|\0\0\0\x0cJXL ", "file_jpeg_xl"),
    (r"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "file_jpeg_2000"),
    (r"8BPS", "file_photoshop"),
    (r"\0\0\x01\0", "file_icon"),
    (r"FUJIFILMCCD-RAW|....ftypcrx ", "file_raw"),
    (
        r"(?:b['\"])?(?:data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR)",
        "file_base64",
    ),
)


def unread(data: bytes) -> UnsupportedImageType:
    """The error for a file whose format is not on the list."""
    beginning = data[:_LOOKED_AT].decode("latin-1")
    for pattern, reason in _KINDS:
        if re.match(pattern, beginning, re.DOTALL):
            return UnsupportedImageType(reason)
    return UnsupportedImageType()
