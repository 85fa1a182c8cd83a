"""A thin copy of `/v1/chat/completions`: stateless, with the whole conversation in each request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway import chat
from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.schemas import parse_format
from llava_gateway.api.stream import AnswerResponse
from llava_gateway.chat import ChatRequest, ReasoningDelta, TextDelta, ToolCall
from llava_gateway.errors import GatewayError
from llava_gateway.images.base64 import decode_base64
from llava_gateway.options import Options
from llava_gateway.parts import Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Upload

router = APIRouter()
ROLES: Mapping[str, chat.Role] = {"developer": "system"}
OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}


@router.post("/thin/chat/completions")
async def chat_completions(request: Request) -> Response:
    body = await request.json()
    include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    frames = ChunkFrames(body["model"], usage=include_usage, stream=bool(body.get("stream")))
    return AnswerResponse(gateway_of(request), parse(body), frames, request_id(request))


def parse(body: Mapping[str, Any]) -> ChatRequest:
    stop = body.get("stop")
    options = {ours: body[theirs] for theirs, ours in OPTIONS.items() if body.get(theirs) is not None}
    choice: Any = body.get("tool_choice", "auto")
    tools = [tool["function"] for tool in body.get("tools") or ()]
    return ChatRequest(
        tuple(map(message, body["messages"])),
        model=body["model"],
        options=Options(**options, stop=(stop,) if isinstance(stop, str) else tuple(stop) if stop else None),
        format=parse_format(schema(body.get("response_format") or {})),
        policy="pin_images",
        annotate=False,
        tools=tuple(chat.Tool(tool["name"], tool.get("description", ""), tool.get("parameters", {})) for tool in tools),
        tool_choice=chat.NamedTool(choice["function"]["name"]) if isinstance(choice, dict) else choice,
        logprobs=body.get("top_logprobs", 0) if body.get("logprobs") else None,
    )


def schema(wanted: Mapping[str, Any]) -> Any:
    if wanted.get("type") == "json_schema":
        return wanted["json_schema"]["schema"]
    return "json" if wanted.get("type") == "json_object" else None


def message(given: Mapping[str, Any]) -> chat.Message:
    content = given.get("content") or ()
    parts: list[Part] = [ToolResultPart(given["tool_call_id"])] if given["role"] == "tool" else []
    if thought := given.get("reasoning_content"):
        parts.append(ReasoningPart(thought))
    parts += [TextPart(content)] if isinstance(content, str) else list(map(part, content))
    calls = given.get("tool_calls") or ()
    parts += [ToolCallPart(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
    return chat.Message(ROLES.get(given["role"], given["role"]), tuple(parts))


def part(given: Mapping[str, Any]) -> Part:
    return TextPart(given["text"]) if given["type"] == "text" else Upload(decode_base64(given["image_url"]["url"]))


class ChunkFrames:
    """Chunks of a completion; the stream ends with `[DONE]`, or with an error and nothing after it."""

    keepalive = b": ping\n\n"
    cuts = False

    def __init__(self, model: str, *, usage: bool, stream: bool) -> None:
        self.media_type = "text/event-stream; charset=utf-8" if stream else None
        self._model = model
        self._usage = usage
        self._calls = 0

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text, logprobs):
                return self._chunk({"content": text}, **({"logprobs": {"content": list(map(logprob, logprobs))}} if logprobs else {}))
            case ReasoningDelta(text):
                return self._chunk({"reasoning_content": text})
            case ToolCall():
                self._calls += 1
                return self._chunk({"tool_calls": [{"index": self._calls - 1, **tool_call(event)}]})
            case Done(answer):
                totals = _data({**self._head(), "choices": [], "usage": usage(answer.usage)}) if self._usage else b""
                return self._chunk({}, finish_reason=answer.finish_reason) + totals + b"data: [DONE]\n\n"
        return b""  # a client would stumble over events of our own

    def whole(self, answer: Answer) -> Response:
        said: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.tool_calls:
            said["tool_calls"] = list(map(tool_call, answer.tool_calls))
        choice = {"index": 0, "message": said, "finish_reason": answer.finish_reason}
        return JSONResponse({**self._head("chat.completion"), "choices": [choice], "usage": usage(answer.usage)})

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return JSONResponse(error_body(error), error.status, {"x-request-id": request_id, "x-should-retry": str(error.retryable).lower()})

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return _data(error_body(error))

    def _head(self, kind: str = "chat.completion.chunk") -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 0, "model": self._model}

    def _chunk(self, delta: dict[str, Any], **more: Any) -> bytes:
        return _data({**self._head(), "choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]})


def tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def logprob(one: chat.Logprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "top_logprobs": [{"token": token, "logprob": value} for token, value in one.top]}


def usage(tokens: chat.Usage) -> dict[str, Any]:
    prompt, completion = tokens.prompt_tokens or 0, tokens.completion_tokens or 0
    totals = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**totals, "prompt_tokens_details": {"cached_tokens": tokens.cached_tokens or 0}}


def error_body(error: GatewayError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "api_error"
    return {"error": {"message": error.message, "type": kind, "param": error.place[0] if error.place else None, "code": error.code}}


def _data(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
