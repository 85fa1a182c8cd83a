"""Tools in the requests to both kinds of servers, and a conversation with tool calls for a model without tools."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import EngineRequest, Message, NamedTool, Tool, ToolChoice
from llava_gateway.engines import ollama_prompt, openai_prompt
from llava_gateway.engines.openai_prompt import LLAMA_CPP, PLAIN, VLLM
from llava_gateway.engines.tools import for_a_model_without_tools
from llava_gateway.errors import ModelLacksTools
from llava_gateway.parts import ImagePart, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from tests.sample_images import ask, rendition, shape

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("weather", "Tells the weather of a city.", CITY)
CLOCK = Tool("clock")
CALL = ToolCallPart("c1", "weather", '{"city": "Rome"}')
MAP = ImagePart("map")
CONVERSATION = EngineRequest(
    "m",
    (
        Message("user", (TextPart("How is Rome?"),)),
        Message("assistant", (ReasoningPart("I should look."), CALL)),
        Message("tool", (ToolResultPart("c1", "weather"), TextPart("Sunny."), MAP)),
    ),
    renditions={MAP: rendition(shape("circle", "red"))},
    tools=(WEATHER, CLOCK),
)
BASE64 = rendition(shape("circle", "red")).pieces[0].base64


def openai(request: EngineRequest, dialect: openai_prompt.Dialect = PLAIN) -> Any:
    return json.loads(openai_prompt.chat_body(request, dialect))


def ollama(request: EngineRequest, *, placed: bool = False) -> Any:
    return json.loads(ollama_prompt.chat_body(request, placed=placed))


def definitions(*tools: Tool) -> list[Any]:
    nothing = {"type": "object", "properties": {}}
    functions = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters or nothing} for tool in tools]
    return [{"type": "function", "function": function} for function in functions]


def test_calls_and_results_are_written_as_openai_does() -> None:
    body = openai(CONVERSATION)
    assert body["tools"] == definitions(WEATHER, CLOCK)
    assert body["tool_choice"] == "auto"
    assert body["messages"] == [
        {"role": "user", "content": "How is Rome?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "I should look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}],
        },
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [
                {"type": "text", "text": "Sunny."},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
            ],
        },
    ]


def test_calls_and_results_are_written_as_ollama_does() -> None:
    body = ollama(CONVERSATION)
    assert body["tools"] == definitions(WEATHER, CLOCK)
    assert "tool_choice" not in body
    assert body["messages"] == [
        {"role": "user", "content": "How is Rome?"},
        {
            "role": "assistant",
            "content": "",
            "thinking": "I should look.",
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}}],
        },
        {"role": "tool", "content": "Sunny.", "tool_call_id": "c1", "tool_name": "weather", "images": [BASE64]},
    ]
    assert ollama(CONVERSATION, placed=True)["messages"][-1]["content"] == "Sunny.\n[img]"


def test_what_comes_before_the_content_moves_no_image() -> None:
    """A result that begins with its image needs no marker."""
    result = Message("tool", (ToolResultPart("c1"), MAP, TextPart("Sunny.")))
    assert ollama(replace(CONVERSATION, messages=(result,)), placed=True)["messages"][0]["content"] == "Sunny."


@pytest.mark.parametrize(
    ("choice", "dialect", "tools", "written"),
    [
        ("auto", PLAIN, (WEATHER, CLOCK), "auto"),
        ("none", PLAIN, (WEATHER, CLOCK), "none"),
        ("required", LLAMA_CPP, (WEATHER, CLOCK), "required"),
        (NamedTool("clock"), VLLM, (WEATHER, CLOCK), {"type": "function", "function": {"name": "clock"}}),
        (NamedTool("clock"), LLAMA_CPP, (CLOCK,), "required"),
    ],
)
def test_a_choice_is_written_so_that_the_server_heeds_it(
    choice: ToolChoice, dialect: openai_prompt.Dialect, tools: tuple[Tool, ...], written: object
) -> None:
    body = openai(replace(CONVERSATION, tool_choice=choice), dialect)
    assert (body["tools"], body["tool_choice"]) == (definitions(*tools), written)


@pytest.mark.parametrize(
    ("choice", "tools"), [("none", ()), ("auto", (WEATHER, CLOCK)), ("required", (WEATHER, CLOCK)), (NamedTool("clock"), (CLOCK,))]
)
def test_ollama_is_given_the_tools_that_may_be_called(choice: ToolChoice, tools: tuple[Tool, ...]) -> None:
    assert ollama(replace(CONVERSATION, tool_choice=choice)).get("tools", []) == definitions(*tools)


def test_without_tools_nothing_is_said_of_them() -> None:
    for body in (openai(ask("Hello")), ollama(ask("Hello"))):
        assert not {"tools", "tool_choice"} & set(body)


def test_no_word_of_a_tool_steals_the_place_of_an_image() -> None:
    """Ollama takes the first `[img-0]` of the whole prompt as the place of the first image."""
    marker = "[img-0]"
    tool = Tool("look", f"Shows {marker}.", {"type": "object", "properties": {"at": {"description": marker}}})
    messages = (
        Message("assistant", (ReasoningPart(marker), ToolCallPart("c1", "look", json.dumps({"at": [marker]})))),
        Message("tool", (ToolResultPart("c1", marker), TextPart(marker))),
    )
    assert marker not in ollama_prompt.chat_body(replace(CONVERSATION, messages=messages, tools=(tool,)), placed=True).decode()


@pytest.mark.parametrize("arguments", ["", "Rome", "[1]", "[" * 100_000])
def test_arguments_that_are_no_object_are_none_to_ollama(arguments: str) -> None:
    call = Message("assistant", (ToolCallPart("c1", "weather", arguments),))
    assert ollama(replace(CONVERSATION, messages=(call,)))["messages"][0]["tool_calls"][0]["function"]["arguments"] == {}


def test_a_model_without_tools_reads_calls_and_results_as_words() -> None:
    told = for_a_model_without_tools(replace(CONVERSATION, tool_choice="none"))
    assert told.tools == ()
    assert told.messages == (
        CONVERSATION.messages[0],
        Message("assistant", (ReasoningPart("I should look."), TextPart('weather({"city": "Rome"})'))),
        Message("user", (TextPart("weather:"), TextPart("Sunny."), MAP)),
    )


def test_a_model_without_tools_is_not_asked_to_call_one() -> None:
    with pytest.raises(ModelLacksTools) as caught:
        for_a_model_without_tools(CONVERSATION)
    assert (caught.value.code, caught.value.status, caught.value.place) == ("model_lacks_tools", 422, ("tools",))
