"""Writes answers as Anthropic does: one message, or the events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any, Literal, TypeAlias

from starlette.responses import Response

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.anthropic.errors import error_body, error_response
from llava_gateway.api.anthropic.requests import Asked
from llava_gateway.api.dialects import arguments_of, gateway_json, id_of
from llava_gateway.api.native_frames import sse
from llava_gateway.api.response import JSONResponse
from llava_gateway.chat import PromptProgress, ReasoningDelta, TextDelta, ToolCall, Usage
from llava_gateway.errors import GatewayError

BlockType: TypeAlias = Literal["text", "thinking"]
STOP_REASONS: Mapping[str, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
EMPTY: Mapping[BlockType, Mapping[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessageFrames:
    """The whole answer as one message.

    Args:
        asked: the request. model: the name of the model for the message. request_id: the id of the request.
    """

    media_type: str | None = None
    cuts = False

    def __init__(self, asked: Asked, model: str, request_id: str) -> None:
        self._asked = asked
        self._model = model
        self._id = f"msg_{request_id.removeprefix('req_')}"

    @property
    def keepalive(self) -> bytes:
        return b""

    def event(self, event: AnswerEvent) -> bytes:
        return b""

    def whole(self, answer: Answer) -> Response:
        usage = {**input_usage(answer.usage.prompt_tokens, answer.usage.cached_tokens), "output_tokens": output_tokens(answer.usage)}
        message = self.message(content_json(answer), stop_json(answer), usage)
        return JSONResponse({**message, "llava_gateway": gateway_json(answer)})

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return error_response(self._asked.placed(error), request_id)

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return b""

    def message(self, content: list[dict[str, Any]], stop: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
        named = {"id": self._id, "type": "message", "role": "assistant", "model": self._model}
        return {**named, "content": content, **stop, "usage": usage}


class EventFrames(MessageFrames):
    """The events of a stream. `message_start` waits until the tokens of the prompt are known; an error before that is a plain one."""

    media_type = "text/event-stream; charset=utf-8"

    def __init__(self, asked: Asked, model: str, request_id: str) -> None:
        super().__init__(asked, model, request_id)
        self._started = False
        self._open: BlockType | None = None
        self._index = -1
        self._delta = b""
        """The beginning of a frame with a delta of the open block."""

    @property
    def keepalive(self) -> bytes:
        return b'event: ping\ndata: {"type":"ping"}\n\n' if self._started else b": ping\n\n"

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text):
                return self._grown("text", text)
            case ReasoningDelta(text):
                return self._grown("thinking", text)
            case PromptProgress(_, total, cached):
                return self._start(total, cached)
            case ToolCall():
                return self._start() + self._end() + self._call(event)
            case Done(answer):
                return self._start() + self._end() + self._finish(answer)
        return b""

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return sse("error", error_body(self._asked.placed(error), request_id))

    def _start(self, total: int | None = None, cached: int | None = None) -> bytes:
        """Return message_start, once."""
        if self._started:
            return b""
        self._started = True
        usage = {**input_usage(total, cached), "output_tokens": 0}
        message = self.message([], {"stop_reason": None, "stop_sequence": None}, usage)
        return sse("message_start", {"type": "message_start", "message": message})

    def _grown(self, kind: BlockType, text: str) -> bytes:
        """Return the frame of more words. It is written for every token, so only the text is encoded."""
        begun = b"" if self._open == kind else self._begin(kind)
        return begun + self._delta + encode_basestring(text).encode() + b"}}\n\n"

    def _begin(self, kind: BlockType) -> bytes:
        before = self._start() + self._end()
        self._open = kind
        self._index += 1
        self._delta = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b_delta","%b":' % (
            self._index,
            kind.encode(),
            kind.encode(),
        )
        return before + sse("content_block_start", {"type": "content_block_start", "index": self._index, "content_block": EMPTY[kind]})

    def _end(self) -> bytes:
        """Return the end of the open block, if there is one."""
        if self._open is None:
            return b""
        self._open = None
        return sse("content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _call(self, call: ToolCall) -> bytes:
        """Return the block of a tool call, which the engines report whole."""
        self._index += 1
        block = {"type": "tool_use", "id": id_of(call), "name": call.name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": call.arguments}
        return b"".join(
            (
                sse("content_block_start", {"type": "content_block_start", "index": self._index, "content_block": block}),
                sse("content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta}),
                sse("content_block_stop", {"type": "content_block_stop", "index": self._index}),
            )
        )

    def _finish(self, answer: Answer) -> bytes:
        used = answer.usage
        known = {} if used.prompt_tokens is None else input_usage(used.prompt_tokens, used.cached_tokens)
        usage = {**known, "output_tokens": output_tokens(used)}
        last = {"type": "message_delta", "delta": stop_json(answer), "usage": usage, "llava_gateway": gateway_json(answer)}
        return sse("message_delta", last) + sse("message_stop", {"type": "message_stop"})


def input_usage(total: int | None, cached: int | None) -> dict[str, int]:
    """Render the tokens of a prompt. `input_tokens` are those that were not in the cache."""
    read = min(cached or 0, total or 0)
    return {"input_tokens": (total or 0) - read, "cache_creation_input_tokens": 0, "cache_read_input_tokens": read}


def output_tokens(usage: Usage) -> int:
    return usage.completion_tokens or 0


def stop_json(answer: Answer) -> dict[str, Any]:
    """Render why an answer ended."""
    full = answer.finish_reason == "length" and any(warning.code == "context_full" for warning in answer.warnings)
    reason = "model_context_window_exceeded" if full else STOP_REASONS[answer.finish_reason]
    return {"stop_reason": reason if answer.stop is None else "stop_sequence", "stop_sequence": answer.stop}


def content_json(answer: Answer) -> list[dict[str, Any]]:
    """Render the blocks of an answer."""
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    calls = ({"type": "tool_use", "id": id_of(call), "name": call.name, "input": arguments_of(call)} for call in answer.tool_calls)
    return [*content, *calls]
