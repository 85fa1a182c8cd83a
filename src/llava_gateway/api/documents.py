"""JSON as it comes in: strict, within bounds, and read in steps.

Python's parser lets no other thread run until it is through, so it would hold up the event loop from a thread of its own too. It takes
most of its time for long texts (a photo in base64 has megabytes), therefore those are taken out, read piece by piece and put back.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import secrets
from dataclasses import dataclass
from typing import Any, NoReturn

from llava_gateway.api.charset import is_utf16
from llava_gateway.errors import InvalidJSON, InvalidRequest

MAX_DEPTH = 64
LONG_TEXT = 1024
"""Bytes from which on a text is taken out."""
_STEP = 256 * 1024
"""Bytes that are read in one go: a millisecond or two."""
_NUMBER_MAX_CHARS = 1000
_CONTROLS = bytes(range(32))
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_COLON = re.compile(rb"[ \t\r\n]*+:")
_CUT = re.compile(rb"[^\\]{12}(?![\x80-\xbf])|\\u(?![dD][89abAB])[0-9a-fA-F]{4}")
"""A text can be cut behind this: no escape is longer than 12 bytes, and neither a letter nor a surrogate pair goes on."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a document may have: `values` (strings, lists, objects and commas), and `size` in bytes beside its long texts."""

    values: int
    size: int


OF_A_BODY = Bounds(50_000, 8 * 1024 * 1024)
"""No field needs more: every value takes tens of bytes of memory and some time of everybody."""
OF_AN_ARCHIVE = Bounds(1_000_000, 64 * 1024 * 1024)


def parse_json(raw: bytes, field: str | None = None, bounds: Bounds = OF_A_BODY) -> Any:
    """Strict JSON: UTF-8, finite numbers, no duplicate keys, no NUL or lone surrogate, at most MAX_DEPTH deep, within its bounds. A byte
    order mark before it is passed over: PowerShell and Notepad write one.

    Args:
        field: what has it; None for a body.

    Raises InvalidJSON, and InvalidRequest where the name of a field is a long text.
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


def check_string(text: str) -> None:
    """Raises InvalidJSON for what no engine or log can take."""
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
    """Where it is wrong; the column is not known where texts were taken out before."""
    if not isinstance(error, json.JSONDecodeError):
        return {}
    return {"line": error.lineno, "column": error.colno} if exact else {"line": error.lineno}


def _without_long_texts(raw: bytes, what: dict[str, str], bounds: Bounds) -> tuple[bytes, dict[str, str]]:
    """The document with a mark in place of each long text, and the texts by their marks. Raises InvalidJSON, InvalidRequest."""
    secret = secrets.token_hex(16)  # so that no text of the document can be a mark
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
    """Commas and opening brackets of a part without texts."""
    if end - begin <= _STEP:
        return raw.count(b",", begin, end) + raw.count(b"[", begin, end) + raw.count(b"{", begin, end)
    return sum(_separators(raw, at, min(at + _STEP, end)) for at in range(begin, end, _STEP))


def _closing(raw: bytes, begin: int) -> tuple[int, bool]:
    """Where the text is closed that begins here, -1 where it never is; and whether there are escapes in it."""
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
    """A text without escapes. Raises InvalidJSON, UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    found = []
    for at in range(begin, end, _STEP):
        part = raw[at : min(at + _STEP, end)]
        if len(part.translate(None, _CONTROLS)) < len(part):
            raise InvalidJSON("json_control_character", values=what)
        found.append(decoder.decode(part, final=at + _STEP >= end))
    return "".join(found)


def _escaped_text(raw: bytes, begin: int, end: int, what: dict[str, str]) -> str:
    """A text with escapes, read in parts that end where none does. Raises InvalidJSON, UnicodeDecodeError."""
    found = []
    at = begin
    while at < end:
        cut = end
        if at + _STEP < end and (safe := _CUT.search(raw, at + _STEP, min(at + 32 * _STEP, end))):
            cut = safe.end()
        elif at + 32 * _STEP < end:
            raise InvalidJSON("json_escapes", values={**what, "most": 32 * _STEP})
        try:
            part: str = json.loads(f'"{raw[at:cut].decode()}"')
        except json.JSONDecodeError:
            raise InvalidJSON("json_escape", values=what) from None
        check_string(part)
        found.append(part)
        at = cut
    return "".join(found)


def _whole(value: Any, texts: dict[str, str], depth: int) -> Any:
    """The value with its long texts in place of their marks. Strings that no engine or log can take are refused, wherever they stand."""
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
