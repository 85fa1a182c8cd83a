"""A chat completion as one body, or as chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from json.encoder import encode_basestring
from typing import Any

from starlette.responses import Response

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.dialects import gateway_json
from llava_gateway.api.openai.answer_json import call_json, completion_json, logprobs_json, usage_json
from llava_gateway.api.openai.errors import UNSPELT, Spelling, error_body, error_response
from llava_gateway.api.response import JSONResponse, LargeJSON
from llava_gateway.chat import ReasoningDelta, TextDelta, ToolCall
from llava_gateway.engines.base import ModelInfo
from llava_gateway.errors import GatewayError
from llava_gateway.sessions.session import new_id


@dataclass(frozen=True, slots=True)
class Completion:
    """What all parts of a completion say: its id, when it was created, and the model that answers."""

    model: ModelInfo
    id: str = field(default_factory=lambda: f"chatcmpl-{new_id()}")
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str) -> dict[str, Any]:
        fingerprint = f"fp_{self.model.engine}"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model.name, "system_fingerprint": fingerprint}


class WholeFrames:
    """The whole completion in one body."""

    media_type: str | None = None
    keepalive = b""
    cuts = False

    def __init__(self, completion: Completion, spelling: Spelling = UNSPELT) -> None:
        self._completion = completion
        self._spelling = spelling

    def event(self, event: AnswerEvent) -> bytes:
        return b""

    def whole(self, answer: Answer) -> Response:
        return self.all((answer,))

    def all(self, answers: Sequence[Answer]) -> Response:
        """Return several answers to one question as one body."""
        make = partial(completion_json, self._completion.head("chat.completion"), answers)
        return LargeJSON(make) if any(answer.logprobs for answer in answers) else JSONResponse(make())

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return error_response(error, request_id, self._spelling)

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return b""


class ChunkFrames(WholeFrames):
    """The completion in chunks. The last one of an answer that failed is an error, with no `[DONE]` behind it."""

    media_type = "text/event-stream; charset=utf-8"
    keepalive = b": ping\n\n"

    def __init__(self, completion: Completion, spelling: Spelling = UNSPELT, *, include_usage: bool = False) -> None:
        super().__init__(completion, spelling)
        self._include_usage = include_usage
        self._head = completion.head("chat.completion.chunk") | ({"usage": None} if include_usage else {})
        self._start(0)

    def _start(self, index: int) -> None:
        self._index = index
        self._begun = False
        self._calls = 0
        # This is written for every token, so only the text itself is encoded for each.
        chunk = self._chunk({"content": "?"})
        self._before, _, self._after = chunk.rpartition(b'"?"')

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text, ()):
                return self._beginning() + self._before + encode_basestring(text).encode() + self._after
            case TextDelta(text, logprobs):
                return self._beginning() + self._chunk({"content": text}, logprobs=logprobs_json(logprobs))
            case ReasoningDelta(text):
                return self._beginning() + self._chunk({"reasoning_content": text})
            case ToolCall():
                self._calls += 1
                return self._beginning() + self._chunk({"tool_calls": [{"index": self._calls - 1, **call_json(event)}]})
            case Done(answer):
                return self.end_of_choice(answer) + self.end((answer,))
        return b""

    def end_of_choice(self, answer: Answer) -> bytes:
        """Return the chunk that ends one answer. From here on, chunks are about the next one."""
        beside = {} if self._include_usage else {"llava_gateway": gateway_json(answer)}
        ended = self._beginning() + self._chunk({}, finish_reason=answer.finish_reason, **beside)
        self._start(self._index + 1)
        return ended

    def end(self, answers: Sequence[Answer]) -> bytes:
        """Return the end of the stream: the usage, if the client asked for it, and `[DONE]`."""
        if not self._include_usage:
            return b"data: [DONE]\n\n"
        usage = {**self._head, "choices": [], "usage": usage_json(answers), "llava_gateway": gateway_json(answers[0])}
        return _frame(usage) + b"data: [DONE]\n\n"

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return _frame(error_body(error, self._spelling))

    def _beginning(self) -> bytes:
        """Return the chunk with the role, before the first other chunk of an answer."""
        if self._begun:
            return b""
        self._begun = True
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _chunk(self, delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None, **beside: Any) -> bytes:
        choice = {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return _frame({**self._head, "choices": [choice], **beside})


def _frame(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
