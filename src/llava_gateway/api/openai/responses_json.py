"""An answer as a response, and the items of its output."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llava_gateway.answers import Answer
from llava_gateway.api.dialects import gateway_json, id_of, sentence_of
from llava_gateway.api.openai.answer_json import cached_tokens, logprobs_json
from llava_gateway.chat import ToolCall
from llava_gateway.engines.base import ModelInfo
from llava_gateway.errors import GatewayError, ImageError
from llava_gateway.sessions.session import new_id


@dataclass(frozen=True, slots=True)
class Echo:
    """What a response repeats of its request, and its id.

    Attributes:
        fields: the fields of the request, by the names that the response has for them.
    """

    model: ModelInfo
    fields: Mapping[str, Any]
    id: str = field(default_factory=lambda: f"resp_{new_id()}")
    created: int = field(default_factory=lambda: int(time.time()))

    def response(self, status: str, output: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:
        """Render the response in one of its states."""
        known = {"id": self.id, "object": "response", "created_at": self.created, "status": status, "model": self.model.name}
        return {
            **known,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": output,
            "usage": None,
            **self.fields,
            **rest,
        }

    def ended(self, answer: Answer, output: list[dict[str, Any]]) -> dict[str, Any]:
        """Render the response at its end: incomplete if it was cut off at its length limit."""
        known = {"usage": usage_json(answer), "llava_gateway": gateway_json(answer)}
        if answer.finish_reason == "length":
            return self.response("incomplete", output, incomplete_details={"reason": "max_output_tokens"}, **known)
        return self.response("completed", output, completed_at=int(time.time()), **known)

    def failed(self, error: GatewayError, output: list[dict[str, Any]]) -> dict[str, Any]:
        return self.response("failed", output, error=response_error(error))


def response_error(error: GatewayError) -> dict[str, Any]:
    """Render an error inside a response, for which OpenAI has codes only about images."""
    code = error.code if isinstance(error, ImageError) else "server_error"
    return {"code": code, "message": sentence_of(error)}


def usage_json(answer: Answer) -> dict[str, Any] | None:
    usage = answer.usage
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    details = {"cached_tokens": cached_tokens(usage), "cache_write_tokens": 0, "image_tokens": answer.context.images or 0}
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def output_json(answer: Answer) -> list[dict[str, Any]]:
    """Return the items of an answer: its reasoning, its text and its tool calls."""
    items = [reasoning_item(f"rs_{new_id()}", answer.reasoning)] if answer.reasoning else []
    if answer.text or not answer.tool_calls:
        items.append(message_item(f"msg_{new_id()}", answer))
    return [*items, *(call_item(f"fc_{new_id()}", call) for call in answer.tool_calls)]


def reasoning_item(item_id: str, text: str) -> dict[str, Any]:
    return {"id": item_id, "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}], "status": "completed"}


def message_item(item_id: str, answer: Answer) -> dict[str, Any]:
    status = "incomplete" if answer.finish_reason == "length" else "completed"
    logprobs = (logprobs_json(answer.logprobs) or {"content": []})["content"]
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": [text_part(answer.text, logprobs)]}


def text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def call_item(item_id: str, call: ToolCall, status: str = "completed") -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": id_of(call),
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }
