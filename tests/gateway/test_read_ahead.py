"""Reading ahead: questions go first, the newest prompt wins, and the next question finds the prompt in the engine's cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import ChatRequest, EngineEvent, EngineRequest, Loading, PromptProgress, TextDelta, Usage, user_request
from llava_gateway.engines.base import Engine, ModelInfo
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.errors import (
    GatewayError,
    ImageNotFound,
    ModelLacksVision,
    SessionDeleted,
    SessionNotFound,
    ShuttingDown,
    UpstreamDisconnected,
    UpstreamIncomplete,
    UpstreamTimeout,
)
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.read_ahead import ReadAheadResult
from llava_gateway.images.facts import VisionFacts
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from tests import sample_images
from tests.gateways import open_gateway
from tests.ollama_server import RealOllama
from tests.scripted_engine import END, Script, ScriptedEngine, says, says_then_waits
from tests.serving import until
from tests.session_values import a_session

pytestmark = pytest.mark.real

IMAGE_TOKENS = 64
DAY = 24 * 3600.0
Opened = Callable[..., Coroutine[Any, Any, Gateway]]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:

        async def open_(*engines: Engine, **settings: Any) -> Gateway:
            return await stack.enter_async_context(open_gateway(Settings(image_workers=1, **settings), engines))

        yield open_


def image(kind: str = "circle", colour: str = "red") -> Upload:
    return Upload(sample_images.encoded(sample_images.shape(kind, colour)))


def upcoming(*parts: TextPart | ImagePart | Upload, session: Session | None = None, **rest: Any) -> ChatRequest:
    return user_request(*(parts or (image(),)), TextPart("."), session_id=session.id if session else None, **rest)


def question(*parts: TextPart | ImagePart | Upload, session: Session | None = None, **rest: Any) -> ChatRequest:
    return user_request(*(parts or (TextPart("Hi"),)), session_id=session.id if session else None, **rest)


async def answer_of(gateway: Gateway, request: ChatRequest) -> tuple[str, Usage]:
    answer = await gateway.answer(request)
    return answer.text, answer.usage


def outcomes(gateway: Gateway) -> dict[str, float]:
    """Return how often each outcome was counted."""
    (family,) = (f for f in gateway.telemetry.registry.collect() if f.name == "llava_gateway_read_ahead")
    return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total")}


def status(result: ReadAheadResult) -> tuple[str, str]:
    return result.status, result.reason


# Priorities, and what ends a read-ahead.


async def test_what_is_read_ahead_is_the_coming_prompt_with_one_token_of_an_answer(opened: Opened) -> None:
    engine = ScriptedEngine(says("A"))
    gateway = await opened(engine, keep_alive="5m")
    session = gateway.sessions.create(a_session(system="Be brief."))
    coming: dict[str, Any] = {"options": Options(temperature=0.5, num_ctx=2048, stop=(".",)), "format": "json", "session": session}
    result = await gateway.read_ahead(upcoming(image(), **coming))
    assert (result.status, result.reason, result.model, result.engine, result.usage) == ("read", "", "scripted", "ollama", END.usage)
    assert result.ms is not None
    await answer_of(gateway, question(image(), TextPart("What is it?"), **coming))
    read, asked = engine.requests
    assert (read.options, read.format, read.keep_alive) == (Options(num_predict=1, num_ctx=2048), None, "5m")
    assert asked.options.num_ctx == 2048
    assert [message.role for message in read.messages] == ["system", "user"]
    assert read.messages[0] == asked.messages[0]
    assert read.messages[1].parts[0] == asked.messages[1].parts[0]
    assert list(read.renditions.values()) == list(asked.renditions.values())
    assert outcomes(gateway) == {"read": 1}


async def test_reading_ahead_leaves_no_trace_in_the_session_and_does_not_make_it_busy(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    reading = asyncio.create_task(gateway.read_ahead(upcoming(session=session)))
    await until(lambda: engine.running == 1)
    assert not gateway.sessions.is_running(session.id)
    engine.script = says("Red.")
    assert (await answer_of(gateway, question(session=session)))[0] == "Red."
    assert status(await reading) == ("preempted", "question")
    (turn,) = gateway.sessions.get(session.id).turns
    assert (turn.prompt, turn.images) == ("Hi", ())


async def test_a_question_ends_it_and_begins_when_the_engine_has_let_go(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine, queue_size=0)
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await until(lambda: engine.running == 1)
    at_once: list[int] = []

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        at_once.append(engine.running)
        yield TextDelta("Red.")
        yield END

    engine.script = script
    await answer_of(gateway, question())
    assert at_once == [1]
    assert status(await reading) == ("preempted", "question")
    assert gateway.queues["ollama"].active == 0
    assert outcomes(gateway) == {"question": 1}


async def test_nothing_is_read_ahead_while_a_question_is_answered(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits("One"), slots=2)
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    async with gateway.ask(question(session=session)) as answering:
        await anext(aiter(answering))
        assert status(await gateway.read_ahead(upcoming())) == ("busy", "answering")
        assert status(await gateway.read_ahead(upcoming(), wait=False)) == ("busy", "answering")
        assert status(await gateway.read_ahead(upcoming(session=session))) == ("busy", "session_busy")
    assert len(engine.requests) == 1
    assert outcomes(gateway) == {"answering": 2, "session_busy": 1}


async def test_questions_are_not_kept_waiting_by_many_calls_to_read_ahead(opened: Opened) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        await asyncio.sleep(0)
        yield TextDelta("Red.")
        yield END

    gateway = await opened(ScriptedEngine(script))
    calls = dict.fromkeys(
        [(await gateway.image_requests.store(image("square", colour), None))[0] for colour in ("red", "green", "blue", "yellow")], 0
    )

    async def keep_calling(image_id: str) -> None:
        while True:
            await gateway.read_ahead(upcoming(ImagePart(image_id)))
            calls[image_id] += 1
            await asyncio.sleep(0)

    calling = [asyncio.create_task(keep_calling(image_id)) for image_id in calls]
    async with asyncio.timeout(60):
        for answers in range(1, 1000):
            assert (await answer_of(gateway, question()))[0] == "Red."
            if answers >= 20 and min(calls.values()) >= 5:
                break
    for task in calling:
        task.cancel()
    await asyncio.gather(*calling, return_exceptions=True)
    assert min(calls.values()) >= 5


async def test_of_many_at_once_one_is_read_and_the_others_are_older(opened: Opened) -> None:
    together: list[int] = []

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        together.append(engine.running)
        await asyncio.sleep(0)
        yield TextDelta("A")
        yield END

    engine = ScriptedEngine(script)
    gateway = await opened(engine)
    stored = [(await gateway.image_requests.store(image("square", colour), None))[0] for colour in ("red", "green", "blue", "yellow")]
    ended = await asyncio.gather(*(gateway.read_ahead(upcoming(ImagePart(image_id))) for image_id in stored))
    assert sorted(status(result) for result in ended) == [("preempted", "newer")] * 3 + [("read", "")]
    assert set(together) == {1}
    assert gateway.queues["ollama"].active == 0


async def test_only_the_newest_of_many_is_read(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine)
    stored = [(await gateway.image_requests.store(image("square", colour), None))[0] for colour in ("red", "green", "blue", "black")]
    readings = []
    for image_id in stored:
        readings.append(asyncio.create_task(gateway.read_ahead(upcoming(ImagePart(image_id)))))
        await until(lambda: engine.running == 1 and len(engine.requests) == len(readings))
    engine.script = says("A")
    last = asyncio.create_task(gateway.read_ahead(upcoming(ImagePart(stored[0]), ImagePart(stored[1]))))
    assert [status(await reading) for reading in readings] == [("preempted", "newer")] * 4
    assert status(await last) == ("read", "")
    assert len(engine.requests[-1].renditions) == 2
    assert outcomes(gateway) == {"newer": 4, "read": 1}


async def test_the_same_prompt_twice_is_read_once(opened: Opened) -> None:
    go_on = asyncio.Event()

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        await go_on.wait()
        yield TextDelta("A")
        yield END

    engine = ScriptedEngine(script)
    gateway = await opened(engine)
    upload, (image_id, _, _) = image(), await gateway.image_requests.store(image(), None)
    sessions = [gateway.sessions.create(Session()) for _ in range(3)]
    given: list[Upload | ImagePart] = [upload, upload, ImagePart(image_id)]
    readings = [
        asyncio.create_task(gateway.read_ahead(upcoming(part, session=session))) for part, session in zip(given, sessions, strict=True)
    ]
    await until(lambda: engine.running == 1)
    assert status(await gateway.read_ahead(upcoming(ImagePart(image_id)), wait=False)) == ("reading", "")
    await until(lambda: gateway.reading_ahead._newest["ollama"].sessions >= {session.id for session in sessions})
    go_on.set()
    assert [status(await reading) for reading in readings] == [("read", "")] * 3
    assert len(engine.requests) == 1
    assert outcomes(gateway) == {"read": 1}


async def test_who_does_not_wait_is_told_that_it_has_begun(opened: Opened) -> None:
    engine = ScriptedEngine(says("A"))
    gateway = await opened(engine)
    assert status(await gateway.read_ahead(upcoming(), wait=False)) == ("reading", "")
    await until(lambda: outcomes(gateway) == {"read": 1})
    assert len(engine.requests) == 1


async def test_an_answer_that_has_begun_is_read_to_its_end(opened: Opened) -> None:
    """The answer is one token long. Ollama may lose a slot if its client leaves between that token and the end."""
    word_came, go_on = asyncio.Event(), asyncio.Event()

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield PromptProgress(1, 2)
        yield TextDelta("A")
        word_came.set()
        await go_on.wait()
        yield END

    engine = ScriptedEngine(script)
    gateway = await opened(engine)
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await word_came.wait()
    engine.script = says("Red.")
    asked = asyncio.create_task(answer_of(gateway, question()))
    await until(lambda: gateway.queues["ollama"].waiting == 1)
    assert not reading.done()
    go_on.set()
    assert status(await reading) == ("read", "")
    assert (await asked)[0] == "Red."


async def test_while_the_prompt_is_read_it_can_be_ended(opened: Opened) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield PromptProgress(1, 2)
        await asyncio.Event().wait()

    engine = ScriptedEngine(script)
    gateway = await opened(engine)
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await until(lambda: engine.running == 1)
    engine.script = says("Red.")
    await answer_of(gateway, question())
    assert status(await reading) == ("preempted", "question")


# Nothing to gain, or nothing to read.


async def test_it_can_be_switched_off(opened: Opened) -> None:
    engine = ScriptedEngine()
    gateway = await opened(engine, read_ahead=False)
    assert status(await gateway.read_ahead(upcoming())) == ("skipped", "off")
    assert engine.requests == []
    assert outcomes(gateway) == {"off": 1}


async def test_it_is_skipped_where_the_template_puts_the_question_before_the_image(opened: Opened) -> None:
    engine = ScriptedEngine(says("A"))
    engine.sees_first = False
    gateway = await opened(engine)
    session = gateway.sessions.create(Session())
    assert status(await gateway.read_ahead(upcoming(session=session))) == ("skipped", "text_first")
    assert engine.requests == []
    # Earlier turns come before all of that.
    await answer_of(gateway, question(image(), TextPart("What is it?"), session=session))
    assert status(await gateway.read_ahead(user_request(TextPart("."), session_id=session.id))) == ("read", "")
    assert len(engine.requests[-1].messages) == 3


async def test_it_is_skipped_where_the_model_is_unloaded_after_each_answer(opened: Opened) -> None:
    engine = ScriptedEngine()
    engine.unloads, engine.load = True, Loading("scripted")
    gateway = await opened(engine)
    assert status(await gateway.read_ahead(upcoming())) == ("skipped", "unloaded")
    assert (engine.loads, engine.requests) == ([], [])
    assert outcomes(gateway) == {"unloaded": 1}


async def test_ollama_unloads_at_once_what_is_to_stay_no_time(own_ollama: RealOllama, opened: Opened) -> None:
    engine = OllamaEngine(Settings(ollama_host=own_ollama.url))
    gateway = await opened(engine, model="demo", keep_alive="5m")
    assert status(await gateway.read_ahead(upcoming(keep_alive=0))) == ("skipped", "unloaded")
    assert not any(model.loaded for model in await engine.models())
    assert status(await gateway.read_ahead(upcoming())) == ("read", "")


async def test_without_image_and_history_there_is_nothing_to_read(opened: Opened) -> None:
    engine = ScriptedEngine()
    gateway = await opened(engine)
    assert status(await gateway.read_ahead(user_request(TextPart(".")))) == ("skipped", "nothing_to_read")
    assert engine.requests == []


async def test_what_is_wrong_with_the_request_is_told_as_for_a_question(opened: Opened) -> None:
    gateway = await opened(ScriptedEngine(says("A")), ScriptedEngine(says("A"), name="embedded", model_names=("blind",), vision=False))
    with pytest.raises(ImageNotFound):
        await gateway.read_ahead(upcoming(ImagePart("0" * 64)))
    with pytest.raises(ModelLacksVision):
        await gateway.read_ahead(upcoming(model="blind"))
    with pytest.raises(SessionNotFound):
        await gateway.read_ahead(upcoming(session=Session()))


# Failures.


@pytest.mark.parametrize("error", [UpstreamIncomplete, UpstreamDisconnected])
async def test_what_the_engine_does_wrong_is_told(opened: Opened, error: type[GatewayError]) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if error is UpstreamDisconnected:
            raise UpstreamDisconnected
        events: list[EngineEvent] = []  # the answer ends without a Finish
        for event in events:
            yield event

    engine = ScriptedEngine(script)
    gateway = await opened(engine)
    with pytest.raises(error):
        await gateway.read_ahead(upcoming())
    assert outcomes(gateway) == {error.code: 1}
    engine.script = says("A")
    assert status(await gateway.read_ahead(upcoming())) == ("read", "")


async def test_a_failure_that_nobody_waits_for_is_no_news(opened: Opened) -> None:
    engine = ScriptedEngine()
    engine.refusal = UpstreamDisconnected()
    gateway = await opened(engine)
    assert status(await gateway.read_ahead(upcoming(), wait=False)) == ("reading", "")
    await until(lambda: outcomes(gateway) == {"upstream_disconnected": 1})


async def test_an_engine_that_says_nothing_is_not_waited_for_for_ever(opened: Opened) -> None:
    gateway = await opened(ScriptedEngine(says_then_waits()), first_token_timeout=0.05)
    with pytest.raises(UpstreamTimeout):
        await gateway.read_ahead(upcoming())
    assert gateway.queues["ollama"].active == 0


async def test_a_deleted_session_ends_what_is_read_for_it_alone(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine)
    one, other = gateway.sessions.create(Session()), gateway.sessions.create(Session())
    readings = [asyncio.create_task(gateway.read_ahead(upcoming(session=session))) for session in (one, other)]
    await until(lambda: engine.running == 1 and len(gateway.reading_ahead._newest["ollama"].sessions) == 2)
    gateway.sessions.delete(one.id)
    for _ in range(10):  # what ends for it ends within these steps
        await asyncio.sleep(0)
    assert engine.running == 1
    gateway.sessions.delete(other.id)
    for reading in readings:
        with pytest.raises(SessionDeleted):
            await reading
    assert engine.running == 0
    assert outcomes(gateway) == {"session_deleted": 1}


@pytest.mark.parametrize("way", ["expired", "evicted"])
async def test_a_dropped_session_ends_what_is_read_for_it(opened: Opened, way: str) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine, session_ttl=DAY)
    now = 0.0
    gateway.sessions._clock = lambda: now
    session = gateway.sessions.create(Session())
    reading = asyncio.create_task(gateway.read_ahead(upcoming(session=session)))
    await until(lambda: engine.running == 1)
    if way == "expired":
        now = DAY + 1
        gateway.sessions.expire()
    else:
        assert gateway.images.evict_session is not None
        assert gateway.images.evict_session()
    with pytest.raises(SessionDeleted):
        await reading
    assert engine.running == 0


async def test_a_shutdown_ends_it_at_once(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits())
    gateway = await opened(engine, shutdown_grace=60)
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await until(lambda: engine.running == 1)
    async with asyncio.timeout(20):
        await gateway.drain()
    with pytest.raises(ShuttingDown):
        await reading
    assert engine.running == 0
    with pytest.raises(ShuttingDown):
        await gateway.read_ahead(upcoming())


async def test_a_shutdown_in_the_last_moment_does_not_wait_for_a_word_that_does_not_come(opened: Opened) -> None:
    engine = ScriptedEngine(says_then_waits("A"))
    gateway = await opened(engine)
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await until(lambda: bool(gateway.reading_ahead._newest) and gateway.reading_ahead._newest["ollama"].answered)
    await gateway.drain()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert engine.running == 0


# Models that must be loaded first.


async def test_the_model_is_loaded_without_taking_a_slot(opened: Opened) -> None:
    engine = ScriptedEngine(says("Red."))
    gateway = await opened(engine)
    engine.load, engine.loaded = Loading("scripted"), asyncio.Event()
    reading = asyncio.create_task(gateway.read_ahead(upcoming(options=Options(num_ctx=2048))))
    await until(lambda: len(engine.loads) == 1)
    assert engine.loads[0].options.num_ctx == 2048
    await answer_of(gateway, question())  # the question goes to the engine, which is still loading
    engine.loaded.set()
    assert status(await reading) == ("read", "")
    assert len(engine.requests) == 2


async def test_what_is_read_is_what_the_loaded_model_has_room_for(opened: Opened) -> None:
    """Before the load, neither the model's context is known nor whether it is on a GPU."""
    engine = Cold(says("Red."))
    gateway = await opened(engine)
    large = Upload(sample_images.encoded(sample_images.shape("circle", "red", size=(1300, 1300))))
    assert status(await gateway.read_ahead(upcoming(large))) == ("read", "")
    await answer_of(gateway, question(large, TextPart("What is it?")))
    read, asked = engine.requests
    assert [len(request.shown[0].pieces) for request in (read, asked)] == [5, 5]
    assert read.shown[0].pieces == asked.shown[0].pieces


