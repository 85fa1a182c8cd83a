"""The input of a response: items that become messages, and messages that become items again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pybase64 import b64encode

from llava_gateway.api.openai.messages import Messages
from llava_gateway.api.openai.parts import PartReader
from llava_gateway.chat import Message
from llava_gateway.errors import InvalidRequest
from llava_gateway.images.pages import kind_of
from llava_gateway.notes import Value
from llava_gateway.parts import Link, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Upload

ROLES = ("system", "developer", "user", "assistant")
KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")
_MEDIA_TYPES = {"PDF": "application/pdf", "SVG": "image/svg+xml", "VIDEO": "video/mp4", "JPEG2000": "image/jp2"}


def read_input(given: Any, reader: PartReader, called_before: Mapping[str, str], named: Callable[[str, str], dict[str, Any]]) -> Messages:
    """Read the input: a text by the user, or items. What the model did in one turn becomes one message by the assistant.

    Args:
        called_before: the names of the tools that earlier responses called, by the ids of the calls.
        named: returns the item of an earlier response that is only named, by its id and the field that names it.

    Raises InvalidRequest, ImageError, NotFound.
    """
    if isinstance(given, str):
        parts, names = reader.read(given, "input")
        return Messages((Message("user", parts),), (names,))
    if not isinstance(given, list) or not given:
        raise InvalidRequest("input_wrong", param="input")
    messages: list[Message] = []
    all_names: list[tuple[str, ...]] = []
    tools = dict(called_before)
    for index, value in enumerate(given):
        param = f"input[{index}]"
        if isinstance(value, dict) and value.get("type") == "item_reference":
            value = named(_text(value, "id", param), f"{param}.id")
        message, names = _message(value, param, reader, tools)
        tools |= {call.id: call.name for call in message.tool_calls}
        if message.role == "assistant" and messages and messages[-1].role == "assistant" and not _ends_turn(messages[-1], message):
            messages[-1] = Message("assistant", (*messages[-1].parts, *message.parts))
            all_names[-1] += names
        else:
            messages.append(message)
            all_names.append(names)
    reader.check()
    return Messages(tuple(messages), tuple(all_names))


def _ends_turn(before: Message, message: Message) -> bool:
    """Return whether an answer ended before this message: its text, or its calls, were followed by another text."""
    said = any(isinstance(part, TextPart | ToolCallPart) for part in before.parts)
    return said and any(isinstance(part, TextPart | ReasoningPart) for part in message.parts)


def _message(value: Any, param: str, reader: PartReader, tools: Mapping[str, str]) -> tuple[Message, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise InvalidRequest("item_wrong", param=param)
    kind = value.get("type") or ("message" if "role" in value else None)
    match kind:
        case "message":
            role = value.get("role")
            if role not in ROLES:
                values: dict[str, Value] = {"role": role[:40] if isinstance(role, str) else "", "known": ROLES}
                raise InvalidRequest("role_unknown", values=values, param=f"{param}.role")
            parts, names = reader.read(value.get("content"), f"{param}.content")
            return Message("system" if role == "developer" else role, parts), names
        case "function_call":
            return Message("assistant", (ToolCallPart(*(_text(value, name, param) for name in ("call_id", "name", "arguments"))),)), ()
        case "function_call_output":
            call_id = _text(value, "call_id", param)
            parts, names = reader.read(value.get("output"), f"{param}.output")
            return Message("tool", (ToolResultPart(call_id, tools.get(call_id, "")), *parts)), names
        case "reasoning":
            return Message("assistant", _thoughts(value)), ()
    given = kind[:40] if isinstance(kind, str) else ""
    raise InvalidRequest("item_unknown", values={"type": given, "known": KINDS}, param=f"{param}.type")


def _text(value: Mapping[str, Any], name: str, param: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise InvalidRequest("field_not_text", param=f"{param}.{name}")
    return found


def _thoughts(value: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the reasoning of an item; its summary, if the reasoning itself is not there."""
    for name in ("content", "summary"):
        rows = value.get(name)
        texts = (
            [row["text"] for row in rows if isinstance(row, dict) and isinstance(row.get("text"), str)] if isinstance(rows, list) else []
        )
        if texts:
            return (ReasoningPart("\n".join(texts)),)
    return ()


def item_list(messages: Sequence[Message], response_id: str) -> list[dict[str, Any]]:
    """Return the items of an input, with ids that stay the same."""
    items: list[dict[str, Any]] = []
    for message in messages:
        for item in _items(message):
            items.append({"id": f"item_{response_id.removeprefix('resp_')}_{len(items)}", **item})
    return items


def _items(message: Message) -> list[dict[str, Any]]:
    done = {"status": "completed"}
    if message.role == "tool":
        call_id = next((part.call_id for part in message.parts if isinstance(part, ToolResultPart)), "")
        return [{"type": "function_call_output", "call_id": call_id, "output": _content(message, "input"), **done}]
    items: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case ReasoningPart(text):
                items.append({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]})
            case ToolCallPart(call_id, name, arguments):
                items.append({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **done})
    if content := _content(message, "output" if message.role == "assistant" else "input"):
        items.insert(0, {"type": "message", "role": message.role, "content": content, **done})
    return items


def _content(message: Message, way: str) -> list[dict[str, Any]]:
    """Return the texts, images and files of a message."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case TextPart(text):
                parts.append({"type": f"{way}_text", "text": text, **({"annotations": []} if way == "output" else {})})
            case Link(address):
                parts.append({"type": "input_image", "image_url": address, "detail": part.sight.detail})
            case Upload(data):
                parts.append(_file(data, part.sight.detail))
    return parts


def _file(data: bytes, detail: str) -> dict[str, Any]:
    kind = kind_of(data) or ""
    url = f"data:{_MEDIA_TYPES.get(kind, f'image/{kind.lower()}')};base64,{b64encode(data).decode('ascii')}"
    if kind in ("PDF", "VIDEO"):
        return {"type": "input_file", "file_data": url}
    return {"type": "input_image", "image_url": url, "detail": detail}
