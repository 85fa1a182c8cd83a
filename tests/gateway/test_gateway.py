"""The way of one question: what is kept and when, what is rejected, and how answers are ended from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from llava_gateway.answers import AnswerEvent, Done, Queued
from llava_gateway.chat import ChatRequest, EngineEvent, EngineRequest, Loading, ReasoningDelta, TextDelta, user_request
from llava_gateway.engines.base import ModelInfo
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    ImageNotFound,
    InvalidRequest,
    ModelLacksVision,
    ModelNotFound,
    Overloaded,
    SessionBusy,
    SessionDeleted,
    SessionNotFound,
    ShuttingDown,
    StorageFull,
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamTimeout,
)
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import MiB, Settings
from tests import sample_images
from tests.clock import time_passes
from tests.gateways import open_gateway, until_it_fails
from tests.scripted_engine import END, ScriptedEngine, says, says_then_waits
from tests.serving import until
from tests.session_values import a_session


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def open_(*engines: ScriptedEngine, **settings: Any) -> Gateway:
            return await stack.enter_async_context(open_gateway(Settings(image_workers=1, **settings), engines))

        yield open_


def question(*parts: TextPart | ImagePart | Upload, session: Session | None = None, **rest: Any) -> ChatRequest:
    return user_request(*(parts or (TextPart("Hi"),)), session_id=session.id if session else None, **rest)


def image(colour: str = "red") -> Upload:
    return Upload(sample_images.encoded(sample_images.shape("circle", colour)))


async def events_of(gateway: Gateway, request: ChatRequest) -> list[AnswerEvent]:
    async with gateway.ask(request) as events:
        return [event async for event in events]


async def failure_of(gateway: Gateway, request: ChatRequest) -> GatewayError:
    """Return the error of an answer that was accepted and then failed."""
    async with gateway.ask(request) as events:
        return (await until_it_fails(events))[1]


def turns(gateway: Gateway, session: Session) -> tuple[Turn, ...]:
    return gateway.sessions.get(session.id).turns


async def test_an_answer_is_whole_at_its_finish(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(says(" A", " circle.")))
    *words, end = await events_of(gateway, question(image(), TextPart("What is it?")))
    assert words == [TextDelta("A"), TextDelta(" circle.")]  # LLaVA's templates make answers begin with a space
    assert isinstance(end, Done)
    answer = end.answer
    assert (answer.text, answer.model, answer.engine, answer.session_id) == ("A circle.", "scripted", "ollama", None)
    assert (answer.images[0].width, answer.images[0].sent.width) == (112, 112)
    assert answer.timings.total_ms
    assert answer.timings.first_token_ms
    assert answer.timings.total_ms >= answer.timings.first_token_ms > 0


async def test_a_first_word_of_spaces_alone_is_no_word(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(says(" ", "\n", "Yes", " ")))
    *words, end = await events_of(gateway, question())
    assert words == [TextDelta("Yes"), TextDelta(" ")]
    assert isinstance(end, Done)


async def test_a_finished_turn_is_kept_with_its_image(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(says("A circle.")))
    session = gateway.sessions.create(Session())
    await events_of(gateway, question(image(), TextPart("What is it?"), session=session, options=Options(temperature=0.5)))
    (turn,) = turns(gateway, session)
    assert (turn.prompt, turn.answer, turn.status, turn.finish_reason) == ("What is it?", "A circle.", "complete", "stop")
    assert (turn.usage, turn.options.temperature, turn.model) == (END.usage, 0.5, "scripted")
    assert gateway.images.get(turn.images[0].image_id).canonical
    kept = gateway.sessions.get(session.id)
    assert (kept.title, kept.model, kept.engine) == ("What is it?", "scripted", "ollama")


async def test_the_next_turn_tells_the_model_everything_before_it_in_the_same_bytes(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(says("A circle."))
    gateway = await opened(engine)
    session = gateway.sessions.create(a_session(system="Be brief."))
    await events_of(gateway, question(image(), TextPart("What is it?"), session=session))
    await events_of(gateway, question(TextPart("What colour?"), session=session))
    first, second = engine.requests
    assert [(message.role, message.text) for message in second.messages] == [
        ("system", "Be brief."),
        ("user", "What is it?"),
        ("assistant", "A circle."),
        ("user", "What colour?"),
    ]
    (sent,), (again,) = first.renditions.values(), second.renditions.values()
    assert sent is again


@pytest.mark.parametrize(("script", "code"), [("raises", "upstream_disconnected"), ("ends", "upstream_incomplete")])
async def test_what_came_of_a_failed_answer_is_kept_and_marked(opened: Callable[..., Any], script: str, code: str) -> None:
    async def dies(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("A circ")
        if script == "raises":
            raise UpstreamDisconnected

    gateway = await opened(ScriptedEngine(dies))
    session = gateway.sessions.create(Session())
    assert (await failure_of(gateway, question(session=session))).code == code
    (turn,) = turns(gateway, session)
    assert (turn.answer, turn.status, turn.error_code, turn.finish_reason) == ("A circ", "incomplete", code, None)


async def test_what_the_engine_never_accepted_is_not_kept_and_the_session_stays_usable(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine()
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    engine.refusal = ContextLengthExceeded(values={"n_prompt_tokens": 9000, "n_ctx": 4096})
    values = (await failure_of(gateway, question(session=session))).values
    assert (values["n_prompt_tokens"], values["n_ctx"], values["num_ctx_needed"]) == (9000, 4096, 9472)
    assert turns(gateway, session) == ()
    engine.refusal = None
    await events_of(gateway, question(session=session))
    assert len(turns(gateway, session)) == 1


async def test_leaving_after_the_first_word_ends_the_engine_and_keeps_what_came(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    async with gateway.ask(question(session=session)) as answering:
        assert await anext(aiter(answering)) == TextDelta("One")
        assert engine.running == 1
    assert engine.running == 0
    (turn,) = turns(gateway, session)
    assert (turn.answer, turn.status) == ("One", "cancelled")
    assert gateway.queues["ollama"].active == 0
    assert not gateway.sessions.is_running(session.id)


async def test_leaving_before_the_first_word_keeps_the_question_for_the_next_turn(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    asking = asyncio.create_task(events_of(gateway, question(image(), TextPart("What is it?"), session=session)))
    await until(lambda: engine.running == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert engine.running == 0
    (turn,) = turns(gateway, session)
    assert (turn.prompt, turn.answer, turn.status, len(turn.images)) == ("What is it?", "", "cancelled", 1)

    engine.script = says("A circle.")
    await events_of(gateway, question(TextPart("Well?"), session=session))
    (asked,) = engine.requests[-1].messages
    assert (asked.text, len(asked.images)) == ("What is it?\nWell?", 1)


async def test_leaving_the_queue_keeps_the_question_and_frees_the_place(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    async with gateway.ask(question()) as first:
        await anext(aiter(first))
        async with gateway.ask(question(session=session)) as second:
            assert await anext(aiter(second)) == Queued(1)
            assert gateway.queues["ollama"].waiting == 1
        assert gateway.queues["ollama"].waiting == 0
    assert [(turn.answer, turn.status) for turn in turns(gateway, session)] == [("", "cancelled")]
    assert len(engine.requests) == 1


async def test_waiting_too_long_in_the_queue_keeps_nothing(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(says_then_waits("One")), queue_timeout=0.05)
    session = gateway.sessions.create(Session())
    async with gateway.ask(question()) as first:
        await anext(aiter(first))
        assert isinstance(await failure_of(gateway, question(session=session)), Overloaded)
    assert turns(gateway, session) == ()


async def test_a_full_queue_refuses_before_any_work_is_done(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(says_then_waits("One")), queue_size=0)
    async with gateway.ask(question()) as first:
        await anext(aiter(first))
        with pytest.raises(Overloaded):
            await events_of(gateway, question(image()))
    assert gateway.images.bytes_used == 0


async def test_a_second_turn_in_a_running_session_is_refused(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(says_then_waits("One"), slots=2))
    session = gateway.sessions.create(Session())
    async with gateway.ask(question(session=session)) as first:
        await anext(aiter(first))
        with pytest.raises(SessionBusy):
            await events_of(gateway, question(session=session))
    assert len(turns(gateway, session)) == 1


async def test_deleting_a_session_ends_its_answer_and_no_other(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(says_then_waits("One"), slots=2)
    gateway = await opened(engine)
    session, other = gateway.sessions.create(Session()), gateway.sessions.create(Session())
    async with gateway.ask(question(session=session)) as one, gateway.ask(question(session=other)) as two:
        assert await anext(aiter(one)) == await anext(aiter(two)) == TextDelta("One")
        gateway.sessions.delete(session.id)
        with pytest.raises(SessionDeleted):
            await anext(aiter(one))
        assert engine.running == 1
    with pytest.raises(SessionNotFound):
        gateway.sessions.get(session.id)
    assert len(turns(gateway, other)) == 1


async def test_deleting_a_session_in_the_last_moment_wins(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine())
    session = gateway.sessions.create(Session())

    async def deleted_while_it_ends(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")
        gateway.sessions.delete(session.id)
        yield END

    gateway.pool.engine("ollama").script = deleted_while_it_ends
    assert isinstance(await failure_of(gateway, question(session=session)), SessionDeleted)


async def test_what_runs_at_a_shutdown_may_end_by_itself_within_the_grace(opened: Callable[..., Any]) -> None:
    go_on = asyncio.Event()

    async def slow(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")
        await go_on.wait()
        yield END

    gateway = await opened(ScriptedEngine(slow), shutdown_grace=5)
    async with gateway.ask(question()) as answering:
        await anext(aiter(answering))
        draining = asyncio.create_task(gateway.drain())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await events_of(gateway, question())
        go_on.set()
        assert isinstance(await anext(aiter(answering)), Done)
        assert not draining.done()
    await draining


@pytest.mark.parametrize("impatient", [False, True])
async def test_after_the_grace_every_answer_ends_with_shutting_down(opened: Callable[..., Any], impatient: bool) -> None:
    gateway = await opened(ScriptedEngine(says_then_waits("One")), shutdown_grace=60 if impatient else 0.02)
    session = gateway.sessions.create(Session())

    asking = [asyncio.create_task(failure_of(gateway, question(session=session))), asyncio.create_task(failure_of(gateway, question()))]
    await until(lambda: gateway.queues["ollama"].waiting == 1)
    draining = asyncio.create_task(gateway.drain())
    await asyncio.sleep(0)
    if impatient:
        gateway.end_grace_period()
    await draining
    for error in await asyncio.gather(*asking):
        assert isinstance(error, ShuttingDown)
    assert [turn.status for turn in turns(gateway, session)] == ["incomplete"]


async def test_a_question_still_being_prepared_at_the_shutdown_ends_like_the_others(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await opened(ScriptedEngine(says_then_waits("One")), shutdown_grace=60)
    preparing, prepared = asyncio.Event(), asyncio.Event()
    add = gateway.images.add

    async def slow_add(*args: Any, **kwargs: Any) -> Any:
        preparing.set()
        await prepared.wait()
        return await add(*args, **kwargs)

    monkeypatch.setattr(gateway.images, "add", slow_add)
    asking = asyncio.create_task(failure_of(gateway, question(image())))
    await preparing.wait()
    draining = asyncio.create_task(gateway.drain())
    await asyncio.sleep(0)
    await time_passes(60)
    assert gateway._ending
    assert not draining.done()
    prepared.set()
    assert isinstance(await asking, ShuttingDown)
    await draining


async def test_pins_are_sent_unless_the_request_says_otherwise(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(model_names=("llava:latest",))
    gateway = await opened(engine, models={"llava": {"num_ctx": 2048, "num_gpu": 3}}, keep_alive="5m")
    await events_of(gateway, question(options=Options(temperature=0.1)))
    await events_of(gateway, question(options=Options(num_ctx=4096), keep_alive=0))
    pinned, asked = engine.requests
    assert (pinned.options, pinned.keep_alive) == (Options(temperature=0.1, num_ctx=2048, num_gpu=3), "5m")
    assert (asked.options, asked.keep_alive) == (Options(num_ctx=4096, num_gpu=3), 0)


async def test_who_makes_the_model_load_again_is_told_so_and_how_long_the_last_load_took(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine()
    engine.load = Loading("scripted", note("option_changed", option="num_ctx", old=4096, new=8192), 2340.0)
    gateway = await opened(engine)
    load, *_, end = await events_of(gateway, question(options=Options(num_ctx=8192)))
    assert load == engine.load
    assert isinstance(end, Done)
    assert end.answer.warnings == (
        note("model_reload", reason="option_changed", option="num_ctx", old=4096, new=8192, last_load_ms=2340.0),
    )
    load, *_, end = await events_of(gateway, question())
    assert load == engine.load
    assert isinstance(end, Done)
    assert end.answer.warnings == ()  # the options did not cause this load


async def test_a_model_that_is_gone_is_named_to_its_session_and_another_may_go_on(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(model_names=("one", "two"))
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    await events_of(gateway, question(session=session, model="two"))
    await events_of(gateway, question(session=session))
    assert engine.requests[-1].model == "two"  # the session keeps its model, although "one" is the default
    engine.installed = engine.installed[:1]
    await gateway.pool.refresh()
    with pytest.raises(ModelNotFound) as gone:
        await events_of(gateway, question(session=session))
    assert (gone.value.reason, gone.value.values["model"]) == ("session_model_gone", "two")
    await events_of(gateway, question(session=session, model="one"))
    assert [turn.model for turn in turns(gateway, session)] == ["two", "two", "one"]


async def test_a_session_stays_with_its_engine(opened: Callable[..., Any]) -> None:
    ollama, embedded = ScriptedEngine(name="ollama", model_names=("demo",)), ScriptedEngine(name="embedded", model_names=("demo",))
    ollama.up = False
    gateway = await opened(ollama, embedded)
    session = gateway.sessions.create(Session())
    await events_of(gateway, question(session=session))
    ollama.up = True
    await gateway.pool.refresh()
    await events_of(gateway, question(session=session))
    await events_of(gateway, question())
    assert (len(embedded.requests), len(ollama.requests)) == (2, 1)


async def with_a_blind_model(opened: Callable[..., Any], **settings: Any) -> tuple[Gateway, ScriptedEngine, Session]:
    """Open a gateway with a session in which a model has described an image, and with a model that can't see."""
    engine = ScriptedEngine(says("A red circle."), model_names=("eye",))
    engine.installed = (*engine.installed, ModelInfo("blind", "ollama", vision=False))
    gateway = await opened(engine, **settings)
    session = gateway.sessions.create(Session())
    await events_of(gateway, question(image(), session=session))
    return gateway, engine, session


