"""Parses JSON bodies strictly, within limits, and in steps.

Python's parser runs no other thread until it ends, so even in its own thread it would block the event loop. It spends most of its time on
long texts (the base64 of a photo has megabytes). Therefore these are taken out, read piece by piece and put back.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import secrets
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from pydantic_core import from_json

from llava_gateway.api.charset import is_utf16
from llava_gateway.api.threads import LARGE
from llava_gateway.errors import BodyTooLarge, InvalidJSON, InvalidRequest

MAX_DEPTH = 64
LONG_TEXT = 1024
"""A text with at least this many bytes is taken out."""
_STEP = 256 * 1024
"""Bytes that are read in one step: this takes a millisecond or two."""
_QUICK, _FEW = 1024 * 1024, 256
"""Most bytes and texts of a document that is parsed quickly."""
_NUMBER_MAX_CHARS = 1000
_CONTROLS = bytes(range(32))
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_COLON = re.compile(rb"[ \t\r\n]*+:")
_WHOLE_ESCAPES = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4})*+", re.DOTALL
)
"""The longest prefix of a text that ends neither inside an escape nor inside a surrogate pair."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a document: `values` (strings, lists, objects and commas), `size` in bytes without its long texts, and `text`, the
    bytes of the longest text. Joining a text is one step that blocks all other threads: 100 MB take 60 to 250 ms.
    """

    values: int
    size: int
    text: int = 64 * 1024 * 1024


OF_A_BODY = Bounds(50_000, 8 * 1024 * 1024)
"""More than any field needs: each value takes tens of bytes of memory and blocks everyone for a moment."""
OF_AN_ARCHIVE = Bounds(1_000_000, 64 * 1024 * 1024)


def parse_json(raw: bytes, field: str | None = None, bounds: Bounds = OF_A_BODY) -> Any:
    """Parse strict JSON: UTF-8, finite numbers, no duplicate keys, no NUL or lone surrogate, at most MAX_DEPTH deep, within `bounds`. Skips
    a byte order mark, which PowerShell and Notepad write.

    Args:
        field: the field that contains it; None for a body.

    Raises InvalidJSON, BodyTooLarge for a text that is too long, and InvalidRequest if a field's name is a long text.
    """
    what = {"what": field} if field else {}
    if is_utf16(raw):
        raise InvalidJSON("json_utf16", values=what)
    try:
        short, texts = _without_long_texts(raw, what, bounds) if len(raw) > min(bounds.values, _STEP) else (raw, {})
        text = short.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidJSON("json_not_utf8", values=what) from None
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError:
        raise InvalidJSON("json_too_deep", values=what) from None
    except ValueError as error:
        raise InvalidJSON("json_syntax", values={**what, **_place(error, exact=not texts)}) from None
    return _whole(value, texts, 0)


def is_quickly_parsed(raw: bytes) -> bool:
    """Return whether parsing takes a millisecond or two at most, although the document may be large: nearly all of it is a few plain texts
    (a question with an image). Takes microseconds.
    """
    if len(raw) > _QUICK or b"\\" in raw:
        return False
    at = outside = 0
    for _ in range(_FEW):
        begin = raw.find(b'"', at)
        outside += (len(raw) if begin < 0 else begin) - at
        if outside > LARGE:
            return False
        at = raw.find(b'"', begin + 1) + 1
        if begin < 0 or at == 0:
            return True
    return False


def check_string(text: str) -> None:
    """Check that engines and logs can take this string. Raises InvalidJSON."""
    if "\0" in text:
        raise InvalidJSON("json_nul")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidJSON("json_surrogate") from None


def _no_constant(name: str) -> NoReturn:
    raise InvalidJSON("json_constant", values={"name": name})


def _finite(text: str) -> float:
    if len(text) > _NUMBER_MAX_CHARS:
        raise InvalidJSON("json_long_number", values={"number": text[:40]})
    if math.isinf(number := float(text)):
        raise InvalidJSON("json_large_number", values={"number": text[:40]})
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidJSON("json_field_twice")
    return found


def _place(error: ValueError, *, exact: bool) -> dict[str, int]:
    """Return the position of the error; the column is unknown if texts were taken out before it."""
    if not isinstance(error, json.JSONDecodeError):
        return {}
    return {"line": error.lineno, "column": error.colno} if exact else {"line": error.lineno}


def _without_long_texts(raw: bytes, what: dict[str, str], bounds: Bounds) -> tuple[bytes, dict[str, str]]:
    """Replace each long text with a mark. Returns (document, texts by their marks).

    Raises InvalidJSON, InvalidRequest, BodyTooLarge.
    """
    secret = secrets.token_hex(16)  # so that no text in the document can look like a mark
    kept: list[bytes] = []
    texts: dict[str, str] = {}
    at = copied = values = 0
    while (begin := raw.find(b'"', at)) >= 0:
        end, escaped = _closing(raw, begin + 1)
        if end < 0:
            raise InvalidJSON("json_open_text", values=what)
        values += 1 + _separators(raw, at, begin)
        if values > bounds.values:
            break
        at = end + 1
        if end - begin > LONG_TEXT:
            if _COLON.match(raw, at, at + _STEP):
                name = raw[begin + 1 : begin + 65].decode("utf-8", "replace")
                raise InvalidRequest("no_field", code="unknown_field", param=name)
            if end - begin > bounds.text:
                raise BodyTooLarge("json_text_bytes", values={**what, "most_bytes": bounds.text})
            mark = f"{secret}{len(texts)}"
            kept += (raw[copied : begin + 1], mark.encode())
            texts[mark] = _escaped_text(raw, begin + 1, end, what) if escaped else _plain_text(raw, begin + 1, end, what)
            copied = end
    if values + _separators(raw, at, len(raw)) > bounds.values:
        raise InvalidJSON("json_values", values={**what, "most": bounds.values})
    kept.append(raw[copied:])
    if sum(map(len, kept)) > bounds.size:
        raise InvalidJSON("json_bytes", values={**what, "most_bytes": bounds.size})
    return b"".join(kept), texts


def _separators(raw: bytes, begin: int, end: int) -> int:
    """Count the commas and opening brackets of a part without texts."""
    if end - begin <= _STEP:
        return raw.count(b",", begin, end) + raw.count(b"[", begin, end) + raw.count(b"{", begin, end)
    return sum(_separators(raw, at, min(at + _STEP, end)) for at in range(begin, end, _STEP))


def _closing(raw: bytes, begin: int) -> tuple[int, bool]:
    """Find the end of the text that begins here. Returns (index, or -1 if it never ends; whether it contains escapes)."""
    end = raw.find(b'"', begin)
    if raw.find(b"\\", begin, len(raw) if end < 0 else end) < 0:
        return end, False
    at = begin
    while at < len(raw):
        step = _TEXT.match(raw, at, at + _STEP)
        end = step.end() if step else at
        if raw[end : end + 1] == b'"':
            return end, True
        if end == at:
            break
        at = end
    return -1, True


def _plain_text(raw: bytes, begin: int, end: int, what: dict[str, str]) -> str:
    """Read a text without escapes. Raises InvalidJSON, UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    found = []
    for at in range(begin, end, _STEP):
        part = raw[at : min(at + _STEP, end)]
        cut_letter = decoder.getstate()[0]  # the beginning of a letter at the end of the previous part
        text = None if cut_letter else _ascii_text(part)
        if text is None:
            if len(part.translate(None, _CONTROLS)) < len(part):
                raise InvalidJSON("json_control_character", values=what)
            text = decoder.decode(part, final=at + _STEP >= end)
        found.append(text)
    return "".join(found)


