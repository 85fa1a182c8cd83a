"""The field `context` of /api/generate, which carries a conversation from one request to the next.

Ollama puts token numbers into it, and no image. To clients it is just a list of whole numbers. Ours holds the texts and the ids of the
images, so the next question is asked about the same images. A list of other numbers is rejected, because we could only ignore it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llava_gateway.chat import Message
from llava_gateway.errors import ImageNotFound, InvalidRequest
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import Note, note
from llava_gateway.parts import ImagePart, Part, TextPart

MARK = 0x6C6C76
"""The first number, which says that we wrote the list."""
_BYTES = 3
"""Bytes in each number: some clients keep them as 32-bit integers."""
MOST_BYTES = 96 * 1024
"""A longer conversation gets no context."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with the ids of its images, and its answer."""

    prompt: str
    images: tuple[str, ...]
    answer: str


def packed(exchanges: Sequence[Exchange]) -> list[int]:
    """Return the context of a conversation; an empty one if it is too long."""
    rows = [[one.prompt, list(one.images), one.answer] for one in exchanges]
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MOST_BYTES:
        return []
    return [MARK, *(int.from_bytes(data[at : at + _BYTES].ljust(_BYTES)) for at in range(0, len(data), _BYTES))]


def unpacked(context: Sequence[int]) -> tuple[Exchange, ...]:
    """Return the conversation in a context. Raises InvalidRequest if we did not write it."""
    if not context:
        return ()
    try:
        if context[0] != MARK or len(context) > MOST_BYTES:
            raise ValueError
        rows = json.loads(b"".join(number.to_bytes(_BYTES) for number in context[1:]))
        return tuple(Exchange(_text(prompt), tuple(map(_text, images)), _text(answer)) for prompt, images, answer in rows)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidRequest("context_unknown", param="context") from None


def remembered(exchanges: Sequence[Exchange], images: ImageStore) -> tuple[tuple[Message, ...], tuple[Note, ...]]:
    """Return the messages of a conversation, and a warning if some of its images are no longer stored."""
    messages: list[Message] = []
    gone = 0
    for exchange in exchanges:
        parts: list[Part] = [ImagePart(image) for image in exchange.images if _is_there(image, images)]
        gone += len(exchange.images) - len(parts)
        messages += Message("user", (*parts, TextPart(exchange.prompt))), Message("assistant", (TextPart(exchange.answer),))
    return tuple(messages), (note("context_images_gone", count=gone),) if gone else ()


def _is_there(image_id: str, images: ImageStore) -> bool:
    try:
        images.get(image_id)
    except ImageNotFound:
        return False
    return True


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