async def test_a_model_that_can_not_see_answers_from_what_was_said_about_the_images(opened: Callable[..., Any]) -> None:
    gateway, engine, session = await with_a_blind_model(opened)
    events = await events_of(gateway, question(session=session, model="blind"))
    assert isinstance(events[-1], Done)
    assert events[-1].answer.warnings == (note("images_unseen", model="blind", count=1),)
    sent = engine.requests[-1]
    assert (sent.model, sent.images) == ("blind", ())
    assert any("It was described as: A red circle." in message.text for message in sent.messages)
    assert "A red circle." in [message.text for message in sent.messages if message.role == "assistant"]
    # A model that sees gets the image again, as before.
    await events_of(gateway, question(session=session, model="eye"))
    assert len(engine.requests[-1].images) == 1


@pytest.mark.parametrize(("setting", "field"), [(True, None), (False, True), (True, True)])
async def test_strict_vision_keeps_the_refusal(opened: Callable[..., Any], setting: bool, field: bool | None) -> None:
    gateway, engine, session = await with_a_blind_model(opened, strict_vision=setting)
    with pytest.raises(ModelLacksVision):
        await events_of(gateway, question(session=session, model="blind", strict_vision=field))
    assert len(engine.requests) == 1
    await events_of(gateway, question(session=session, model="blind", strict_vision=False))
    assert engine.requests[-1].model == "blind"


