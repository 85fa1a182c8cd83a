"""What every engine promises of counting (engines/base.py), asked of the real thing: the numbers are its own, and cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from llava_gateway.chat import EngineRequest, Finish, Message, TextDelta, TokenCount
from llava_gateway.engines.base import Engine
from llava_gateway.errors import ContextLengthExceeded
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart
from tests.contract.worlds import NUM_CTX, World
from tests.sample_images import ask, image_id, rendition, shape
from tests.synthetic_llava import ENDLESS

RED_CIRCLE = shape("circle", "red")
BLUE_SQUARE = shape("square", "blue")
IMAGE_TOKENS = 64
QUESTION = "Describe this image."
ANSWER = Message("assistant", (TextPart("A red circle on a white background."),))


def system(text: str) -> Message:
    return Message("system", (TextPart(text),))


def in_pieces(request: EngineRequest, pieces: int) -> EngineRequest:
    """Return the question with its last image in several files."""
    part, whole = list(request.renditions.items())[-1]
    parted = replace(whole, pieces=whole.pieces * pieces, tokens=IMAGE_TOKENS * pieces)
    return replace(request, renditions={**request.renditions, part: parted})


def between_words() -> EngineRequest:
    """Build a question with words before, between and after two images, and with an image in the turn before."""
    first = ask(QUESTION, RED_CIRCLE)
    given = {ImagePart(image_id(image)): image for image in (rendition(BLUE_SQUARE), rendition(shape("circle", "green")))}
    one, two = given
    parts = (TextPart("Picture 1:"), one, TextPart(" Picture 2:\n"), two, TextPart("Which is which?  "))
    return EngineRequest(
        "demo", (*first.messages, ANSWER, Message("user", parts)), Options(temperature=0), renditions={**first.renditions, **given}
    )


CONVERSATIONS = {
    "first turn": ask(QUESTION, RED_CIRCLE),
    "no image": ask("Hello"),
    "second turn": ask("What color is the circle?", earlier=ask(QUESTION, RED_CIRCLE), history=(ANSWER,)),
    "system prompt": ask(QUESTION, RED_CIRCLE, history=(system("You are brief.\n\n - Never say more than needed."),)),
    "two images": ask("Describe the second picture.", RED_CIRCLE, BLUE_SQUARE),
    "words between images": between_words(),
    "several pieces": in_pieces(ask(QUESTION, RED_CIRCLE), 3),
    "Chinese": ask("图片里有什么？\n", RED_CIRCLE, history=(system("用中文回答"),)),
    "odd words": ask(" </s><s> 😀👨‍👩‍👧 [img-0] <__media__>\t\n\n  it's 12345 ", RED_CIRCLE),
}


@pytest.fixture
async def demo(world: World) -> AsyncIterator[Engine]:
    async with world.open("demo") as opened:
        yield opened.engine


async def finish_of(engine: Engine, request: EngineRequest) -> Finish:
    async with asyncio.timeout(60), engine.chat(request) as events:
        last = [event async for event in events][-1]
    assert isinstance(last, Finish)
    return last


async def count_of(engine: Engine, request: EngineRequest) -> TokenCount:
    await engine.load_model(request)
    count = await engine.count(request)
    assert count is not None
    return count


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_count_is_what_the_answer_says(demo: Engine, name: str) -> None:
    request = CONVERSATIONS[name]
    count = await count_of(demo, request)
    request = replace(request, options=Options(temperature=0, num_predict=1))
    assert (count.total, count.label) == ((await finish_of(demo, request)).usage.prompt_tokens, "exact")
    assert count.images == tuple(request.renditions[part].tokens for part in request.images)
    assert bool(count.system) == any(message.role == "system" for message in request.messages)


async def test_counting_runs_no_model_and_leaves_the_cache_alone(demo: Engine) -> None:
    first = ask(QUESTION, RED_CIRCLE, temperature=0.0)
    await finish_of(demo, first)
    for name in ("two images", "system prompt"):
        await count_of(demo, CONVERSATIONS[name])
    second = ask("What color is the circle?", earlier=first, history=(ANSWER,), temperature=0.0)
    await count_of(demo, second)
    usage = (await finish_of(demo, second)).usage
    assert usage.cached_tokens is not None
    assert usage.cached_tokens > IMAGE_TOKENS


async def test_counting_waits_for_no_answer(world: World) -> None:
    """There is one slot, and it is taken for minutes."""
    request = ask("Hello", model="endless", **ENDLESS)
    async with world.open("endless") as opened, asyncio.timeout(60), opened.engine.chat(request) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
        async with asyncio.timeout(20):
            count = await opened.engine.count(request)
    assert count is not None
    assert count.label == "exact"


async def test_the_context_length_is_the_one_that_refuses(demo: Engine) -> None:
    await demo.load_model(ask(QUESTION))
    long = ask("much too long " * 2000)
    limit = await demo.context_length(long)
    assert limit == NUM_CTX["demo"]
    assert (await count_of(demo, long)).total > limit
    with pytest.raises(ContextLengthExceeded) as caught:
        await finish_of(demo, long)
    assert caught.value.values["n_ctx"] == limit
    assert caught.value.values["n_prompt_tokens"] == (await count_of(demo, long)).total


async def test_what_can_not_be_asked_is_not_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = world.unreachable(monkeypatch)
    try:
        assert await engine.count(ask("Hello")) is None
        assert await engine.context_length(ask("Hello")) is None
    finally:
        await engine.aclose()


async def test_of_a_model_that_is_not_there_nothing_is_known(demo: Engine) -> None:
    assert await demo.count(ask("Hello", model="no-such-model")) is None
