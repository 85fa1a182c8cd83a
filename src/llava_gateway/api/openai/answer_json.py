"""An answer as a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llava_gateway.answers import Answer
from llava_gateway.api.dialects import gateway_json, id_of
from llava_gateway.chat import Logprob, ToolCall, Usage


def completion_json(head: dict[str, Any], answers: Sequence[Answer]) -> dict[str, Any]:
    """Render the whole answer, with a choice for each of `answers`. What we know beside it is about the first of them."""
    choices = [
        {"index": index, "message": message_json(answer), "logprobs": logprobs_json(answer.logprobs), "finish_reason": answer.finish_reason}
        for index, answer in enumerate(answers)
    ]
    return {**head, "choices": choices, "usage": usage_json(answers), "llava_gateway": gateway_json(answers[0])}


def message_json(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or (None if answer.tool_calls else ""), "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [call_json(call) for call in answer.tool_calls]
    return message


def call_json(call: ToolCall) -> dict[str, Any]:
    return {"id": id_of(call), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def logprobs_json(logprobs: Sequence[Logprob]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    content = [
        {**_token(each.token, each.logprob), "top_logprobs": [_token(token, logprob) for token, logprob in each.top]} for each in logprobs
    ]
    return {"content": content, "refusal": None}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def usage_json(answers: Sequence[Answer]) -> dict[str, Any] | None:
    """Render the tokens: those of the prompt once, which all answers share, and those of all answers. None if the engine did not count."""
    usage = answers[0].usage
    written = [answer.usage.completion_tokens for answer in answers]
    if usage.prompt_tokens is None or None in written:
        return None
    completion = sum(count or 0 for count in written)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": usage.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": cached_tokens(usage), "image_tokens": answers[0].context.images or 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def cached_tokens(usage: Usage) -> int:
    return usage.cached_tokens or 0