def _ascii_text(part: bytes) -> str | None:
    """Read a part of a text without escapes, if it is ASCII and valid in JSON. This parser finds control characters ten times as fast
    as Python code would, and a photo is a long text.
    """
    if not part.isascii():
        return None
    try:
        return cast("str", from_json(b'"%b"' % part, cache_strings=False))
    except ValueError:
        return None


def _escaped_text(raw: bytes, begin: int, end: int, what: dict[str, str]) -> str:
    """Read a text with escapes, in parts that never end inside an escape. Raises InvalidJSON, UnicodeDecodeError."""
    found = []
    at = begin
    while at < end:
        cut = _cut(raw, at, at + _STEP) if at + _STEP < end else end
        try:
            part: str = json.loads(f'"{raw[at:cut].decode()}"')
        except json.JSONDecodeError:
            raise InvalidJSON("json_escape", values=what) from None
        check_string(part)
        found.append(part)
        at = cut
    return "".join(found)


def _cut(raw: bytes, begin: int, end: int) -> int:
    """Return the last index up to `end` at which a text with escapes can be split; `end` itself if there is none, since the text is not
    JSON then.
    """
    whole = _WHOLE_ESCAPES.match(raw, begin, end)
    cut = whole.end() if whole else begin
    for _ in range(3):  # no UTF-8 character has more continuation bytes
        if begin < cut < len(raw) and 0x80 <= raw[cut] < 0xC0:
            cut -= 1
    return cut if cut > begin else end


def _whole(value: Any, texts: dict[str, str], depth: int) -> Any:
    """Put the long texts back in place of their marks. Rejects strings that engines or logs can't take, at any depth."""
    if depth > MAX_DEPTH:
        raise InvalidJSON("json_too_deep")
    match value:
        case str():
            if value in texts:
                return texts[value]
            check_string(value)
        case dict():
            for key, inner in value.items():
                check_string(key)
                value[key] = _whole(inner, texts, depth + 1)
        case list():
            value[:] = (_whole(inner, texts, depth + 1) for inner in value)
    return value
