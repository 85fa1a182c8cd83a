"""The window of a conversation that a client sends as a whole follows from its history, and computing it takes little work."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest

from llava_gateway.answers import Answer
from llava_gateway.chat import ChatRequest, EngineEvent, EngineRequest, Finish, Message, Policy, TextDelta, TokenCount, Tool, Usage
from llava_gateway.errors import ContextLengthExceeded
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.options import Options
from llava_gateway.parts import TextPart, ToolCallPart, ToolResultPart
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.scripted_engine import ScriptedEngine
from tests.session_values import a_session


def size_of(request: EngineRequest) -> int:
    return sum(4 + len(message.text) // 4 for message in request.messages)


class Strict(ScriptedEngine):
    """An engine that rejects prompts that are too long, and records the sizes of the prompts that it counted."""

    def __init__(self, context: int = 1024) -> None:
        super().__init__(self.answer, name="openai")
        self.context = self.true_context = context
        self.sizes: list[int] = []
        self.counted = self.exactly
        self.size_of: Callable[[EngineRequest], int] = size_of

    def exactly(self, request: EngineRequest) -> TokenCount:
        self.sizes.append(self.size_of(request))
        return TokenCount(0, self.sizes[-1], (), "exact", text_is_exact=True)

    async def context_length(self, request: EngineRequest) -> int | None:
        return self.context and (request.options.num_ctx or self.context)

    async def answer(self, request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Yes.")
        yield Finish("stop", Usage(self.size_of(request), 1, 0))

    @asynccontextmanager
    async def chat(self, request: EngineRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        limit = request.options.num_ctx or self.true_context
        if (size := self.size_of(request)) > limit:
            self.context = limit
            raise ContextLengthExceeded(values={"n_prompt_tokens": size, "n_ctx": limit})
        async with super().chat(request) as events:
            yield events


def user(words: str) -> Message:
    return Message("user", (TextPart(words),))


def assistant(words: str = "Yes.") -> Message:
    return Message("assistant", (TextPart(words),))


def talk(turns: int) -> tuple[Message, ...]:
    """Return turns of about 60 tokens, all of different lengths."""
    return tuple(message for turn in range(turns) for message in (user(f"{turn} " + "word " * (20 + turn * 7 % 41)), assistant()))


def whole(*messages: Message, policy: Policy = "pin_images", num_predict: int = 64, annotate: bool = False) -> ChatRequest:
    return ChatRequest(messages, options=Options(num_predict=num_predict), policy=policy, annotate=annotate)


def dropped(answer: Answer) -> list[int]:
    """Return the turns that are not sent."""
    return [item.turn for item in answer.context.dropped]


@asynccontextmanager
async def gateway_of(engine: ScriptedEngine, **settings: Any) -> AsyncIterator[Gateway]:
    async with open_gateway(Settings(image_workers=1, **settings), [engine]) as gateway:
        yield gateway


async def test_few_prompts_are_counted_and_none_that_is_much_too_long() -> None:
    async with gateway_of(engine := Strict()) as gateway:
        history = talk(200)
        answer = await gateway.answer(whole(*history, user("And?")))
        assert len(dropped(answer)) > 180
        moves = 200 * 60 / (0.4 * 1024)
        assert len(engine.sizes) < 6 * moves
        assert max(engine.sizes) < 2 * 1024


async def test_what_was_found_for_a_history_is_not_looked_for_again() -> None:
    async with gateway_of(engine := Strict()) as gateway:
        history = talk(100)
        first = await gateway.answer(whole(*history, user("And?")))
        engine.sizes.clear()
        second = await gateway.answer(whole(*history, user("And?"), assistant(), user("And then?")))
        assert dropped(second) == dropped(first) != []
        assert len(engine.sizes) <= 2


@pytest.mark.parametrize("seed", range(8))
async def test_any_conversation_is_cut_as_its_session_is(seed: int) -> None:
    """Turns of all lengths under all policies. What a session rejects is rejected here too."""
    chance = random.Random(seed)
    policy = chance.choice(get_args(Policy))
    num_predict, most = chance.choice([64, 700]), chance.choice([{}, {"num_ctx_max": 4096}])
    questions = [f"{turn} " + "word " * int(2 ** chance.uniform(1, 9)) for turn in range(40)]
    in_session: list[list[int]] = []
    stateless: list[list[int]] = []
    async with gateway_of(Strict(), **most) as gateway:
        session = gateway.sessions.create(a_session(policy=policy))
        for words in questions:
            try:
                answer = await ask(gateway, TextPart(words), session=session, options=Options(num_predict=num_predict), annotate=False)
            except ContextLengthExceeded:
                break
            in_session.append(dropped(answer))
    async with gateway_of(engine := Strict(), **most) as gateway:
        history: tuple[Message, ...] = ()
        for words in questions[: len(in_session)]:
            answer = await gateway.answer(whole(*history, user(words), policy=policy, num_predict=num_predict))
            stateless.append(dropped(answer))
            history = (*history, user(words), assistant())
        if len(in_session) < len(questions):
            with pytest.raises(ContextLengthExceeded):
                await gateway.answer(whole(*history, user(questions[len(in_session)]), policy=policy, num_predict=num_predict))
    assert stateless == in_session
    assert all(size_of(request) + min(num_predict, 512) <= 4096 for request in engine.requests)


async def test_the_calls_of_tools_are_asks_of_their_own() -> None:
    """A long tool result moves the window. The next question has that window too, even in a gateway that does not know the
    conversation."""
    history = talk(12)
    call = Message("assistant", (ToolCallPart("c1", "look", "{}"),))
    result = Message("tool", (ToolResultPart("c1", "look"), TextPart("word " * 400)))
    loop = (*history, user("Look."), call, result)
    async with gateway_of(Strict()) as gateway:
        before = dropped(await gateway.answer(whole(*history, user("Look."))))
        during = dropped(await gateway.answer(whole(*loop)))
        assert len(during) > len(before)
    async with gateway_of(Strict()) as anew:
        after = dropped(await anew.answer(whole(*loop, assistant(), user("And?"))))
        assert after == during


async def test_an_engine_that_counts_nothing_finds_its_cache_all_the_same() -> None:
    """What was learned about its vocabulary in between does not bring dropped turns back."""
    engine = Strict()
    engine.counted = None
    engine.size_of = lambda request: sum(len(message.text) // (3 + len(message.text) % 4) for message in request.messages)
    cuts, chance = [list[int]()], random.Random(1)
    async with gateway_of(engine) as gateway:
        history: tuple[Message, ...] = ()
        for turn in range(40):
            asked = user(f"{turn} " + "word " * chance.randint(20, 60))
            cuts.append(dropped(await gateway.answer(whole(*history, asked))))
            history = (*history, asked, assistant())
    assert len(cuts[-1]) > 20
    assert all(before == after[: len(before)] for before, after in pairwise(cuts))


async def test_a_context_that_only_the_refusal_tells_is_filled_as_it_was() -> None:
    """As for a model that Ollama has not loaded: the second question has the window of the first."""
    engine = Strict()
    engine.context = None
    async with gateway_of(engine) as gateway:
        history = talk(64)
        first = await gateway.answer(whole(*history, user("And?")))
        second = await gateway.answer(whole(*history, user("And?"), assistant(), user("And then?")))
    async with gateway_of(Strict()) as knowing:
        known = await knowing.answer(whole(*history, user("And?")))
    assert dropped(first) == dropped(second) == dropped(known) != []


async def test_the_room_of_a_long_answer_is_that_of_the_context_it_grows_to() -> None:
    """Otherwise the next question, in the larger context, would be cut to leave that room."""
    async with gateway_of(Strict(1024), num_ctx_max=4096) as gateway:
        history = talk(40)
        first = await gateway.answer(whole(*history, user("And?"), num_predict=2000))
        second = await gateway.answer(whole(*history, user("And?"), assistant(), user("And then?"), num_predict=2000))
    assert dropped(first) == dropped(second) != []


async def test_the_calls_of_tools_go_with_their_turn() -> None:
    """The arguments of a call take tokens as words do, and what a template writes for tools is always counted."""
    call = Message("assistant", (ToolCallPart("c1", "write", json.dumps({"text": "word " * 800})),))
    result = Message("tool", (ToolResultPart("c1", "write"), TextPart("Written.")))
    async with gateway_of(engine := Strict()) as gateway:
        engine.size_of = lambda request: sum(4 + len(message.prompt_text) // 4 for message in request.messages) + 100 * len(request.tools)
        answer = await gateway.answer(whole(user("Write."), call, result, assistant(), *talk(3), user("Thanks")))
        assert dropped(answer) == [0]
        with pytest.raises(ContextLengthExceeded) as refused:
            await gateway.answer(replace(whole(user("Write.")), tools=tuple(Tool(f"tool_{number}") for number in range(20))))
        assert len(engine.requests) == 1, "that was known before the engine was asked"
        assert refused.value.values["n_prompt_tokens"] == 2005


@pytest.mark.parametrize("per_letter", [0.9, 2], ids=["in part", "all of it"])
async def test_words_of_many_tokens_are_dropped_and_not_refused(per_letter: float) -> None:
    """Like Chinese text for LLaMA: the sizes show a third of its tokens, so more must be dropped than there seems to be. The window
    still moves in steps."""
    async with gateway_of(engine := Strict(4096)) as gateway:
        engine.size_of = lambda request: sum(int(per_letter * len(message.text)) for message in request.messages)
        turns = tuple(Turn((TextPart("word " * 50),), "Yes.", model="scripted", id=number) for number in range(1, 60))
        session = gateway.sessions.create(a_session(policy="sliding", turns=turns, model="scripted", engine="openai"))
        answer = await ask(gateway, TextPart("And?"), session=session, options=Options(num_predict=64))
        assert dropped(answer)
        assert 0.4 * 4096 < engine.size_of(engine.requests[-1]) < 0.7 * 4096
