"""A thin `/api/chat` of Ollama: newline-delimited JSON, images as base64 beside the words, errors as strings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.options import parse_keep_alive, parse_options
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.schemas import parse_format
from llava_gateway.api.stream import AnswerResponse
from llava_gateway.chat import ChatRequest, Message, ReasoningDelta, TextDelta, Tool, ToolCall
from llava_gateway.errors import GatewayError
from llava_gateway.images.base64 import decode_base64
from llava_gateway.parts import Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Upload
from llava_gateway.settings import Settings

router = APIRouter()
CREATED = "2026-01-01T00:00:00Z"


@router.post("/api/chat")
async def chat(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await request.json()
    frames = LineFrames(body["model"], stream=body.get("stream", True))
    return AnswerResponse(gateway, parse(body, gateway.settings), frames, request_id(request))


def parse(body: Mapping[str, Any], settings: Settings) -> ChatRequest:
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return ChatRequest(
        tuple(map(message, body["messages"])),
        model=body["model"],
        options=parse_options(body.get("options") or {}, None, settings),
        format=parse_format(body.get("format") or None),
        keep_alive=parse_keep_alive(body.get("keep_alive")),
        policy="pin_images",
        annotate=False,
        tools=tuple(Tool(one["name"], one.get("description", ""), one.get("parameters") or {}) for one in functions),
        think=body.get("think"),
        logprobs=body.get("top_logprobs", 0) if body.get("logprobs") else None,
    )


def message(given: Mapping[str, Any]) -> Message:
    """Build a message in Ollama's own order: the images of a message before its words."""
    parts: list[Part] = []
    if given["role"] == "tool":
        parts.append(ToolResultPart(given.get("tool_call_id") or "", given.get("tool_name") or ""))
    if thought := given.get("thinking"):
        parts.append(ReasoningPart(thought))
    parts += [Upload(decode_base64(image)) for image in given.get("images") or ()]
    if content := given.get("content"):
        parts.append(TextPart(content))
    for number, call in enumerate(given.get("tool_calls") or ()):
        function = call["function"]
        parts.append(ToolCallPart(call.get("id") or f"call_{number}", function["name"], json.dumps(function["arguments"])))
    return Message(given["role"], tuple(parts))


class LineFrames:
    """One JSON object to a line; the last one is `done`, or has the error. Never a blank line or a comment."""

    keepalive = b""
    cuts = False

    def __init__(self, model: str, *, stream: bool) -> None:
        self.media_type = "application/x-ndjson" if stream else None
        self._model = model

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text):
                return self._line({"content": text})
            case ReasoningDelta(text):
                return self._line({"content": "", "thinking": text})
            case ToolCall():
                return self._line({"content": "", "tool_calls": [tool_call(event)]})
            case Done(answer):
                return self._line({"content": ""}, **_end(answer))
        return b""

    def whole(self, answer: Answer) -> Response:
        said: dict[str, Any] = {"content": answer.text}
        if answer.tool_calls:
            said["tool_calls"] = list(map(tool_call, answer.tool_calls))
        return JSONResponse(self._object(said, **_end(answer)))

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return JSONResponse({"error": error.message}, error.status)

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return json.dumps({"error": error.message}).encode() + b"\n"

    def _object(self, said: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"model": self._model, "created_at": CREATED, "message": {"role": "assistant", **said}, "done": False, **more}

    def _line(self, said: dict[str, Any], **more: Any) -> bytes:
        return json.dumps(self._object(said, **more), ensure_ascii=False).encode() + b"\n"


def tool_call(call: ToolCall) -> dict[str, Any]:
    return {"function": {"name": call.name, "arguments": json.loads(call.arguments)}}


def _end(answer: Answer) -> dict[str, Any]:
    """The figures, in Ollama's order and nanoseconds."""
    timings = answer.timings
    return {
        "done": True,
        "done_reason": "length" if answer.finish_reason == "length" else "stop",
        "total_duration": _ns(timings.total_ms),
        "load_duration": _ns(timings.load_ms),
        "prompt_eval_count": answer.usage.prompt_tokens,
        "prompt_eval_cached_count": answer.usage.cached_tokens,
        "prompt_eval_duration": _ns(timings.prompt_ms),
        "eval_count": answer.usage.completion_tokens,
        "eval_duration": _ns(timings.generation_ms),
    }


def _ns(ms: float | None) -> int:
    return round((ms or 0) * 1e6)
