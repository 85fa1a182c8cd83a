"""Shared by the engines that turn texts into vectors: sends texts in batches, checks every vector and scales it to length 1 (pure,
except `in_batches`)."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from llava_gateway.chat import Embeddings
from llava_gateway.errors import UpstreamProtocolError

Vector: TypeAlias = tuple[float, ...]

BATCH = 32
"""Texts per request. The answer for a batch is a few megabytes, small enough to parse without delaying other requests."""


async def in_batches(texts: Sequence[str], embed: Callable[[Sequence[str]], Awaitable[Embeddings]]) -> Embeddings:
    """Embed all texts with as many requests as necessary. Raises what `embed` raises, and UpstreamProtocolError."""
    vectors: list[Vector] = []
    counts: list[int | None] = []
    for begin in range(0, len(texts), BATCH):
        some = await embed(texts[begin : begin + BATCH])
        vectors += some.vectors
        counts.append(some.prompt_tokens)
    if len({len(vector) for vector in vectors}) > 1:
        raise UpstreamProtocolError
    known = [count for count in counts if count is not None]
    return Embeddings(tuple(vectors), sum(known) if len(known) == len(counts) else None)


def read_vectors(rows: Any, count: int) -> tuple[Vector, ...]:
    """Return `count` lists of finite numbers, each divided by its Euclidean length. Raises UpstreamProtocolError."""
    if not isinstance(rows, list) or len(rows) != count:
        raise UpstreamProtocolError
    return tuple(map(_unit, rows))


def _unit(row: Any) -> Vector:
    if not isinstance(row, list) or not row or not all(type(value) in (int, float) for value in row):
        raise UpstreamProtocolError
    try:
        length = math.hypot(*row)
    except OverflowError:
        length = math.inf
    if not math.isfinite(length):
        raise UpstreamProtocolError
    return tuple(value / length for value in row) if length else tuple(map(float, row))
