"""JSON in pieces (pure). Python's encoder lets no other thread run until it is through, so a large value is written part by part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PIECE = 64 * 1024
"""Characters of a piece, about: less than a millisecond's work."""


def json_pieces(value: Any) -> Iterator[bytes]:
    """What `json.dumps` makes of the value, without blanks, and with letters as they are. Raises ValueError for what is no JSON."""
    return in_pieces(_parts(value))


def in_pieces(parts: Iterable[str]) -> Iterator[bytes]:
    """The parts, those that are short put together."""
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
