"""Writes tools as OpenAI and Ollama do, and rewrites conversations with tool calls for models that don't know tools (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llava_gateway.chat import JSON, EngineRequest, Message, Tool
from llava_gateway.errors import ModelLacksTools
from llava_gateway.parts import Part, TextPart, ToolCallPart, ToolResultPart


def tool_definitions(tools: Sequence[Tool]) -> list[JSON]:
    """Return the value of the field `tools`."""
    nothing: JSON = {"type": "object", "properties": {}}
    functions = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters or nothing} for tool in tools]
    return [{"type": "function", "function": function} for function in functions]


def has_tool_parts(request: EngineRequest) -> bool:
    """Return whether the conversation contains tool calls or results."""
    return any(isinstance(part, ToolCallPart | ToolResultPart) for message in request.messages for part in message.parts)


def for_a_model_without_tools(request: EngineRequest) -> EngineRequest:
    """Rewrite the conversation for a model without tools. Raises ModelLacksTools if the model should call one.

    The template of such a model drops calls and results, with the images in them, or treats them as words of the assistant. So a
    call becomes words of the assistant, and a result becomes a message by the user.
    """
    if request.tools and request.tool_choice != "none":
        raise ModelLacksTools().at("tools")
    return replace(request, tools=(), messages=tuple(map(_in_words, request.messages)) if has_tool_parts(request) else request.messages)


def _in_words(message: Message) -> Message:
    return Message("user" if message.role == "tool" else message.role, tuple(_parts_in_words(message)))


def _parts_in_words(message: Message) -> Iterator[Part]:
    for part in message.parts:
        match part:
            case ToolCallPart(_, name, arguments):
                yield TextPart(f"{name}({arguments})")
            case ToolResultPart(_, name):
                if name:
                    yield TextPart(f"{name}:")
            case _:
                yield part
