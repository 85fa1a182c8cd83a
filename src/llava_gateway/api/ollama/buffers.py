"""Images as Node.js writes bytes: `{"type": "Buffer", "data": [137, 80, ...]}`, a number for each byte.

A body may have far fewer values than a photo has bytes. So such images become base64 before the body is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pybase64 import b64encode

_BEGIN = re.compile(rb'\{\s*"type"\s*:\s*"Buffer"\s*,\s*"data"\s*:\s*\[')
_END = re.compile(rb"\s*\}")
_NUMBERS = b"0123456789, \t\r\n"
_STEP = 60 * 1024
"""Bytes of the body that are converted in one step, which takes a millisecond or two; no other thread runs meanwhile."""


def with_base64(body: bytes) -> bytes:
    """Replace the lists of bytes in a JSON body by base64; those with wrong numbers stay as they are.

    The beginning of such a list can't be inside a text, where its quotes would be escaped.
    """
    kept: list[bytes] = []
    copied = at = 0
    while begin := _BEGIN.search(body, at):
        at = begin.end()
        last = body.find(b"]", at)
        end = _END.match(body, last + 1) if last >= 0 else None
        if end is None or (data := _bytes_of(body, at, last)) is None:
            continue
        kept += (body[copied : begin.start()], b'"', b64encode(data), b'"')
        copied = at = end.end()
    return b"".join((*kept, body[copied:])) if kept else body


def _bytes_of(body: bytes, begin: int, end: int) -> bytes | None:
    """Return the bytes that a list has as numbers; None if it has anything else."""
    try:
        return b"".join(bytes(map(int, part.split(b","))) for part in _parts(body, begin, end))
    except ValueError:
        return None


def _parts(body: bytes, begin: int, end: int) -> Iterator[bytes]:
    """Yield the list in parts, each of which ends before a comma. Raises ValueError for a list with anything but numbers."""
    while begin < end:
        cut = end if end - begin <= _STEP else body.rfind(b",", begin, begin + _STEP)
        part = body[begin : cut if cut > begin else end]
        if len(part) > _STEP or part.translate(None, _NUMBERS):
            raise ValueError
        yield part
        begin += len(part) + 1
