"""A summary that is made in the background replaces dropped text, under the policy that asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from llava_gateway.answers import Answer
from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Policy, TextDelta, TokenCount, Usage, user_request
from llava_gateway.context.words import summary_question
from llava_gateway.errors import UpstreamDisconnected
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import Note
from llava_gateway.options import Options
from llava_gateway.parts import TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings
from tests.gateways import open_gateway
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine
from tests.serving import until
from tests.session_values import a_session

SUMMARY = "They spoke of a red circle."
ASKED = summary_question(chinese=False)
LIMIT = 1000
EACH = 60
"""Tokens of a message."""
ENOUGH = 50
"""Turns until the context must be full."""


def tokens(request: EngineRequest) -> int:
    return EACH * len(request.messages)


def counted(request: EngineRequest) -> TokenCount:
    images = tuple(10 for message in request.messages for _ in message.images)
    return TokenCount(0, tokens(request) - sum(images), images, "exact")


async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    yield TextDelta(SUMMARY if request.messages[-1].text.endswith(ASKED) else "Yes.")
    yield Finish("stop", Usage(tokens(request), EACH, 0))


@pytest.fixture
def engine() -> ScriptedEngine:
    engine = ScriptedEngine(script)
    engine.context = LIMIT
    engine.counted = counted
    return engine


@pytest.fixture
async def gateway(engine: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with open_gateway(Settings(image_workers=1), [engine]) as gateway:
        yield gateway


async def ask(gateway: Gateway, session: Session, *parts: TextPart | Upload, **rest: Any) -> Answer:
    answer = await gateway.answer(user_request(*parts, session_id=session.id, **rest))
    await gateway.summariser.wait(session.id)
    return answer


def summaries(engine: ScriptedEngine) -> int:
    return sum(request.messages[-1].text.endswith(ASKED) for request in engine.requests)


async def test_it_is_made_once_before_it_is_needed_and_then_stands_where_the_text_stood(gateway: Gateway, engine: ScriptedEngine) -> None:
    session = gateway.sessions.create(a_session(policy="summarise"))
    await ask(gateway, session, Upload(encoded(shape("circle", "red"))), TextPart("Describe this image."))
    warnings: tuple[Note, ...] = ()
    while not warnings and len(engine.requests) < ENOUGH:
        warnings = (await ask(gateway, session, TextPart("And now?"))).context.warnings
    assert (warnings[0].code, warnings[0].values["summarised"]) == ("context_trimmed", 1)
    assert summaries(engine) == 1
    told = engine.requests[-1].messages
    assert told[0].images, "the image stays in front"
    assert told[2].text.startswith(f"(Summary of what was said before: {SUMMARY})")
    assert [turn.prompt for turn in gateway.sessions.get(session.id).turns][-1] == "And now?"


@pytest.mark.parametrize("policy", ["pin_images", "sliding"])
async def test_other_policies_ask_for_none(gateway: Gateway, engine: ScriptedEngine, policy: Policy) -> None:
    session = gateway.sessions.create(a_session(policy=policy))
    for _ in range(12):
        await ask(gateway, session, TextPart("And now?"))
    assert summaries(engine) == 0


async def test_a_question_ends_it_and_the_next_turn_tries_again(gateway: Gateway, engine: ScriptedEngine) -> None:
    session = gateway.sessions.create(a_session(policy="summarise"))
    begun = asyncio.Event()

    async def slow(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.messages[-1].text.endswith(ASKED) and not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        async for event in script(request):
            yield event

    engine.script = slow
    asking = asyncio.create_task(ask_until(gateway, session, begun))
    await begun.wait()
    await asking
    await ask(gateway, session, TextPart("A question that comes first"))
    async with asyncio.timeout(20):
        while not gateway.sessions.get(session.id).prompt_state.summary:
            await ask(gateway, session, TextPart("And now?"))
    assert gateway.sessions.get(session.id).prompt_state.summary == SUMMARY


async def test_more_questions_do_not_disturb_its_end(gateway: Gateway, engine: ScriptedEngine) -> None:
    session = gateway.sessions.create(a_session(policy="summarise"))
    begun, ending, let_end, ended = (asyncio.Event() for _ in range(4))

    async def slow_to_end(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if not request.messages[-1].text.endswith(ASKED):
            async for event in script(request):
                yield event
            return
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await let_end.wait()
            ended.set()

    engine.script = slow_to_end
    await ask_until(gateway, session, begun)
    questions = [asyncio.create_task(ask(gateway, session, TextPart("A question that comes first")))]
    await ending.wait()
    for _ in range(2):
        other = gateway.sessions.create(Session())
        questions.append(asyncio.create_task(ask(gateway, other, TextPart("Another"))))
    await until(lambda: gateway.queues["ollama"].waiting == len(questions))
    let_end.set()
    await until(ended.is_set)
    assert {answer.text for answer in await asyncio.gather(*questions)} == {"Yes."}


async def ask_until(gateway: Gateway, session: Session, begun: asyncio.Event) -> None:
    for _ in range(ENOUGH):
        async with gateway.ask(user_request(TextPart("And now?"), session_id=session.id)) as answering:
            async for _ in answering:
                pass
        await asyncio.sleep(0)
        if begun.is_set():
            return
    pytest.fail("no summary was asked for")


async def a_session_in_an_endless_summary(gateway: Gateway, engine: ScriptedEngine) -> Session:
    """Return a session whose summary has begun and never ends by itself."""
    session = gateway.sessions.create(a_session(policy="summarise"))
    begun = asyncio.Event()

    async def endless(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.messages[-1].text.endswith(ASKED):
            begun.set()
            await asyncio.Event().wait()
        async for event in script(request):
            yield event

    engine.script = endless
    await ask_until(gateway, session, begun)
    return session


async def test_a_session_that_is_deleted_needs_none(gateway: Gateway, engine: ScriptedEngine) -> None:
    session = await a_session_in_an_endless_summary(gateway, engine)
    assert engine.running == 1
    gateway.sessions.delete(session.id)
    await until(lambda: engine.running == 0)


async def test_it_is_given_up_when_the_session_makes_room_for_others(gateway: Gateway, engine: ScriptedEngine) -> None:
    await a_session_in_an_endless_summary(gateway, engine)
    assert engine.running == 1
    gateway.images.make_room(gateway.settings.store_max_bytes)
    await until(lambda: engine.running == 0)


async def test_none_begins_once_it_has_ended(gateway: Gateway, engine: ScriptedEngine) -> None:
    """An answer that ends during the shutdown starts no summary."""
    answering, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        answering.set()
        await go_on.wait()
        yield TextDelta("Yes.")
        yield Finish("stop", Usage(LIMIT - EACH, EACH, 0))

    engine.script = slow
    session = gateway.sessions.create(a_session(policy="summarise"))
    asking = asyncio.create_task(ask(gateway, session, TextPart("Hi")))
    await answering.wait()
    draining = asyncio.create_task(gateway.drain())
    await until(lambda: gateway.closing)
    go_on.set()
    assert (await asking).text == "Yes."
    await draining
    assert (gateway.sessions.get(session.id).prompt_state.tokens, len(engine.requests)) == (LIMIT, 1)


async def test_a_summary_of_a_branch_that_was_left_meanwhile_is_not_kept(gateway: Gateway, engine: ScriptedEngine) -> None:
    session = gateway.sessions.create(a_session(policy="summarise"))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.messages[-1].text.endswith(ASKED):
            begun.set()
            await go_on.wait()
        async for event in script(request):
            yield event

    engine.script = slow
    await ask_until(gateway, session, begun)
    gateway.sessions.record(session.id, Turn((TextPart("Another one"),), "Yes."), (), after=0)
    go_on.set()
    await gateway.summariser.wait(session.id)
    assert (gateway.sessions.get(session.id).prompt_state.summary, summaries(engine)) == ("", 1)
    gateway.sessions.switch(session.id, 1)
    assert gateway.sessions.get(session.id).prompt_state.summary == ""


async def test_it_is_of_all_that_the_question_was_told(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Even if the session's own context is larger than the one remembered for the model."""

    async def context_length(request: EngineRequest) -> int | None:
        return request.options.num_ctx or (LIMIT if len(engine.requests) < 2 else None)

    engine.context_length = context_length  # type: ignore[method-assign]
    await ask(gateway, gateway.sessions.create(Session()), TextPart("Hello"))
    session = a_session(policy="summarise", model="scripted", engine="ollama")
    for _ in range(12):
        session = session.with_turn(Turn((TextPart("And now?"),), "Yes."))
    await ask(gateway, session := gateway.sessions.create(session), TextPart("And now?"), options=Options(num_ctx=2 * LIMIT))
    question, summary = engine.requests[-2:]
    assert len(question.messages) == 25
    assert len(summary.messages) == 27
    assert summary.options.num_ctx == 2 * LIMIT


async def test_a_model_that_is_unloaded_after_each_answer_is_not_loaded_for_it(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.unloads = True
    session = gateway.sessions.create(a_session(policy="summarise"))
    for _ in range(9):
        await ask(gateway, session, TextPart("And now?"), keep_alive=0)
    assert summaries(engine) == 0


async def test_a_summary_is_not_said_to_stand_for_what_it_is_not_of(gateway: Gateway, engine: ScriptedEngine) -> None:
    session = gateway.sessions.create(a_session(policy="summarise"))
    trimmed: list[Note] = []
    while len(trimmed) < 2 and len(engine.requests) < ENOUGH:
        trimmed += (await ask(gateway, session, TextPart("And now?"))).context.warnings
        if trimmed:
            engine.script = failing
    assert [warning.values["summarised"] for warning in trimmed] == [1, 0]
    assert SUMMARY in engine.requests[-1].messages[0].text, "of what it is of, it still tells"


async def failing(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    if request.messages[-1].text.endswith(ASKED):
        raise UpstreamDisconnected
    async for event in script(request):
        yield event
