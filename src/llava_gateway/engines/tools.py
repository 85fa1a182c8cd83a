"""Writes tools as OpenAI and Ollama do, and a conversation with calls for models that know nothing of them (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llava_gateway.chat import JSON, EngineRequest, Message, Part, TextPart, Tool, ToolCallPart, ToolResultPart
from llava_gateway.errors import ModelLacksTools


def tool_definitions(tools: Sequence[Tool]) -> list[JSON]:
    """The value of the field `tools`."""
    nothing: JSON = {"type": "object", "properties": {}}
    functions = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters or nothing} for tool in tools]
    return [{"type": "function", "function": function} for function in functions]


def has_tool_parts(request: EngineRequest) -> bool:
    """Whether tools were called in the conversation."""
    return any(isinstance(part, ToolCallPart | ToolResultPart) for message in request.messages for part in message.parts)


def for_a_model_without_tools(request: EngineRequest) -> EngineRequest:
    """The conversation as a model without tools can read it. Raises ModelLacksTools when it is to call one.

    The template of such a model leaves out the calls and the results, and the images in these, or takes them for words of the assistant.
    So a call becomes words of the assistant, and a result becomes a message by the user.
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
