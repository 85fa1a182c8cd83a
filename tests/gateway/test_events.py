"""The events of an answer, for every kind of engine output and every kind of end."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, TypeAlias, get_args

import pytest

from llava_gateway.answers import AnswerEvent, Done
from llava_gateway.chat import (
    ChatRequest,
    EngineEvent,
    EngineRequest,
    Logprob,
    Message,
    PromptProgress,
    ReasoningDelta,
    TextDelta,
    ToolCall,
)
from llava_gateway.errors import UpstreamDisconnected
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings
from tests.gateways import open_gateway
from tests.scripted_engine import END, Script, ScriptedEngine

End: TypeAlias = Literal["finish", "finish and more", "failure", "bug", "nothing"]
SAID: tuple[EngineEvent, ...] = (
    TextDelta(" ", (Logprob(" ", -1.0),)),
    TextDelta("  a", (Logprob("  a", -1.0),)),
    TextDelta(""),
    TextDelta("\n"),
    TextDelta(" b "),
    ReasoningDelta("Hm."),
    ToolCall("c1", "look", "{}"),
    PromptProgress(1, 2),
)
ASKED = Message("user", (TextPart("Hi"),))
BEGUN = Message("assistant", (TextPart("It is"),))


def script(said: Sequence[EngineEvent], end: End) -> Script:
    async def events(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for event in said:
            yield event
        match end:
            case "finish":
                yield END
            case "finish and more":
                yield END
                yield TextDelta("more")
                yield END
            case "failure":
                raise UpstreamDisconnected
            case "bug":
                raise RuntimeError
            case "nothing":
                pass

    return events


async def events_of(gateway: Gateway, request: ChatRequest, most: int = 100) -> tuple[list[AnswerEvent], Exception | None]:
    """Return at most `most` events, and the error after them."""
    came: list[AnswerEvent] = []
    try:
        async with gateway.ask(request) as events:
            async for event in events:
                came.append(event)
                if len(came) == most:
                    break
    except Exception as error:
        return came, error
    return came, None


@pytest.mark.parametrize("end", get_args(End))
async def test_an_answer_is_the_sum_of_its_events_and_leaves_nothing_behind(end: End) -> None:
    chance = random.Random(end)
    async with open_gateway(Settings(image_workers=1), [engine := ScriptedEngine()]) as gateway:
        for _ in range(40):
            said = chance.choices(SAID, k=chance.randint(0, 6))
            engine.script = script(said, end)
            begun = chance.random() < 0.3
            request = ChatRequest((ASKED, BEGUN) if begun else (ASKED,), logprobs=0)
            came, error = await events_of(gateway, request)
            assert (error is None) == end.startswith("finish")
            last = came[-1] if came else None
            assert [event for event in came if isinstance(event, Done)] == ([last] if error is None else [])
            if isinstance(last, Done):
                deltas = [event for event in came if isinstance(event, TextDelta)]
                whole = "".join(event.text for event in said if isinstance(event, TextDelta))
                assert last.answer.text == "".join(delta.text for delta in deltas) == (whole if begun else whole.lstrip())
                assert last.answer.logprobs == tuple(one for delta in deltas for one in delta.logprobs)
                assert last.answer.tool_calls == tuple(event for event in came if isinstance(event, ToolCall))
            await events_of(gateway, request, chance.randint(1, 3))  # then the client leaves
            assert (engine.running, gateway.queues["ollama"].active, gateway._running, gateway._asking) == (0, 0, {}, 0)
