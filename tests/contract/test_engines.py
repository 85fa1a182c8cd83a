"""What every engine promises (engines/base.py), asked of the real thing: a llama.cpp server of our own, somebody else's, and Ollama."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Message, TextDelta
from llava_gateway.engines.base import Engine
from llava_gateway.errors import ContextLengthExceeded, ModelNotFound, UpstreamDisconnected, UpstreamUnavailable
from llava_gateway.parts import TextPart
from tests.contract.worlds import NUM_CTX, World
from tests.gateways import until_it_fails
from tests.sample_images import ask, shape
from tests.synthetic_llava import ENDLESS

RED_CIRCLE = shape("circle", "red")
BLUE_SQUARE = shape("square", "blue")
GREEN_SQUARE = shape("square", "green")
IMAGE_TOKENS = 64
SCHEMA = {
    "type": "object",
    "properties": {
        "background": {"type": "string"},
        "shapes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"color": {"type": "string"}, "shape": {"type": "string"}},
                "required": ["color", "shape"],
            },
        },
        "text": {"type": "string"},
    },
    "required": ["background", "shapes", "text"],
}


@pytest.fixture
async def demo(world: World) -> AsyncIterator[Engine]:
    async with world.open("demo") as opened:
        yield opened.engine


@pytest.fixture
async def endless(world: World) -> AsyncIterator[Engine]:
    async with world.open("endless") as opened:
        yield opened.engine


async def events_of(engine: Engine, request: EngineRequest) -> list[EngineEvent]:
    async with asyncio.timeout(60), engine.chat(request) as events:
        return [event async for event in events]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta)).strip()


def end_of(events: list[EngineEvent]) -> Finish:
    """The one Finish, which is the last event."""
    ends = [event for event in events if isinstance(event, Finish)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    return ends[0]


async def test_words_come_one_by_one_and_end_with_one_finish(demo: Engine) -> None:
    events = await events_of(demo, ask("Describe this image.", RED_CIRCLE, temperature=0.0))
    assert text_of(events) == "A red circle on a white background."
    assert sum(isinstance(event, TextDelta) for event in events) > 5
    end = end_of(events)
    assert end.reason == "stop"
    assert end.usage.prompt_tokens == IMAGE_TOKENS + 11
    assert end.usage.completion_tokens is not None
    assert end.usage.completion_tokens > 5
    assert end.timings.prompt_ms is not None
    assert end.timings.generation_ms is not None


async def test_a_model_that_is_not_there_is_an_error_on_entering(demo: Engine) -> None:
    with pytest.raises(ModelNotFound):
        await events_of(demo, ask("Hello", model="no-such-model"))


async def test_nothing_behind_it_is_an_error_on_entering_and_told_by_health(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = world.unreachable(monkeypatch)
    try:
        assert not (await engine.health()).ok
        with pytest.raises(UpstreamUnavailable):
            await engine.models()
        with pytest.raises(UpstreamUnavailable):
            await events_of(engine, ask("Hello"))
        assert await engine.loading(ask("Hello")) is None
    finally:
        await engine.aclose()


async def test_health_and_models_tell_of_the_model(demo: Engine) -> None:
    assert (await demo.health()).ok
    model = next(model for model in await demo.models() if model.name.removesuffix(":latest") == "demo")
    assert model.engine == demo.name
    assert model.vision
    assert model.context_length == 4096


async def test_a_server_that_dies_in_the_middle_ends_the_answer_with_one_failure(mortal_world: World) -> None:
    async with mortal_world.open("endless") as opened, opened.engine.chat(ask("Hello", model="endless", **ENDLESS)) as answer:
        while not isinstance(await anext(answer), TextDelta):
            pass
        opened.kill()
        events, failed = await until_it_fails(answer)
    assert isinstance(failed, UpstreamDisconnected)
    assert not any(isinstance(event, Finish) for event in events)


async def test_leaving_stops_the_work(endless: Engine) -> None:
    """With one slot, the next answer begins only when the first one has ended; left alone, that takes minutes."""
    request = ask("Hello", model="endless", **ENDLESS)
    for _ in range(2):
        async with asyncio.timeout(20), endless.chat(request) as events:
            assert any([isinstance(event, TextDelta) async for event in _until_text(events)])


async def _until_text(events: AsyncIterator[EngineEvent]) -> AsyncIterator[EngineEvent]:
    async for event in events:
        yield event
        if isinstance(event, TextDelta):
            return


@pytest.mark.parametrize(
    ("image", "says"), [(RED_CIRCLE, "A red circle on a white background."), (BLUE_SQUARE, "A blue square on a white background.")]
)
async def test_it_sees_the_image(demo: Engine, image: Image.Image, says: str) -> None:
    assert text_of(await events_of(demo, ask("Describe this image.", image, temperature=0.0))) == says


@pytest.mark.parametrize(
    ("images", "seen"),
    [((RED_CIRCLE, BLUE_SQUARE), ("red circle", "blue square")), ((BLUE_SQUARE, RED_CIRCLE), ("blue square", "red circle"))],
)
async def test_two_images_keep_their_order(demo: Engine, images: tuple[Image.Image, Image.Image], seen: tuple[str, str]) -> None:
    for number, what in zip(("first", "second"), seen, strict=True):
        assert what in text_of(await events_of(demo, ask(f"Describe the {number} picture.", *images, temperature=0.0)))


async def test_another_second_image_after_the_same_first_is_seen(demo: Engine) -> None:
    """Prompts that part between two images break llama.cpp's prompt cache ("Chunk not found", b11063)."""
    await events_of(demo, ask("Describe the second picture.", RED_CIRCLE, BLUE_SQUARE, temperature=0.0))
    for _ in range(2):
        events = await events_of(demo, ask("Describe the second picture.", RED_CIRCLE, GREEN_SQUARE, temperature=0.0))
        assert "green square" in text_of(events)


