"""Conversations that outgrow a context which is known only later: of a model that Ollama has not loaded, of engines that count nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from llava_gateway.chat import ChatEvent, ChatRequest, EngineRequest, Finish, ImagePart, Options, TextDelta, TextPart, Upload, Usage
from llava_gateway.errors import ContextLengthExceeded
from llava_gateway.gateway import Gateway
from llava_gateway.sessions.session import Session, Turn
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.ollama_server import RealOllama
from tests.pictures import encoded, shape
from tests.scripted_engine import ScriptedEngine

TALK = "What is in this picture? " * 150
"""About a quarter of the demo model's context of 4096 tokens."""
QUESTION = TextPart("What do you see?")
BRIEF = Options(temperature=0, num_predict=16)


async def unload(gateway: Gateway) -> None:
    engine = gateway.pool.engine("ollama")
    async with engine.chat(EngineRequest("demo", (), keep_alive=0)) as events:
        assert [type(event) async for event in events] == [Finish]
    async with asyncio.timeout(10):
        while any(model.loaded for model in await engine.models()):
            pass


async def test_a_long_session_goes_on_after_its_model_was_unloaded(own_ollama: RealOllama, caplog: pytest.LogCaptureFixture) -> None:
    """The engine's refusal tells how large the context is; then the oldest text goes, and it is not refused again."""
    async with open_gateway(Settings(engine="ollama", ollama_host=own_ollama.url, model="demo", image_workers=1)) as gateway:
        turn = Turn((TextPart(TALK),), "A circle.", model="demo")
        session = gateway.sessions.create(Session(model="demo", engine="ollama", turns=tuple(replace(turn, id=n) for n in range(8))))
        first = await ask(gateway, QUESTION, session=session, options=BRIEF)
        assert [warning.partition(":")[0] for warning in first.context.warnings] == ["context_trimmed"]
        assert first.context.limit == 4096
        assert caplog.text.count("Ollama refused") == 1
        await unload(gateway)
        second = await ask(gateway, QUESTION, session=session, options=BRIEF)
        assert second.context.limit == 4096
        assert caplog.text.count("Ollama refused") == 1


async def test_what_can_not_be_shortened_is_refused_with_the_way_out(own_ollama: RealOllama) -> None:
    async with open_gateway(Settings(engine="ollama", ollama_host=own_ollama.url, model="demo", image_workers=1)) as gateway:
        with pytest.raises(ContextLengthExceeded) as refused:
            await ask(gateway, TextPart(TALK * 8), options=BRIEF)
    assert refused.value.extra["n_ctx"] == 4096
    assert refused.value.hint.startswith("Ask in fewer words")


class Uncounting(ScriptedEngine):
    """A server that takes 600 tokens for a picture, refuses more than 4096, and tells neither before."""

    def __init__(self) -> None:
        super().__init__(self.answer, name="openai")
        self.refused = 0

    @staticmethod
    def size(request: EngineRequest) -> int:
        return sum(600 * len(message.images) + len(message.text) // 4 for message in request.messages)

    async def answer(self, request: EngineRequest) -> AsyncGenerator[ChatEvent]:
        yield TextDelta("A circle.")
        yield Finish("stop", Usage(self.size(request), 3, 0))

    @asynccontextmanager
    async def chat(self, request: EngineRequest) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        if (size := self.size(request)) > 4096:
            self.refused += 1
            raise ContextLengthExceeded(extra={"n_prompt_tokens": size, "n_ctx": 4096})
        async with super().chat(request) as events:
            yield events


def circle(side: int) -> Upload:
    return Upload(encoded(shape("circle", "red", size=(side, side))))


async def test_what_pictures_cost_is_learned_also_where_the_engine_counts_nothing() -> None:
    async with scripted(engine := Uncounting()) as gateway:
        await ask(gateway, circle(200), QUESTION)
        count = (await gateway.count_tokens(ChatRequest((circle(200), circle(208), QUESTION)))).fitted.count
        assert count
        assert count.images == pytest.approx((600, 600), rel=0.05)
        assert count.label == "estimated"
        session = gateway.sessions.create(Session(policy="sliding"))
        for turn in range(12):
            answer = await ask(gateway, circle(200 + turn), QUESTION, session=session)
        assert any(item.image_id for item in answer.context.dropped)
        assert engine.refused <= 1  # which told how large the context is


async def test_a_prompt_that_was_thought_to_fit_is_shortened_by_what_the_engine_found() -> None:
    """The pictures of the session were never seen to cost anything: their turns come from elsewhere."""
    async with scripted(engine := Uncounting()) as gateway:
        engine.context = 4096
        image_id, *_ = await gateway.store(circle(200), None)
        turns = tuple(Turn((ImagePart(image_id), QUESTION), "A circle.", id=number) for number in range(1, 9))
        session = gateway.sessions.create(Session(policy="sliding", turns=turns, model="scripted", engine="openai"))
        answer = await ask(gateway, QUESTION, session=session)
        assert engine.refused == 1
        assert [warning.partition(":")[0] for warning in answer.context.warnings] == ["context_trimmed"]


async def test_a_long_system_prompt_that_was_reckoned_too_long_is_no_missing_picture() -> None:
    async def short(request: EngineRequest) -> AsyncGenerator[ChatEvent]:
        yield TextDelta("A circle.")
        yield Finish("stop", Usage(600 + sum(len(message.text) // 5 for message in request.messages), 3, 0))

    async with scripted(ScriptedEngine(short)) as gateway:
        answer = await ask(gateway, circle(200), QUESTION, system="Say what it is. " * 560)
    assert answer.warnings == ()


def scripted(engine: ScriptedEngine) -> AbstractAsyncContextManager[Gateway]:
    return open_gateway(Settings(image_workers=1), [engine])
