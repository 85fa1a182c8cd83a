"""Conversations that outgrow a context whose size is known only later: models that Ollama has not loaded, and engines that can't count."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, FinishReason, TextDelta, TokenCount, Usage, user_request
from llava_gateway.context.window import Window
from llava_gateway.engines.base import EngineName, ModelInfo
from llava_gateway.errors import ContextLengthExceeded
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.facts import VisionFacts
from llava_gateway.notes import note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.ollama_server import RealOllama
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine
from tests.session_values import a_session, changing

TALK = "What is in this picture? " * 150
"""About a quarter of the demo model's context of 4096 tokens."""
QUESTION = TextPart("What do you see?")
BRIEF = Options(temperature=0, num_predict=16)


async def unload(gateway: Gateway) -> None:
    engine = gateway.pool.engine("ollama")
    async with engine.chat(EngineRequest("demo", (), keep_alive=0)) as events:
        assert [type(event) async for event in events] == [Finish]
    async with asyncio.timeout(60):
        while any(model.loaded for model in await engine.models()):
            pass


async def test_a_long_session_goes_on_after_its_model_was_unloaded(own_ollama: RealOllama, caplog: pytest.LogCaptureFixture) -> None:
    """The engine's rejection reveals the size of the context. Then the oldest text is dropped, and no further prompt is rejected."""
    async with open_gateway(Settings(engine="ollama", ollama_host=own_ollama.url, model="demo", image_workers=1)) as gateway:
        turn = Turn((TextPart(TALK),), "A circle.", model="demo")
        session = gateway.sessions.create(a_session(model="demo", engine="ollama", turns=tuple(replace(turn, id=n) for n in range(8))))
        first = await ask(gateway, QUESTION, session=session, options=BRIEF)
        assert [warning.code for warning in first.context.warnings] == ["context_trimmed"]
        assert first.context.limit == 4096
        assert caplog.text.count("Ollama rejected a request") == 1
        await unload(gateway)
        second = await ask(gateway, QUESTION, session=session, options=BRIEF)
        assert second.context.limit == 4096
        assert caplog.text.count("Ollama rejected a request") == 1


async def test_what_can_not_be_shortened_is_refused_with_the_way_out(own_ollama: RealOllama) -> None:
    async with open_gateway(Settings(engine="ollama", ollama_host=own_ollama.url, model="demo", image_workers=1)) as gateway:
        with pytest.raises(ContextLengthExceeded) as refused:
            await ask(gateway, TextPart(TALK * 8), options=BRIEF)
    assert refused.value.values["n_ctx"] == 4096
    assert refused.value.values["ways"] == ()