class Cold(ScriptedEngine):
    """An engine whose model takes tiles and is on a GPU, once it is loaded."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.installed = (ModelInfo("llava:7b", "ollama", vision=True, facts=VisionFacts("mlp", 336, 14)),)

    async def loading(self, request: EngineRequest) -> Loading | None:
        return None if self.loads else Loading("llava:7b")

    async def load_model(self, request: EngineRequest) -> None:
        await super().load_model(request)
        (model,) = self.installed
        self.installed = (replace(model, loaded=True, size_bytes=2**32, memory_bytes=2**32, gpu_bytes=2**32),)

    async def context_length(self, request: EngineRequest) -> int | None:
        return 8192 if self.loads else None


async def test_a_load_goes_on_whatever_becomes_of_who_began_it(opened: Opened) -> None:
    engine = ScriptedEngine(says("Red."))
    gateway = await opened(engine)
    engine.load, engine.loaded = Loading("scripted"), asyncio.Event()
    first = asyncio.create_task(gateway.read_ahead(upcoming(image("circle", "red"))))
    await until(lambda: len(engine.loads) == 1)
    second = asyncio.create_task(gateway.read_ahead(upcoming(image("circle", "blue"))))
    assert status(await first) == ("preempted", "newer")
    engine.loaded.set()
    assert status(await second) == ("read", "")
    assert len(engine.loads) == 1


async def test_a_load_takes_no_longer_than_loads_may(opened: Opened) -> None:
    engine = ScriptedEngine(says("Red."))
    gateway = await opened(engine, load_timeout=0.02)
    engine.load, engine.loaded = Loading("scripted"), asyncio.Event()
    with pytest.raises(UpstreamTimeout):
        await gateway.read_ahead(upcoming())


async def test_a_shutdown_gives_a_load_up(opened: Opened) -> None:
    engine = ScriptedEngine(says("Red."))
    gateway = await opened(engine, load_timeout=600)
    engine.load, engine.loaded = Loading("scripted"), asyncio.Event()
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await until(lambda: len(engine.loads) == 1)
    async with asyncio.timeout(20):
        await gateway.drain()
    with pytest.raises(ShuttingDown):
        await reading
    assert engine.requests == []


async def test_a_question_that_comes_while_ollama_loads_does_not_make_it_begin_again(own_ollama: RealOllama, opened: Opened) -> None:
    gateway = await opened(OllamaEngine(Settings(ollama_host=own_ollama.url)), model="demo")
    reading = asyncio.create_task(gateway.read_ahead(upcoming()))
    await until(lambda: bool(gateway.reading_ahead._loads))
    said, _ = await answer_of(gateway, question(image(), TextPart("Describe this image.")))
    assert said == "A red circle on a white background."
    assert status(await reading) == ("busy", "answering")
    assert sum("starting llama-server" in line for line in own_ollama.log) == 1


# On real engines.


@pytest.fixture(params=["embedded", "ollama"])
def ollama_host(request: pytest.FixtureRequest) -> str:
    """Return the address of a real Ollama; "" means the embedded engine."""
    return str(request.getfixturevalue("real_ollama").url) if request.param == "ollama" else ""


@pytest.fixture
async def real(ollama_host: str, opened: Opened) -> Gateway:
    """Open a gateway in front of a real engine with the demo model."""
    settings = Settings(ollama_host=ollama_host)
    return await opened(OllamaEngine(settings) if ollama_host else EmbeddedEngine(settings), model="demo")


async def test_the_question_finds_everything_up_to_the_end_of_the_image_read(real: Gateway) -> None:
    image_id, _, _ = await real.image_requests.store(image("circle", "purple"), None)
    result = await real.read_ahead(upcoming(ImagePart(image_id)))
    assert result.status == "read"
    assert result.usage.prompt_tokens
    said, usage = await answer_of(real, question(ImagePart(image_id), TextPart("Describe this image.")))
    assert said == "A purple circle on a white background."
    assert usage.prompt_tokens == IMAGE_TOKENS + 11
    assert usage.cached_tokens == IMAGE_TOKENS + 4  # BOS, USER, a colon, a space and the image


async def test_it_finds_system_prompt_and_earlier_turns_read_as_well(real: Gateway) -> None:
    session = real.sessions.create(a_session(system="Answer in Chinese."))
    await answer_of(real, question(image("square", "orange"), TextPart("Describe this image."), session=session))
    before = real.sessions.get(session.id).turns[-1].usage
    await answer_of(real, question(image("circle", "pink"), TextPart("What is this?")))  # another question comes between
    result = await real.read_ahead(upcoming(image("circle", "green"), session=session))
    assert result.status == "read"
    said, usage = await answer_of(real, question(image("circle", "green"), TextPart("Describe this image."), session=session))
    assert "绿色" in said
    assert usage.cached_tokens is not None
    assert before.prompt_tokens is not None
    assert before.completion_tokens is not None
    assert usage.prompt_tokens is not None
    # Everything is cached except the words after the second image: "Describe this image. ASSISTANT:".
    assert usage.cached_tokens > before.prompt_tokens + before.completion_tokens + IMAGE_TOKENS
    assert usage.prompt_tokens - usage.cached_tokens == 7


async def test_two_images_one_more_and_one_less(real: Gateway) -> None:
    """Prompts that differ at an image, as when images are added and removed, break no cache."""
    red, blue = [(await real.image_requests.store(image("circle", colour), None))[0] for colour in ("red", "blue")]
    for given in ((red,), (red, blue), (red,), (blue, red), (blue,)):
        assert (await real.read_ahead(upcoming(*(ImagePart(image_id) for image_id in given)))).status == "read"
        said, usage = await answer_of(real, question(*(ImagePart(image_id) for image_id in given), TextPart("Describe the first picture.")))
        assert said == f"A {'red' if given[0] == red else 'blue'} circle on a white background."
        assert usage.cached_tokens is not None
        assert usage.cached_tokens >= IMAGE_TOKENS * len(given)


async def test_a_question_in_the_middle_of_it_is_answered(real: Gateway) -> None:
    for colour in ("red", "green", "blue", "yellow", "orange"):
        reading = asyncio.create_task(real.read_ahead(upcoming(image("square", colour))))
        await until(lambda: bool(real.reading_ahead._newest))
        assert "circle" in (await answer_of(real, question(image("circle", colour), TextPart("Describe this image."))))[0]
        assert (await reading).status in ("preempted", "busy", "read")
    assert (await real.read_ahead(upcoming(image("square", "red")))).status == "read"
