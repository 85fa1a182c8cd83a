"""The messages, images and tools of a request to Ollama's API, as our own values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from llava_gateway.api.bodies import parse_body
from llava_gateway.api.native_json import parse_image
from llava_gateway.api.ollama.bodies import CalledBody, MessageBody, ToolBody, ToolCallBody
from llava_gateway.chat import JSON, Message, Role, Tool
from llava_gateway.errors import GatewayError, InvalidRequest
from llava_gateway.parts import Attached, Link, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Upload
from llava_gateway.settings import Settings

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
IMAGE_PARTS = ("image_url", "input_image", "image")


def messages_of(given: Sequence[JSON], settings: Settings) -> tuple[Message, ...]:
    """Convert the messages of a chat. Raises InvalidRequest, ImageError."""
    return _with_ids(_message(one, f"messages[{index}]", settings) for index, one in enumerate(given))


def images_of(given: Sequence[Any], settings: Settings, within: str = "") -> tuple[Attached, ...]:
    """Convert a list of images: raw base64, data: URLs, addresses, `{"type": "Buffer", "data": [...]}` as Node.js writes bytes, and what
    /ask takes. Raises InvalidRequest, ImageError.
    """
    with _inside(within):
        return tuple(_image(one, index, settings) for index, one in enumerate(given))


def tools_of(given: Sequence[JSON]) -> tuple[Tool, ...]:
    """Convert the functions that the model may call. Raises InvalidRequest."""
    functions = [parse_body(ToolBody, one, f"tools[{index}]").function for index, one in enumerate(given)]
    return tuple(Tool(function.name, function.description, function.parameters) for function in functions)


def _message(given: JSON, place: str, settings: Settings) -> Message:
    body = parse_body(MessageBody, given, place)
    role = ROLES.get(body.role.lower())
    if role is None:
        raise InvalidRequest("role_unknown", values={"role": body.role[:40], "known": tuple(ROLES)}, param=f"{place}.role")
    parts: list[Part] = []
    if role == "tool":
        parts.append(ToolResultPart(body.tool_call_id, body.tool_name))
    if body.thinking:
        parts.append(ReasoningPart(body.thinking))
    parts += images_of(body.images, settings, place)
    content = [TextPart(body.content)] if isinstance(body.content, str) else list(_content(body.content, place, settings))
    parts += content if body.content else ()
    parts += (_tool_call(one, f"{place}.tool_calls[{index}]") for index, one in enumerate(body.tool_calls))
    return Message(role, tuple(parts) or (TextPart(""),))


def _with_ids(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Give ids to tool calls and results without one. In Ollama's API most have none: a result has the name of its tool, and results come
    in the order of the calls.
    """
    found: list[Message] = []
    waiting: list[ToolCallPart] = []
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                part = part if part.id else replace(part, id=f"call_{len(found)}_{len(parts)}")
                waiting.append(part)
            elif isinstance(part, ToolResultPart):
                called = next((call for call in waiting if _answers(part, call)), None)
                if called is not None:
                    waiting.remove(called)
                    part = ToolResultPart(called.id, called.name)
            parts.append(part)
        found.append(replace(message, parts=tuple(parts)))
    return tuple(found)


def _answers(result: ToolResultPart, call: ToolCallPart) -> bool:
    """Return whether a result may be that of a call."""
    return result.call_id == call.id if result.call_id else result.name in ("", call.name)


def _content(given: Sequence[Any], place: str, settings: Settings) -> Iterator[Part]:
    """Yield the parts of a content that is a list, as OpenAI's clients send it."""
    for index, one in enumerate(given):
        where = f"{place}.content[{index}]"
        if isinstance(one, str):
            yield TextPart(one)
            continue
        kind = one.get("type") if isinstance(one, dict) else None
        named = next((one[name] for name in IMAGE_PARTS if name in one), None) if kind in IMAGE_PARTS else None
        address = named.get("url") if isinstance(named, dict) else named
        if kind in ("text", "input_text") and isinstance(one.get("text"), str):
            yield TextPart(one["text"])
        elif isinstance(address, str):
            yield from images_of([address], settings, where)
        else:
            raise InvalidRequest("content_part_unknown", param=where)


def _tool_call(given: JSON, place: str) -> ToolCallPart:
    body = parse_body(ToolCallBody, given, place)
    return ToolCallPart(body.id, body.function.name, _arguments(body.function))


def _arguments(called: CalledBody) -> str:
    return called.arguments if isinstance(called.arguments, str) else json.dumps(called.arguments, ensure_ascii=False)


def _image(given: Any, index: int, settings: Settings) -> Attached:
    if isinstance(given, str) and given[:8].lower().startswith(("http://", "https://")):
        return Link(given)
    if isinstance(given, dict) and given.get("type") == "Buffer" and isinstance(given.get("data"), list):
        return _bytes(given["data"], index)
    image, _ = parse_image(given, index, settings)
    return image


def _bytes(data: Sequence[Any], index: int) -> Upload:
    try:
        return Upload(bytes(data))
    except (TypeError, ValueError):
        raise InvalidRequest("image_buffer_wrong", param=f"images[{index}]") from None


@contextmanager
def _inside(place: str) -> Iterator[None]:
    """Put `place` before the field that an error names."""
    try:
        yield
    except GatewayError as error:
        error.param = ".".join(filter(None, (place, error.param)))
        raise