class Uncounting(ScriptedEngine):
    """A server that spends 600 tokens on an image and rejects more than 4096 tokens, but reports neither in advance."""

    def __init__(self) -> None:
        super().__init__(self.answer, name="openai")
        self.refused = 0
        self.letters_per_token = 4.0

    def size(self, request: EngineRequest) -> int:
        return sum(600 * len(message.images) + int(len(message.text) / self.letters_per_token) for message in request.messages)

    async def answer(self, request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("A circle.")
        yield Finish("stop", Usage(self.size(request), 3, 0))

    @asynccontextmanager
    async def chat(self, request: EngineRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        if (size := self.size(request)) > 4096:
            self.refused += 1
            raise ContextLengthExceeded(values={"n_prompt_tokens": size, "n_ctx": 4096})
        async with super().chat(request) as events:
            yield events


def circle(side: int) -> Upload:
    return Upload(encoded(shape("circle", "red", size=(side, side))))


async def test_what_images_cost_is_learned_also_where_the_engine_counts_nothing() -> None:
    async with scripted(engine := Uncounting()) as gateway:
        await ask(gateway, circle(200), QUESTION)
        count = (await gateway.count_tokens(user_request(circle(200), circle(208), QUESTION))).fitted.count
        assert count
        assert count.images == pytest.approx((600, 600), rel=0.05)
        assert count.label == "estimated"
        session = gateway.sessions.create(a_session(policy="sliding"))
        for turn in range(12):
            answer = await ask(gateway, circle(200 + turn), QUESTION, session=session)
        assert any(item.image_id for item in answer.context.dropped)
        assert engine.refused <= 1  # the rejection reveals the size of the context


async def test_a_prompt_that_was_thought_to_fit_is_shortened_by_what_the_engine_found() -> None:
    """The cost of the session's images was never measured, because its turns were imported."""
    async with scripted(engine := Uncounting()) as gateway:
        engine.context = 4096
        image_id, *_ = await gateway.image_requests.store(circle(200), None)
        turns = tuple(Turn((ImagePart(image_id), QUESTION), "A circle.", id=number) for number in range(1, 9))
        session = gateway.sessions.create(a_session(policy="sliding", turns=turns, model="scripted", engine="openai"))
        answer = await ask(gateway, QUESTION, session=session)
        assert engine.refused == 1
        assert [warning.code for warning in answer.context.warnings] == ["context_trimmed"]


async def test_a_long_system_prompt_that_was_reckoned_too_long_is_no_missing_image() -> None:
    async def short(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("A circle.")
        yield Finish("stop", Usage(600 + sum(len(message.text) // 5 for message in request.messages), 3, 0))

    async with scripted(ScriptedEngine(short)) as gateway:
        answer = await ask(gateway, circle(200), QUESTION, system="Say what it is. " * 560)
    assert answer.warnings == ()


async def test_an_image_whose_cost_the_refusal_tells_makes_old_text_go() -> None:
    async with scripted(engine := Uncounting()) as gateway:
        engine.context, engine.letters_per_token = 4096, 3.25  # so that the estimate is right
        session = gateway.sessions.create(talk(6, engine="openai"))
        answer = await ask(gateway, circle(200), QUESTION, session=session)
        assert engine.refused == 1
        assert [warning.code for warning in answer.context.warnings] == ["context_trimmed"]
        assert answer.images[0].sent.tokens == pytest.approx(600, rel=0.1)


async def test_two_warnings_alike_do_not_hide_the_one_that_comes_after_them() -> None:
    async with scripted(engine := Uncounting()) as gateway:
        engine.context = 4096
        moving = io.BytesIO()
        frames = [shape("circle", colour) for colour in ("red", "blue")]
        frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
        session = gateway.sessions.create(talk(6, engine="openai"))
        answer = await ask(gateway, Upload(moving.getvalue()), Upload(moving.getvalue()), QUESTION, session=session)
        assert engine.refused == 1
        assert [warning.code for warning in answer.warnings] == ["animation_sheet", "context_trimmed"]


async def test_a_model_that_passes_over_images_is_found_out_behind_a_long_question_too() -> None:
    async def blind(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("A circle.")
        yield Finish("stop", Usage(sum(8 + len(message.text) // 4 for message in request.messages), 3, 0))

    engine = ScriptedEngine(blind)
    engine.installed = (ModelInfo("eye", "ollama", True, VisionFacts("mlp", 336, 14)),)
    async with scripted(engine) as gateway:
        assert (await ask(gateway, circle(200), TextPart("word " * 500))).warnings == ()  # too long to be sure
        (warning,) = (await ask(gateway, circle(200), QUESTION)).warnings
        assert warning.code == "image_ignored"


async def test_an_image_that_went_for_lack_of_room_comes_back_when_a_person_pins_it() -> None:
    async with scripted(engine := ScriptedEngine()) as gateway:
        ids = [(await gateway.image_requests.store(circle(side), None))[0] for side in (200, 208)]
        session = Session(model="scripted", engine="ollama")
        for image_id in ids:
            session = session.with_turn(Turn((ImagePart(image_id), QUESTION), "A circle."))
        session = gateway.sessions.create(changing(window=Window(start=2, gone=frozenset({1, 2})))(session))
        for pins, told in (({}, []), ({ids[0]: True}, ids[:1])):
            gateway.sessions.change(session.id, changing(pins=pins))
            await ask(gateway, QUESTION, session=session)
            assert [part.image_id for part in engine.requests[-1].images] == told


class Counting(ScriptedEngine):
    """An engine that counts tokens by `total`, with a context of 4096 tokens or the requested num_ctx."""

    def __init__(self, *, ignores: frozenset[str] = frozenset()) -> None:
        super().__init__(self.answer)
        self.counted, self.ignores = self.total, ignores

    @staticmethod
    def total(request: EngineRequest) -> TokenCount:
        return TokenCount(0, sum(len(message.text) // 4 + 8 for message in request.messages), (), "exact")

    async def answer(self, request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Yes.")
        yield Finish("stop", Usage(self.total(request).total, 3, 0))

    async def context_length(self, request: EngineRequest) -> int:
        return (None if self.ignores else request.options.num_ctx) or 4096


@pytest.mark.parametrize("turns", [9, 40, 300])
async def test_words_that_take_more_tokens_than_reckoned_are_dropped(turns: int) -> None:
    """As in a session that had a larger context until now, or that was imported."""

    class Wordy(Counting):
        @staticmethod
        def total(request: EngineRequest) -> TokenCount:
            return TokenCount(0, sum(len(message.text) + 8 for message in request.messages), (), "exact")

    async with scripted(engine := Wordy()) as gateway:
        session = gateway.sessions.create(talk(turns))
        answer = await ask(gateway, QUESTION, session=session)
        assert [warning.code for warning in answer.context.warnings] == ["context_trimmed"]
        assert len(engine.requests[-1].messages) in (3, 5)
        assert engine.requests[-1].messages[-1].text == QUESTION.text


async def test_what_is_far_beyond_the_context_is_not_given_to_be_counted() -> None:
    """The prompt would have to be written for the engine, and its answer parsed, while every other request waits."""
    sizes: list[int] = []

    class Watched(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.counted = self.watched

        def watched(self, request: EngineRequest) -> TokenCount:
            sizes.append(sum(len(message.text) for message in request.messages))
            return self.total(request)

    async with scripted(engine := Watched()) as gateway:
        session = gateway.sessions.create(talk(900))
        answer = await ask(gateway, QUESTION, session=session)
        assert [warning.code for warning in answer.context.warnings] == ["context_trimmed"]
        assert 1 < len(engine.requests[-1].messages) < 20
        assert sizes
        assert max(sizes) < 100_000


GROWN = note("num_ctx_grown", old=4096, new=8192)


async def test_a_context_does_not_grow_where_the_engine_takes_no_num_ctx() -> None:
    async with scripted(Counting(ignores=frozenset({"num_ctx"})), num_ctx_max=16384) as gateway:
        answer = await ask(gateway, QUESTION, session=gateway.sessions.create(talk(9)))
        assert answer.context.limit == 4096
        assert [warning.code for warning in answer.context.warnings] == ["context_trimmed"]


async def test_that_a_context_grew_while_reading_ahead_is_said_with_the_answer_and_once() -> None:
    async with scripted(Counting(), num_ctx_max=16384) as gateway:
        session = gateway.sessions.create(talk(9))
        await gateway.read_ahead(user_request(TextPart("."), session_id=session.id))
        own = await ask(gateway, QUESTION, session=session, options=Options(num_ctx=4096))
        assert not any(warning.code == "num_ctx_grown" for warning in own.warnings), "it did not grow for this one"
        for warnings in ((GROWN,), ()):
            answer = await ask(gateway, QUESTION, session=session)
            assert (answer.context.limit, answer.warnings) == (8192, warnings)


async def test_who_needs_less_does_not_take_back_what_another_session_has_grown_to() -> None:
    async with scripted(engine := Counting(), num_ctx_max=32768) as gateway:
        slow, fast = gateway.sessions.create(talk(9)), gateway.sessions.create(talk(20))
        late = asyncio.Event()

        async def count(request: EngineRequest) -> TokenCount:
            if len(request.messages) < 20:
                await late.wait()
            return engine.total(request)

        engine.count = count  # type: ignore[method-assign]
        first = asyncio.create_task(ask(gateway, QUESTION, session=slow))
        await asyncio.sleep(0)
        assert (await ask(gateway, QUESTION, session=fast)).context.limit == 16384
        late.set()
        await first
        assert (await ask(gateway, QUESTION, session=fast)).context.warnings == ()


def talk(turns: int, engine: EngineName = "ollama") -> Session:
    """Return a session with turns of about 520 tokens."""
    session = Session(model="scripted", engine=engine)
    for _ in range(turns):
        session = session.with_turn(Turn((TextPart("x " * 1000),), "Yes."))
    return session


def scripted(engine: ScriptedEngine, **settings: Any) -> AbstractAsyncContextManager[Gateway]:
    return open_gateway(Settings(image_workers=1, **settings), [engine])


@pytest.mark.parametrize(("words", "reason", "code"), [(96, "length", "context_full"), (50, "length", ""), (96, "stop", "")])
async def test_an_answer_that_ends_with_the_context_says_so(words: int, reason: FinishReason, code: str) -> None:
    async def answer(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("And so on")
        yield Finish(reason, Usage(4000, words, 0))

    engine = ScriptedEngine(answer)
    engine.context = 4096
    async with scripted(engine) as gateway:
        session = gateway.sessions.create(Session())
        answered = await ask(gateway, QUESTION, session=session)
        assert [warning.code for warning in answered.warnings] == [code] * bool(code)
        assert gateway.sessions.get(session.id).turns[0].warnings == answered.warnings
