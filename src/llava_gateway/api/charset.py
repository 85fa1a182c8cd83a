"""Decodes texts in the charset that the request names, UTF-8 by default. Rejects text that does not fit: a guess gives mojibake."""

from __future__ import annotations

import codecs
import encodings
import pkgutil
import re
from collections.abc import Iterator
from email.message import Message
from encodings.aliases import aliases

from llava_gateway.errors import InvalidEncoding

TYPE_MAX_CHARS = 1000
"""Characters of a Content-Type that are parsed: parsing takes time for each pair of semicolons."""
_BROADER = {
    "utf_8": "utf_8_sig",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "latin_1": "cp1252",
}
"""Windows and browsers use these names for encodings with more letters than the standards have (for UTF-8, with a byte order mark)."""
_NO_ENCODINGS = {"idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "utf_7"}
"""Python lists these among its text encodings, but no text is stored in them."""
_MARKS = {
    "utf_16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf_32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""Byte order marks of these encodings. Without a mark, little-endian comes first, as on Windows."""
_STEP = 256 * 1024
"""Bytes that are decoded in one step: no other thread runs meanwhile."""
_KNOWN = {
    aliases.get(name, name) for name in (*aliases, *(module.name for module in pkgutil.iter_modules(encodings.__path__)))
} - _NO_ENCODINGS
"""Only these names are looked up, because Python remembers every name that it fails to find."""


def charset_of(content_type: str) -> str | None:
    """Return the charset in a Content-Type, None if there is none."""
    message = Message()
    message["Content-Type"] = content_type[:TYPE_MAX_CHARS]
    return message.get_content_charset()


def decode(raw: bytes, charset: str | None, field: str | None = None) -> str:
    """Decode `raw`: the value of a field or (`field` None) a whole body. Raises InvalidEncoding."""
    return "".join(_decoded(raw, charset, field))


def as_utf8(raw: bytes, charset: str | None) -> bytes:
    """Convert `raw` to UTF-8 if a charset is named. Leaves what should already be UTF-8 as it is. Raises InvalidEncoding."""
    if charset is None or charset.replace("_", "-") in ("utf-8", "utf8"):
        return raw
    return b"".join(part.encode() for part in _decoded(raw, charset))


def _decoded(raw: bytes, charset: str | None, field: str | None = None) -> Iterator[str]:
    """Decode the text in parts. Raises InvalidEncoding."""
    what = {"what": field} if field else {}
    try:
        codec = _codec(charset) if charset else "utf_8_sig"
        "".encode(codec)  # raises LookupError for a codec that does not decode to text
        if codec in _MARKS and not raw.startswith(_MARKS[codec]):
            codec += "_le"
        decoder = codecs.getincrementaldecoder(codec)()
        for at in range(0, max(1, len(raw)), _STEP):
            yield decoder.decode(raw[at : at + _STEP], final=at + _STEP >= len(raw))
    except LookupError:
        raise InvalidEncoding("charset_unknown", values={"charset": (charset or "")[:40]}, param=field) from None
    except UnicodeError:
        if charset:
            raise InvalidEncoding("charset_differs", values={**what, "charset": charset[:40]}, param=field) from None
        reason = "charset_unnamed_utf16" if is_utf16(raw) else "charset_unnamed"
        raise InvalidEncoding(reason, values=what, param=field) from None


def is_utf16(raw: bytes) -> bool:
    """Return whether it begins like UTF-16: Windows PowerShell writes such files."""
    return raw.startswith((b"\xff\xfe", b"\xfe\xff"))


def _codec(charset: str) -> str:
    """Return Python's name of an encoding, or of its superset. Raises LookupError."""
    plain = re.sub(r"[^a-z0-9.]+", "_", charset.lower())
    name = aliases.get(plain, plain)
    if name not in _KNOWN:
        raise LookupError
    return _BROADER.get(name, name)