async def test_the_same_seed_repeats_and_another_does_not(endless: Engine) -> None:
    async def answer(seed: int) -> str:
        request = ask("Hello", model="endless", temperature=1.5, top_k=10, seed=seed, num_predict=30)
        return text_of(await events_of(endless, request))

    first = await answer(7)
    assert await answer(7) == first
    assert await answer(8) != first


async def test_temperature_0_repeats(demo: Engine) -> None:
    request = ask("What is this?", RED_CIRCLE, temperature=0.0)
    assert text_of(await events_of(demo, request)) == text_of(await events_of(demo, request))


async def test_num_predict_cuts_the_answer(demo: Engine) -> None:
    events = await events_of(demo, ask("Describe this image.", RED_CIRCLE, temperature=0.0, num_predict=3))
    end = end_of(events)
    assert end.reason == "length"
    assert end.usage.completion_tokens == 3
    assert text_of(events) == "A red"


async def test_stop_cuts_the_answer(demo: Engine) -> None:
    events = await events_of(demo, ask("Describe this image.", RED_CIRCLE, temperature=0.0, stop=("circle",)))
    assert text_of(events) == "A red"
    assert end_of(events).reason == "stop"


async def test_a_json_schema_is_kept_to(demo: Engine) -> None:
    question = "Describe this image as JSON."
    events = await events_of(demo, ask(question, RED_CIRCLE, temperature=0.0, format=SCHEMA))
    assert json.loads(text_of(events)) == {"background": "white", "shapes": [{"color": "red", "shape": "circle"}], "text": ""}
    # A schema the model would never follow by itself.
    only_text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": False}
    assert set(json.loads(text_of(await events_of(demo, ask(question, RED_CIRCLE, temperature=0.0, format=only_text))))) == {"text"}


async def test_json_without_a_schema_is_json(demo: Engine) -> None:
    events = await events_of(demo, ask("Describe this image.", RED_CIRCLE, temperature=0.0, num_predict=200, format="json"))
    assert isinstance(json.loads(text_of(events)), dict)


