"""What a file is that is no image we read, as far as its beginning says, and what to send in its place (pure)."""

from __future__ import annotations

import re

from llava_gateway.errors import UnsupportedImageType

_LOOKED_AT = 1024
"""Bytes at the beginning; readers of PDF allow for as many before its first line."""
_AS_PNG = "Export it as PNG, or take a screenshot of it, and send that."
_KINDS: tuple[tuple[str, str, str], ...] = (
    (r"(?s:.*?)%PDF-", "This is a PDF, and PDFs are not read yet", "Export the page as PNG, or take a screenshot of it, and send that."),
    (r"(?s:.*?)<svg[\s>]", "This is an SVG drawing, and those are not read", _AS_PNG),
    (r"\s*(?i:<!doctype html|<html|<head)", "This is a web page, not an image", "Open it in a browser and save the image itself."),
    (
        r"....ftyp(?:isom|iso\d|mp4|avc1|M4V|qt  |3g)",
        "This is a video, and videos are not read",
        "Send an image of it, such as a screenshot.",
    ),
    (r"RIFF....AVI |\x1aE\xdf\xa3", "This is a video, and videos are not read", "Send an image of it, such as a screenshot."),
    (r"PK\x03\x04", "This is a zip or a document, not an image", "Take the image out of it; a page is exported as PNG."),
    (r"\xff\x0a|\0\0\0\x0cJXL ", "This is JPEG XL, which is not read", "Export it as PNG or JPEG."),
    (r"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "This is JPEG 2000, which is not read", "Export it as PNG or JPEG."),
    (r"8BPS", "This is a Photoshop file, which is not read", "Export it as PNG or JPEG."),
    (r"\0\0\x01\0", "This is an icon file, which is not read", "Export it as PNG."),
    (r"FUJIFILMCCD-RAW|....ftypcrx ", "This is a camera's raw file, which is not read", "Send the JPEG beside it, or export it as JPEG."),
    (
        r"(?:b['\"])?(?:data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR)",
        "This is the base64 of an image, not the image",
        "In a form, send the image file itself; in JSON it is base64, encoded once.",
    ),
)


def unread(data: bytes) -> UnsupportedImageType:
    """The error for a file whose format is not on the list."""
    beginning = data[:_LOOKED_AT].decode("latin-1")
    for pattern, message, hint in _KINDS:
        if re.match(pattern, beginning, re.DOTALL):
            return UnsupportedImageType(message, hint=hint)
    return UnsupportedImageType()
