"""What every engine does with tools, thinking, probabilities, stop texts and the beginning of an answer, asked of the real thing.

The demo model has neither tools nor thoughts; that of test_histories.py has.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Logprob, Message, TextDelta, Tool
from llava_gateway.engines.base import Engine
from llava_gateway.errors import ModelLacksTools
from llava_gateway.parts import TextPart, ToolCallPart, ToolResultPart
from tests.contract.worlds import World
from tests.sample_images import ask, shape

RED_CIRCLE = shape("circle", "red")
DESCRIBE = ask("Describe this image.", RED_CIRCLE, temperature=0.0)
DESCRIPTION = "A red circle on a white background."
WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture
async def demo(world: World) -> AsyncIterator[Engine]:
    async with world.open("demo") as opened:
        yield opened.engine


async def events_of(engine: Engine, request: EngineRequest) -> list[EngineEvent]:
    async with asyncio.timeout(60), engine.chat(request) as events:
        return [event async for event in events]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def logprobs_of(events: list[EngineEvent]) -> list[Logprob]:
    return [chance for event in events if isinstance(event, TextDelta) for chance in event.logprobs]


@pytest.mark.parametrize("wanted", [0, 3])
async def test_each_token_comes_with_its_probability(demo: Engine, wanted: int) -> None:
    request = replace(DESCRIBE, logprobs=wanted)
    events = await events_of(demo, request)
    chances = logprobs_of(events)
    assert text_of(events).strip() == DESCRIPTION
    assert "".join(chance.token for chance in chances).strip() == DESCRIPTION
    for chance in chances:
        assert chance.logprob <= 0
        assert len(chance.top) == wanted
        # The likeliest is taken at temperature 0, and all together are no likelier than certain.
        assert chance.top[:1] in ((), ((chance.token, chance.logprob),))
        assert sum(math.exp(logprob) for _, logprob in chance.top) <= 1.001
    assert not demo.ignored_fields(request)


async def test_without_being_asked_for_no_probability_comes(demo: Engine) -> None:
    assert logprobs_of(await events_of(demo, DESCRIBE)) == []


async def test_a_model_without_tools_is_not_asked_to_call_one(demo: Engine) -> None:
    with pytest.raises(ModelLacksTools):
        await events_of(demo, replace(DESCRIBE, tools=(WEATHER,)))
    answer = await events_of(demo, replace(DESCRIBE, tools=(WEATHER,), tool_choice="none"))
    assert text_of(answer).strip() == DESCRIPTION


async def test_a_model_without_tools_sees_the_image_of_a_result(demo: Engine) -> None:
    """Its template knows no such message: it would leave the image out."""
    question, (image, _) = ask("What do you see?"), DESCRIBE.messages[0].parts
    called = Message("assistant", (ToolCallPart("c1", "camera", "{}"),))
    result = Message("tool", (ToolResultPart("c1"), image, TextPart("Describe this image.")))
    request = replace(DESCRIBE, messages=(*question.messages, called, result))
    assert "red circle" in text_of(await events_of(demo, request))
    count = await demo.count(request)
    assert count is not None
    assert count.images == (64,)


@pytest.mark.parametrize("think", [True, "high"])
async def test_thinking_is_told_as_ignored_where_the_model_can_not(demo: Engine, think: bool) -> None:
    request = replace(DESCRIBE, think=think)
    assert text_of(await events_of(demo, request)).strip() == DESCRIPTION
    assert demo.ignored_fields(request) == ("think",)


async def test_not_to_think_is_no_wish_that_is_ignored(demo: Engine) -> None:
    request = replace(DESCRIBE, think=False)
    assert text_of(await events_of(demo, request)).strip() == DESCRIPTION
    assert demo.ignored_fields(request) == ()


async def test_the_stop_text_is_named_where_the_engine_tells(demo: Engine) -> None:
    """Ollama does not tell."""
    stopped = await events_of(demo, replace(DESCRIBE, options=replace(DESCRIBE.options, stop=("square", "on a"))))
    whole = await events_of(demo, replace(DESCRIBE, options=replace(DESCRIBE.options, stop=("square",))))
    ends = [event for events in (stopped, whole) for event in events if isinstance(event, Finish)]
    assert (text_of(stopped).strip(), text_of(whole).strip()) == ("A red circle", DESCRIPTION)
    assert [end.reason for end in ends] == ["stop", "stop"]
    assert [end.stop for end in ends] == [None if demo.name == "ollama" else "on a", None]


async def test_the_stop_text_is_named_if_the_request_asks_for_it(demo: Engine) -> None:
    named = replace(DESCRIBE, names_stop=True, options=replace(DESCRIBE.options, stop=("square", "on a")))
    *_, plain = await events_of(demo, DESCRIBE)
    stopped = await events_of(demo, named)
    whole = await events_of(demo, replace(named, options=replace(DESCRIBE.options, stop=("square",))))
    assert (text_of(stopped).strip(), text_of(whole).strip()) == ("A red circle", DESCRIPTION)
    assert isinstance(plain, Finish)
    for events, stop in ((stopped, "on a"), (whole, None)):
        end = events[-1]
        assert isinstance(end, Finish)
        assert (end.reason, end.stop, end.usage.prompt_tokens) == ("stop", stop, plain.usage.prompt_tokens)


async def test_the_beginning_of_an_answer_is_continued(demo: Engine) -> None:
    """Only what follows is told. (The template of this model in Ollama, from Modelfiles/demo, knows beginnings.)"""
    begun = Message("assistant", (TextPart("A red"),))
    events = await events_of(demo, replace(DESCRIBE, messages=(*DESCRIBE.messages, begun)))
    assert text_of(events) == " circle on a white background."


async def test_a_beginning_in_two_messages_is_continued_too(demo: Engine) -> None:
    begun = tuple(Message("assistant", (TextPart(text),)) for text in ("A", "red"))
    events = await events_of(demo, replace(DESCRIBE, messages=(*DESCRIBE.messages, *begun)))
    assert not text_of(events).startswith("A")
    assert isinstance(events[-1], Finish)