async def test_images_are_not_sent_to_a_model_that_can_not_see(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(model_names=("eye",))
    engine.installed = (*engine.installed, ModelInfo("blind", "ollama", vision=False))
    gateway = await opened(engine)
    with pytest.raises(ModelLacksVision) as refused:
        await events_of(gateway, question(image(), model="blind"))
    assert (refused.value.reason, refused.value.values) == ("model_lacks_vision_named", {"model": "blind", "installed": ("eye",)})
    session = gateway.sessions.create(Session())
    with pytest.raises(ModelLacksVision):
        await events_of(gateway, question(image(), session=session, model="blind"))
    await events_of(gateway, question(model="blind"))
    assert engine.requests[-1].model == "blind"


async def test_images_keep_their_place_between_words_and_go_out_in_order(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine()
    gateway = await opened(engine)
    stored, _, _ = await gateway.image_requests.store(image("blue"), None)
    await events_of(gateway, question(TextPart("First:"), image("red"), TextPart("second:"), ImagePart(stored), TextPart("?")))
    (message,) = engine.requests[0].messages
    told = [part.text if isinstance(part, TextPart) else "image" for part in message.parts]
    assert told == ["First:", "Picture 1:", "image", "second:", "Picture 2:", "image", "?"]
    red, blue = (engine.requests[0].renditions[part].pieces[0].data for part in message.images)
    assert red != blue


async def test_too_many_images_and_unknown_ones_are_named(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(), images_per_turn=2)
    with pytest.raises(InvalidRequest) as refused:
        await events_of(gateway, question(*[image() for _ in range(3)]))
    assert refused.value.code == "too_many_images"
    with pytest.raises(ImageNotFound) as missing:
        await events_of(gateway, question(image(), ImagePart("0" * 64)))
    assert missing.value.place == ("image", 1)


async def test_images_are_held_while_they_are_asked_about_and_then_let_go(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    gateway = await opened(engine, store_max_bytes=MiB)
    async with gateway.ask(question(image())) as events:
        await anext(events)
        image_id, *_ = await gateway.image_requests.store(image(), None)
        with pytest.raises(StorageFull):
            gateway.images.make_room(MiB)
    gateway.images.make_room(MiB)
    with pytest.raises(ImageNotFound):
        gateway.images.get(image_id)


async def test_the_same_new_image_is_ready_for_a_second_question_while_the_first_runs(opened: Callable[..., Any]) -> None:
    gateway = await opened(ScriptedEngine(slots=2))
    first, second = await asyncio.gather(gateway.answer(question(image())), gateway.answer(question(image())))
    assert (first.text, first.images) == (second.text, second.images)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"first_token_timeout": 0.03}, ()),
        ({"token_gap_timeout": 0.03}, ("One",)),
    ],
)
async def test_silence_has_a_limit_before_and_after_the_first_word(
    opened: Callable[..., Any], limits: dict[str, float], words: tuple[str, ...]
) -> None:
    engine = ScriptedEngine(says_then_waits(*words))
    gateway = await opened(engine, **limits)
    session = gateway.sessions.create(Session())
    assert isinstance(await failure_of(gateway, question(session=session)), UpstreamTimeout)
    assert engine.running == 0
    (turn,) = turns(gateway, session)
    assert (turn.answer, turn.status, turn.error_code) == ("".join(words), "incomplete", "upstream_timeout")


