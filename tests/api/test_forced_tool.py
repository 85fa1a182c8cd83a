"""One forced tool on a model that can't call tools: asked for as a format, returned as a call."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest

from llava_gateway.answers import Answer, Done
from llava_gateway.api.forced_tool import as_format, asking, forced_tool
from llava_gateway.chat import ChatRequest, EngineEvent, EngineRequest, Finish, NamedTool, TextDelta, Tool, ToolCall, Usage, user_request
from llava_gateway.errors import InvalidOption, ModelLacksTools
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings
from tests.gateways import open_gateway
from tests.scripted_engine import ScriptedEngine

COLOUR = Tool("colour", parameters={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
SHAPE = Tool("shape", "Names the shape.")
ARGUMENTS = '{"name": "red"}'


async def lacks_tools(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    """Answer as a model without tools does."""
    if request.tools and request.tool_choice != "none":
        raise ModelLacksTools().at("tools")
    for piece in (ARGUMENTS[:5], ARGUMENTS[5:]):
        yield TextDelta(piece)
    yield Finish("stop", Usage(9, 4, 0))


def asked(*tools: Tool, **rest: object) -> ChatRequest:
    return user_request(TextPart("Which colour?"), tools=tools, annotate=False, **rest)


async def answered(request: ChatRequest, engine: ScriptedEngine) -> tuple[list[object], Answer]:
    events: list[object] = []
    async with open_gateway(Settings(), [engine]) as gateway, asking(gateway, request) as coming:
        async for event in coming:
            if isinstance(event, Done):
                return events, event.answer
            events.append(event)
    raise AssertionError


@pytest.mark.parametrize("choice", ["required", NamedTool("colour")])
async def test_a_forced_tool_becomes_the_format_and_the_call(choice: object) -> None:
    engine = ScriptedEngine(lacks_tools)
    events, answer = await answered(asked(COLOUR, tool_choice=choice), engine)
    (call,) = answer.tool_calls
    assert events == [call]
    assert (call.name, json.loads(call.arguments)) == ("colour", {"name": "red"})
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert [(request.tools, request.format) for request in engine.requests[1:]] == [((), COLOUR.parameters)]


async def test_a_model_with_tools_gets_the_tool_itself() -> None:
    made = ToolCall("c1", "colour", ARGUMENTS)

    async def calls(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield made
        yield Finish("tool_calls")

    engine = ScriptedEngine(calls)
    events, answer = await answered(asked(COLOUR, tool_choice="required"), engine)
    assert (events, answer.tool_calls) == ([made], (made,))
    assert [(request.tools, request.format) for request in engine.requests] == [((COLOUR,), None)]


@pytest.mark.parametrize(
    "request_",
    [asked(COLOUR), asked(COLOUR, SHAPE, tool_choice="required"), asked(COLOUR, tool_choice=NamedTool("other"))],
    ids=["auto", "several", "unknown"],
)
async def test_tools_that_are_not_forced_are_refused(request_: ChatRequest) -> None:
    assert forced_tool(request_) is None
    with pytest.raises(ModelLacksTools):
        await answered(request_, ScriptedEngine(lacks_tools))


async def test_a_call_that_was_cut_off_says_so() -> None:
    async def cut(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.tools:
            raise ModelLacksTools
        yield TextDelta(ARGUMENTS[:5])
        yield Finish("length")

    _, answer = await answered(asked(COLOUR, tool_choice="required"), ScriptedEngine(cut))
    assert (answer.finish_reason, answer.tool_calls[0].arguments) == ("length", ARGUMENTS[:5])


def test_the_model_is_told_what_the_tool_is_for() -> None:
    assert as_format(asked(COLOUR), COLOUR).system is None
    told = as_format(asked(SHAPE), SHAPE).system
    assert told is not None
    assert "Names the shape." in told
    assert '{"type": "object", "properties": {}}' in told


async def test_a_schema_that_the_engine_cannot_follow_is_that_of_the_tool() -> None:
    async def cannot_follow(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.tools:
            raise ModelLacksTools().at("tools")
        if request.format:
            raise InvalidOption("schema_not_followed").at("format")
        yield TextDelta("")

    with pytest.raises(InvalidOption) as caught:
        await answered(asked(COLOUR, tool_choice="required"), ScriptedEngine(cannot_follow))
    assert caught.value.place == ("tools",)