async def test_its_prompts_keep_images_before_the_words(demo: Engine) -> None:
    request = ask("Describe this image.", RED_CIRCLE, num_predict=1)
    await demo.load_model(request)
    assert await demo.images_first(request)
    assert await demo.images_first(request)  # known by now


async def test_a_model_can_be_loaded_without_being_asked_anything(demo: Engine) -> None:
    request = ask("Describe this image.", RED_CIRCLE)
    await demo.load_model(request)
    assert await demo.loading(request) is None


async def test_what_was_read_ahead_of_a_question_need_not_be_read_again(demo: Engine) -> None:
    """A question of one character, of which no answer is wanted; the cached prompt then goes to the end of the image."""
    await events_of(demo, ask(".", GREEN_SQUARE, num_predict=1))
    usage = end_of(await events_of(demo, ask("Describe this image.", GREEN_SQUARE, temperature=0.0))).usage
    assert usage.cached_tokens == IMAGE_TOKENS + 4


async def test_the_second_turn_finds_the_image_in_the_cache(demo: Engine) -> None:
    first = ask("Describe this image.", RED_CIRCLE, temperature=0.0)
    said = text_of(await events_of(demo, first))
    second = ask("What color is the circle?", earlier=first, history=(Message("assistant", (TextPart(said),)),), temperature=0.0)
    events = await events_of(demo, second)
    assert text_of(events) == "The circle is red."
    cached = end_of(events).usage.cached_tokens
    assert cached is not None
    assert cached > IMAGE_TOKENS


async def test_what_does_not_fit_the_context_is_refused_with_figures(demo: Engine) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        await events_of(demo, ask("much too long " * 2000, RED_CIRCLE))
    assert caught.value.values["n_ctx"] == NUM_CTX["demo"]
    assert int(caught.value.values["n_prompt_tokens"]) > NUM_CTX["demo"]  # type: ignore[arg-type]
    assert text_of(await events_of(demo, ask("Describe this image.", RED_CIRCLE, temperature=0.0)))


@pytest.mark.parametrize("marker", ["[img-0]", "[img]", "<__media__>", "<image>"])
async def test_a_marker_in_the_text_steals_no_image_its_place(demo: Engine, marker: str) -> None:
    """Were the image put where the marker stands, another image would change the conversation from there on, and the cache miss it."""
    talk = (
        Message("user", (TextPart(f"{marker} {'Tell me of shapes. ' * 20}"),)),
        Message("assistant", (TextPart("Send me a picture of simple shapes."),)),
    )
    await events_of(demo, ask("Describe this image.", RED_CIRCLE, history=talk, temperature=0.0))
    events = await events_of(demo, ask("Describe this image.", BLUE_SQUARE, history=talk, temperature=0.0))
    assert text_of(events) == "A blue square on a white background."
    usage = end_of(events).usage
    assert usage.prompt_tokens is not None
    assert usage.cached_tokens is not None
    assert usage.cached_tokens >= usage.prompt_tokens - IMAGE_TOKENS - 20
    assert usage.cached_tokens > 100


async def test_a_model_is_loaded_and_unloaded(world: World) -> None:
    async with world.open("demo") as opened:
        engine = opened.engine
        (model,) = [model for model in await engine.models() if model.name.startswith("demo")]
        await engine.load_model(EngineRequest(model.name, ()))
        manages = engine.name != "openai"  # somebody else's server has loaded its model itself
        assert model.name in await _loaded(engine) or not manages
        await engine.unload_model(model.name)
        await engine.unload_model(model.name)
        async with asyncio.timeout(30):
            while manages and model.name in await _loaded(engine):  # noqa: ASYNC110 (Ollama takes a moment, and does not tell)
                await asyncio.sleep(0.01)
        assert text_of(await events_of(engine, ask("What color is the circle?", RED_CIRCLE, temperature=0.0))) == "The circle is red."


async def _loaded(engine: Engine) -> set[str]:
    return {model.name for model in await engine.models() if model.loaded}
