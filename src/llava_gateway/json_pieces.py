"""Encode JSON piece by piece (pure): Python's encoder lets no other thread run until it has finished, so one call must stay short."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PIECE = 64 * 1024
"""Approximate characters of a piece, which take less than a millisecond to encode."""


def json_pieces(value: Any) -> Iterator[bytes]:
    """Yield the JSON of a value as UTF-8, without spaces and without escapes for non-ASCII letters.

    Raises ValueError for NaN and infinite numbers, TypeError for other values that JSON can't hold.
    """
    return in_pieces(_parts(value))


def in_pieces(parts: Iterable[str]) -> Iterator[bytes]:
    """Join short parts to pieces of about PIECE characters, and yield them as UTF-8."""
    waiting: list[str] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PIECE:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting).encode()


def _parts(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value) > PIECE:
            yield '"'
            for at in range(0, len(value), PIECE):
                yield _dumps(value[at : at + PIECE])[1:-1]
            yield '"'
        case Mapping():
            between = "{"
            for name, inner in value.items():
                yield f"{between}{_dumps(str(name))}:"
                yield from _parts(inner)
                between = ","
            yield "}" if value else "{}"
        case list() | tuple():
            between = "["
            for inner in value:
                yield between
                yield from _parts(inner)
                between = ","
            yield "]" if value else "[]"
        case _:
            yield _dumps(value)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
