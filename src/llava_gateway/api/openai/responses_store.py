"""The responses that clients may name later: kept in memory, apart from the sessions of the page."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from llava_gateway.api.schemas import least_chars
from llava_gateway.chat import Message
from llava_gateway.errors import NotFound
from llava_gateway.parts import Part, ReasoningPart, TextPart, ToolCallPart, Upload
from llava_gateway.settings import Settings

KEPT = 30 * 24 * 3600.0
"""Seconds for which a response is kept, as OpenAI does."""
_OVERHEAD = 2000
"""Bytes that a response takes besides its texts and images, roughly."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, and the conversation that it ends.

    Attributes:
        body: the response as it was sent.
        input: the messages that came with its request.
        messages: the whole conversation, without the instructions, which belong to one request only.
        at: when it was stored, by the store's clock.
    """

    id: str
    body: dict[str, Any]
    input: tuple[Message, ...]
    messages: tuple[Message, ...]
    at: float


class ResponseStore:
    """The stored responses, up to `most_bytes`. Beyond that, the oldest are dropped.

    A conversation shares the messages of the one that it continues, so each message is counted once.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._most = most_bytes
        self._clock = clock
        self._responses: dict[str, StoredResponse] = {}
        self._items: dict[str, dict[str, Any]] = {}
        self._uses: Counter[int] = Counter()
        self._held = 0

    @property
    def held(self) -> int:
        """The bytes that all responses take together, roughly."""
        return self._held

    @property
    def _oldest(self) -> StoredResponse:
        return next(iter(self._responses.values()))

    def add(self, body: dict[str, Any], input_: tuple[Message, ...], messages: tuple[Message, ...]) -> None:
        """Store a response."""
        stored = StoredResponse(body["id"], body, input_, messages, self._clock())
        self._responses[stored.id] = stored
        self._items |= {item["id"]: item for item in body["output"]}
        self._held += _size_of_body(body)
        for message in messages:
            self._uses[id(message)] += 1
            if self._uses[id(message)] == 1:
                self._held += _size(message)
        while len(self._responses) > 1 and (self._held > self._most or self._clock() - self._oldest.at > KEPT):
            self._drop(self._oldest.id)

    def get(self, response_id: str, *, param: str | None = None, code: str = "response_not_found") -> StoredResponse:
        """Return a response. Raises NotFound. Changes nothing, since a thread may call it."""
        stored = self._responses.get(response_id)
        if stored is None or self._clock() - stored.at > KEPT:
            raise NotFound("response_not_found", code=code, param=param)
        return stored

    def item(self, item_id: str, param: str) -> dict[str, Any]:
        """Return an item of the output of a stored response, which clients may name instead of sending it again. Raises NotFound."""
        if item_id not in self._items:
            raise NotFound("item_not_found", param=param)
        return self._items[item_id]

    def delete(self, response_id: str) -> None:
        """Delete a response. Those that continue it keep what it said. Raises NotFound."""
        self._drop(self.get(response_id).id)

    def _drop(self, response_id: str) -> None:
        stored = self._responses.pop(response_id)
        for item in stored.body["output"]:
            del self._items[item["id"]]
        self._held -= _size_of_body(stored.body)
        for message in stored.messages:
            self._uses[id(message)] -= 1
            if not self._uses[id(message)]:
                del self._uses[id(message)]
                self._held -= _size(message)


def _size_of_body(body: dict[str, Any]) -> int:
    return _OVERHEAD + least_chars(body)


def _size(message: Message) -> int:
    return sum(map(_size_of_part, message.parts))


def _size_of_part(part: Part) -> int:
    match part:
        case Upload(data):
            return len(data)
        case TextPart(text) | ReasoningPart(text):
            return len(text)
        case ToolCallPart(arguments=arguments):
            return len(arguments)
    return 0


def responses_of(request: Request) -> ResponseStore:
    found: ResponseStore = request.app.state.openai_responses
    return found


def most_bytes(settings: Settings) -> int:
    """Return how many bytes of responses are kept: a quarter of what images and sessions may take."""
    return settings.store_max_bytes // 4
