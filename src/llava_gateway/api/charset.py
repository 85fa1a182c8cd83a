"""Texts in the encoding that comes with them; UTF-8 where none is named. What fits neither is refused: a guess is mojibake."""

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
"""Of a Content-Type that are looked at: what reads it takes time for each pair of semicolons."""
_BROADER = {
    "utf_8": "utf_8_sig",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "latin_1": "cp1252",
}
"""Windows and browsers write more letters under these names than their standards have (for UTF-8, a byte order mark)."""
_NO_ENCODINGS = {"idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "utf_7"}
"""Python has them among its encodings of text, but no text is kept in them."""
_MARKS = {
    "utf_16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf_32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""How texts in these begin where they say in which order their bytes are. Where they don't, the lower one is first, as on Windows."""
_STEP = 256 * 1024
"""Bytes that are decoded in one go: no other thread runs meanwhile."""
_KNOWN = {
    aliases.get(name, name) for name in (*aliases, *(module.name for module in pkgutil.iter_modules(encodings.__path__)))
} - _NO_ENCODINGS
"""Python remembers every name that it looks for in vain, so nothing else is looked for."""


def charset_of(content_type: str) -> str | None:
    """The charset that a Content-Type names, None where it names none."""
    message = Message()
    message["Content-Type"] = content_type[:TYPE_MAX_CHARS]
    return message.get_content_charset()


def decode(raw: bytes, charset: str | None, field: str | None = None) -> str:
    """The text of `raw`, which is the value of a field or (None) a whole body. Raises InvalidEncoding."""
    return "".join(_decoded(raw, charset, field))


def as_utf8(raw: bytes, charset: str | None) -> bytes:
    """`raw` in UTF-8, if its charset is named; what should be UTF-8 already is left as it is. Raises InvalidEncoding."""
    if charset is None or charset.replace("_", "-") in ("utf-8", "utf8"):
        return raw
    return b"".join(part.encode() for part in _decoded(raw, charset))


def _decoded(raw: bytes, charset: str | None, field: str | None = None) -> Iterator[str]:
    """The text in parts. Raises InvalidEncoding."""
    what = {"what": field} if field else {}
    try:
        codec = _codec(charset) if charset else "utf_8_sig"
        "".encode(codec)  # raises LookupError for what makes no text
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
    """Whether it begins as UTF-16 does: Windows PowerShell writes files so."""
    return raw.startswith((b"\xff\xfe", b"\xfe\xff"))


def _codec(charset: str) -> str:
    """Python's name of an encoding, or of the one that has more letters. Raises LookupError."""
    plain = re.sub(r"[^a-z0-9.]+", "_", charset.lower())
    name = aliases.get(plain, plain)
    if name not in _KNOWN:
        raise LookupError
    return _BROADER.get(name, name)