async def test_an_option_that_the_engine_does_not_know_is_not_ignored_in_silence(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine()
    engine.ignores = frozenset({"min_p"})
    gateway = await opened(engine)
    answer = await gateway.answer(question(options=Options(temperature=0, min_p=0.1)))
    assert answer.warnings == (note("option_ignored", option="min_p"),)


async def test_a_question_the_engine_was_silent_about_is_kept(opened: Callable[..., Any]) -> None:
    """Ollama sends nothing before its first word, not even a status."""
    engine = ScriptedEngine()
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    engine.refusal = UpstreamTimeout()
    assert isinstance(await failure_of(gateway, question(session=session)), UpstreamTimeout)
    (turn,) = turns(gateway, session)
    assert (turn.answer, turn.status, turn.error_code) == ("", "incomplete", "upstream_timeout")


async def test_a_slow_answer_may_go_on_while_words_come_but_not_for_ever(opened: Callable[..., Any]) -> None:
    async def drips(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        while True:
            yield TextDelta("x")
            await time_passes(40)

    gateway = await opened(ScriptedEngine(drips), token_gap_timeout=50, answer_timeout=190)
    async with gateway.ask(question()) as events:
        words, failed = await until_it_fails(events)
    assert len(words) == 5
    assert isinstance(failed, UpstreamTimeout)


async def test_reasoning_is_kept_apart_from_the_words(opened: Callable[..., Any]) -> None:
    async def thinks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield ReasoningDelta("It is round.")
        yield TextDelta(" A circle.")
        yield END

    gateway = await opened(ScriptedEngine(thinks))
    *events, end = await events_of(gateway, question())
    assert events == [ReasoningDelta("It is round."), TextDelta("A circle.")]
    assert isinstance(end, Done)
    assert (end.answer.reasoning, end.answer.text) == ("It is round.", "A circle.")


async def test_exactly_one_event_is_the_last(opened: Callable[..., Any]) -> None:
    async def goes_on(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")
        yield END
        yield TextDelta("more")
        yield END

    gateway = await opened(ScriptedEngine(goes_on))
    events = await events_of(gateway, question())
    assert [type(event) for event in events] == [TextDelta, Done]


async def test_a_bug_in_an_engine_keeps_the_session_usable_and_frees_everything(opened: Callable[..., Any]) -> None:
    async def buggy(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")
        raise KeyError

    gateway = await opened(ScriptedEngine(buggy))
    session = gateway.sessions.create(Session())
    with pytest.raises(KeyError):
        await events_of(gateway, question(session=session))
    (turn,) = turns(gateway, session)
    assert (turn.answer, turn.status, turn.error_code) == ("One", "incomplete", "internal_error")
    assert gateway.queues["ollama"].active == 0


async def test_a_failed_answer_still_ends_with_its_own_error_when_its_image_can_not_be_kept(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ends(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")

    gateway = await opened(ScriptedEngine(ends))
    session = gateway.sessions.create(Session())

    def full(*_: object, **__: object) -> None:
        raise StorageFull

    monkeypatch.setattr(gateway.sessions, "record", full)
    assert isinstance(await failure_of(gateway, question(image(), session=session)), UpstreamIncomplete)


async def test_a_system_prompt_of_the_request_stays_with_the_session(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine()
    gateway = await opened(engine)
    session = gateway.sessions.create(a_session(system="Old."))
    await events_of(gateway, question(session=session, system="New."))
    await events_of(gateway, question(session=session))
    assert [request.messages[0].text for request in engine.requests] == ["New.", "New."]


async def test_many_answers_leave_nothing_behind(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine(slots=4)
    gateway = await opened(engine, queue_size=100)

    async def leave_early() -> None:
        async with gateway.ask(question()) as answering:
            await anext(aiter(answering))

    await asyncio.gather(*(leave_early() for _ in range(50)), *(events_of(gateway, question()) for _ in range(50)))
    gate = gateway.queues["ollama"]
    assert (engine.running, gate.active, gate.waiting, gateway._running, gateway._asking) == (0, 0, 0, {}, 0)


async def test_every_way_an_answer_ends_is_counted(opened: Callable[..., Any]) -> None:
    engine = ScriptedEngine()
    gateway = await opened(engine)
    await events_of(gateway, question())
    async with gateway.ask(question()) as answering:
        await anext(aiter(answering))
    engine.refusal = UpstreamTimeout()
    await failure_of(gateway, question())
    figures = gateway.telemetry.exposition().decode()
    for outcome in ("complete", "cancelled", "upstream_timeout"):
        assert f'llava_gateway_answers_total{{engine="ollama",outcome="{outcome}"}} 1.0' in figures


async def test_a_session_stays_with_its_engine_when_its_model_is_named(opened: Callable[..., Any]) -> None:
    ollama, openai = (ScriptedEngine(name=name, model_names=("m",)) for name in ("ollama", "openai"))
    gateway = await opened(ollama, openai)
    session = gateway.sessions.create(Session(model="m", engine="openai"))
    await events_of(gateway, question(session=session, model="m"))
    assert (len(ollama.requests), len(openai.requests)) == (0, 1)
    assert gateway.sessions.get(session.id).engine == "openai"


async def test_models_of_one_name_in_two_engines_are_not_taken_for_each_other(opened: Callable[..., Any]) -> None:
    ollama, openai = (ScriptedEngine(name=name, model_names=("m",)) for name in ("ollama", "openai"))
    openai.context = 65536
    gateway = await opened(ollama, openai)
    session = gateway.sessions.create(Session(model="m", engine="openai"))
    await events_of(gateway, question(session=session))
    assert (await gateway.count_tokens(question(session=session))).fitted.limit == 65536
    assert (await gateway.count_tokens(question())).fitted.limit is None
