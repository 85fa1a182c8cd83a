"""Base64 as people send it (data: URLs, line breaks, URL-safe letters, no padding) to bytes."""

from __future__ import annotations

import base64
import binascii

from llava_gateway.errors import ImageError, InvalidBase64Image

_WHITESPACE = b" \t\r\n\f\v"
_MOST_WRAPPINGS = 4
_STEP = 4 * 64 * 1024
"""Characters that are decoded in one go: no other thread runs meanwhile."""
_STANDARD = bytes.maketrans(b"-_", b"+/")


def decode_base64(text: str) -> bytes:
    """The bytes of an image sent as base64 or as a `data:` URL; the media type in the URL is not looked at, the content decides.

    Whitespace, the URL-safe alphabet and missing padding are accepted, a second data: prefix, and what Python makes of bytes
    (`b'...'`). Anything else that is not base64 is refused: plain `b64decode` drops such characters and hands back a damaged file.

    Raises InvalidBase64Image, ImageError `empty_image_file`.
    """
    text = _bare(text)
    try:
        steps = range(0, len(text), _STEP)
        packed = b"".join(text[at : at + _STEP].encode("ascii").translate(_STANDARD, _WHITESPACE) for at in steps).rstrip(b"=")
        if b"=" in packed:
            raise InvalidBase64Image
        packed += b"=" * (-len(packed) % 4)
        data = b"".join(base64.b64decode(packed[at : at + _STEP], validate=True) for at in range(0, len(packed), _STEP))
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidBase64Image from None
    if not data:
        raise ImageError(code="empty_image_file")
    return data


def _bare(text: str) -> str:
    """The base64 without what is around it. Programs that put a data: prefix before what has one, or make a text of bytes, are common."""
    for _ in range(_MOST_WRAPPINGS):
        text = text.strip()
        if text[:5].lower() == "data:":
            head, comma, text = text.partition(",")
            if not comma or not head.lower().endswith(";base64"):
                raise InvalidBase64Image("data_url_not_base64")
        elif text[:2] in ("b'", 'b"') and text[-1] == text[1]:
            text = text[2:-1].replace("\\n", "")
        else:
            break
    return text
