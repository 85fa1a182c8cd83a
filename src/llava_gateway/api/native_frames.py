"""The output formats of the native API: JSON, an event stream, or plain text."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from json.encoder import encode_basestring
from typing import Any, Literal, TypeAlias, assert_never

from starlette.responses import Response

from llava_gateway.answers import Answer, AnswerEvent, Done, Queued
from llava_gateway.api.errors import error_body, error_response
from llava_gateway.api.native_json import answer_json, note_json
from llava_gateway.api.response import JSONResponse
from llava_gateway.chat import Loading, PromptProgress, ReasoningDelta, TextDelta, ToolCall
from llava_gateway.errors import GatewayError

OutputFormat: TypeAlias = Literal["json", "sse", "text"]
TYPES: dict[str, OutputFormat] = {
    "application/json": "json",
    "application/*": "json",
    "text/event-stream": "sse",
    "text/plain": "text",
    "text/*": "text",
}
MOST_TYPES = 100
"""Characters of an Accept header that are parsed."""


def wanted_output_format(accept: str, *, stream: bool = False) -> OutputFormat:
    """Return the output format that an Accept header asks for: the known type with the highest q, the first one among equals. If the
    header leaves it open, JSON or, with `stream`, events.
    """
    unsaid: OutputFormat = "sse" if stream else "json"
    best: tuple[float, OutputFormat] = (0.0, unsaid)
    for entry in accept.split(",", MOST_TYPES)[:MOST_TYPES]:
        kind, *parameters = (piece.strip() for piece in entry.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    weight = float(parameter[2:])
        output_format = unsaid if kind == "*/*" else TYPES.get(kind.lower())
        if output_format and weight > best[0]:
            best = (weight, output_format)
    return best[1]


def sse(event: str, data: dict[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


class JSONFrames:
    """The whole answer in one body. `render` makes it."""

    media_type: str | None = None
    keepalive = b""
    cuts = False

    def __init__(self, render: Callable[[Answer], dict[str, Any]] = answer_json) -> None:
        self._render = render

    def event(self, event: AnswerEvent) -> bytes:
        return b""

    def whole(self, answer: Answer) -> Response:
        return JSONResponse(self._render(answer))

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return error_response(error, request_id)

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return b""


class EventFrames(JSONFrames):
    """Server-sent events; the last one is `done` or `error`."""

    media_type = "text/event-stream; charset=utf-8"
    keepalive = b": ping\n\n"

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text):
                # The same bytes as `sse` writes; this runs for every token, and a new encoder for each would take four times as long.
                return b'event: delta\ndata: {"text":%b}\n\n' % encode_basestring(text).encode()
            case ReasoningDelta(text):
                return sse("reasoning", {"text": text})
            case Queued(position):
                return sse("queued", {"position": position})
            case Loading(model, reason, last_load_ms):
                return sse("loading", {"model": model, "reason": reason and note_json(reason), "last_load_ms": last_load_ms})
            case PromptProgress(processed, total, cached):
                return sse("progress", {"processed": processed, "total": total, "cached": cached})
            case ToolCall(id_, name, arguments):
                return sse("tool_call", {"id": id_, "name": name, "arguments": arguments})
            case Done(answer):
                return sse("done", answer_json(answer))
            case _:
                assert_never(event)

    def event_id(self, key: str, number: int) -> bytes:
        return f"id: {key}-{number}\n".encode()

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return sse("error", error_body(error, request_id))


class TextFrames(JSONFrames):
    """Only the words, and a newline at the end, so that a shell's prompt starts on its own line."""

    media_type = "text/plain; charset=utf-8"
    cuts = True

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text):
                return text.encode()
            case Done():
                return b"\n"
        return b""

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return f"\n[error {error.code}] {error.hint}\n".encode()


def frames_for(output_format: OutputFormat) -> JSONFrames:
    match output_format:
        case "json":
            return JSONFrames()
        case "sse":
            return EventFrames()
        case "text":
            return TextFrames()
