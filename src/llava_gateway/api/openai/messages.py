"""The messages of a chat completion: any order of roles, and images in any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llava_gateway.api.openai.parts import PartReader
from llava_gateway.chat import Message
from llava_gateway.errors import InvalidRequest
from llava_gateway.parts import Part, ReasoningPart, ToolCallPart, ToolResultPart

ROLES = ("system", "developer", "user", "assistant", "tool")
_THOUGHTS = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of a request, and for each of them the fields that its images came in."""

    messages: tuple[Message, ...]
    names: tuple[tuple[str, ...], ...]


def read_messages(given: list[Any], reader: PartReader) -> Messages:
    """Read the messages of a chat. Raises InvalidRequest, ImageError."""
    messages: list[Message] = []
    names: list[tuple[str, ...]] = []
    tools: dict[str, str] = {}
    for index, value in enumerate(given):
        message, fields = _message(value, f"messages[{index}]", reader, tools)
        messages.append(message)
        names.append(fields)
        tools |= {call.id: call.name for call in message.tool_calls}
    reader.check()
    return Messages(tuple(messages), tuple(names))


def _message(value: Any, param: str, reader: PartReader, tools: dict[str, str]) -> tuple[Message, tuple[str, ...]]:
    """Read one message. `tools` has the names of the tools that were called before, by the ids of the calls."""
    if not isinstance(value, dict):
        raise InvalidRequest("message_wrong", param=param)
    content, where = value.get("content"), f"{param}.content"
    match value.get("role"):
        case "system" | "developer":
            parts, names = reader.read(content, where)
            return Message("system", parts), names
        case "user":
            parts, names = reader.read(content, where)
            return Message("user", parts), names
        case "assistant":
            parts, names = reader.read(content, where) if content is not None else ((), ())
            return Message("assistant", (*_thoughts(value), *parts, *_calls(value, param))), names
        case "tool":
            call_id = value.get("tool_call_id")
            if not isinstance(call_id, str):
                raise InvalidRequest("field_not_text", param=f"{param}.tool_call_id")
            parts, names = reader.read(content, where)
            name = value.get("name")
            known = tools.get(call_id) or (name if isinstance(name, str) else "")
            return Message("tool", (ToolResultPart(call_id, known), *parts)), names
        case role:
            given = role[:40] if isinstance(role, str) else ""
            raise InvalidRequest("role_unknown", values={"role": given, "known": ROLES}, param=f"{param}.role")


def _thoughts(value: dict[str, Any]) -> tuple[Part, ...]:
    """Return the reasoning that a client sends back with an answer."""
    given = next((value[name] for name in _THOUGHTS if isinstance(value.get(name), str) and value[name]), None)
    return () if given is None else (ReasoningPart(given),)


def _calls(value: dict[str, Any], param: str) -> tuple[ToolCallPart, ...]:
    calls = value.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidRequest("tool_call_wrong", param=f"{param}.tool_calls")
    return tuple(_call(call, f"{param}.tool_calls[{index}]") for index, call in enumerate(calls))


def _call(value: Any, param: str) -> ToolCallPart:
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict):
        call_id, name, arguments = value.get("id"), function.get("name"), function.get("arguments")
        if isinstance(call_id, str) and isinstance(name, str) and isinstance(arguments, str):
            return ToolCallPart(call_id, name, arguments)
    raise InvalidRequest("tool_call_wrong", param=param)
