"""The images of a conversation that a client sends as a whole are sent to the model again exactly as they were sent with their
question."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from llava_gateway.chat import ChatRequest, Message, Policy
from llava_gateway.errors import GatewayError, InvalidRequest
from llava_gateway.images.facts import VisionFacts
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part, Sight, TextPart, ToolCallPart, ToolResultPart, Upload
from llava_gateway.settings import Settings, VisionOverride
from tests.gateway.test_attachments import DESCRIBE, LARGE, SQUARE, seeing, upload
from tests.gateways import ask, open_gateway
from tests.scripted_engine import ScriptedEngine, says
from tests.session_values import a_session

pytestmark = pytest.mark.real

BRIEF = Options(temperature=0, num_predict=16)


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


def whole(*messages: Message, policy: Policy = "pin_images", **rest: Any) -> ChatRequest:
    return ChatRequest(messages, policy=policy, annotate=False, **rest)


async def test_a_sheet_of_earlier_images_is_sent_again() -> None:
    """For a model that takes one image, as in a session. It used to get the last of the images instead."""
    settings = Settings(engine="embedded", image_workers=1, vision={"demo": VisionOverride(max_images=1)})
    async with open_gateway(settings) as gateway:
        session = gateway.sessions.create(a_session())
        await ask(gateway, LARGE, SQUARE, DESCRIBE, session=session, options=BRIEF, annotate=False)
        told = await ask(gateway, TextPart("And now?"), session=session, options=BRIEF, annotate=False)
        first = await gateway.answer(whole(user(LARGE, SQUARE, DESCRIBE), options=BRIEF))
        history = user(LARGE, SQUARE, DESCRIBE), assistant(TextPart(first.text))
        second = await gateway.answer(whole(*history, user(TextPart("And now?")), options=BRIEF))
        assert second.text == told.text
        assert second.usage.prompt_tokens == told.usage.prompt_tokens
        assert second.usage.cached_tokens
        assert first.usage.prompt_tokens
        assert second.usage.cached_tokens >= first.usage.prompt_tokens - 8


CALL = assistant(ToolCallPart("c1", "look", "{}"))


def seen(*images: Upload) -> Message:
    return Message("tool", (ToolResultPart("c1", "look"), *images))


async def test_only_what_is_new_counts_as_the_images_of_a_turn() -> None:
    """A model that looks at several images through a tool gets them one at a time, plus the images of the question."""
    async with open_gateway(Settings(image_workers=1, images_per_turn=2), [ScriptedEngine(says("Yes."))]) as gateway:
        images = [upload(colour, side) for colour in ("red", "blue") for side in (64, 72, 80)]
        loop = [user(*images[:2], DESCRIBE), CALL]
        for image in images[2:]:
            loop.append(seen(image))
            answer = await gateway.answer(whole(*loop))
            assert len(answer.images) == 1
            loop.append(CALL)
        engine = gateway.pool.engine("ollama")
        assert isinstance(engine, ScriptedEngine)
        assert [len(message.images) for message in engine.requests[-1].messages] == [2, 0, 1, 0, 1, 0, 1, 0, 1]
        begun = [*loop[:-1], assistant(TextPart("It is"))]
        assert len((await gateway.answer(whole(*begun))).images) == 1, "the beginning of the answer is no call"
        with pytest.raises(InvalidRequest, match="3 images"):
            await gateway.answer(whole(*loop, seen(*images[:2]), seen(images[2])))


@pytest.mark.parametrize("policy", ["strict", "pin_images", "sliding"])
async def test_images_keep_their_detail_when_they_become_history(policy: Policy) -> None:
    """Even in a gateway that does not know the conversation, if several messages ask at once, and if a tool was called in between."""
    turns = (
        (user(TextPart("Be fair. " * 40)), user(upload("red"), DESCRIBE), user(upload("blue"), DESCRIBE)),
        (assistant(TextPart("Yes. " * 20)), user(upload("green"), DESCRIBE)),
        (CALL, seen(upload("yellow", 600)), seen(upload("red", 700))),
        (assistant(TextPart("Fine.")), user(upload("blue", 800), DESCRIBE)),
    )
    sights: list[list[Sight]] = []
    for count in range(1, len(turns) + 1):
        async with seeing(VisionFacts("qwen25vl", 560, 14, merge=2)) as gateway:
            await ask(gateway, upload("green", 900), DESCRIBE)  # from now on the model's speed is known
            messages = (message for turn in turns[:count] for message in turn)
            prompt = await gateway.count_tokens(whole(*messages, policy=policy, options=Options(num_ctx=4096, num_predict=64)))
            exchanges = prompt.conversation.exchanges
            sights.append([part.sight for exchange in exchanges for part in exchange.images])
            sights[-1] += [part.sight for part in prompt.conversation.question_images]
    assert list(map(len, sights)) == [2, 3, 5, 6]
    assert all(sight.max_image_tokens for sight in sights[0]), "there is no room for all of two"
    for before, after in pairwise(sights):
        assert after[: len(before)] == before


async def test_which_image_of_which_message_is_at_fault() -> None:
    broken = Upload(LARGE.data[:200])
    async with open_gateway(Settings(image_workers=1), [ScriptedEngine(says("Yes."))]) as gateway:
        history = user(DESCRIBE, LARGE), assistant(TextPart("Yes.")), user(DESCRIBE), user(SQUARE, DESCRIBE, broken)
        for rest in ((), (assistant(TextPart("Yes.")), user(DESCRIBE))):
            with pytest.raises(GatewayError) as refused:
                await gateway.answer(whole(*history, *rest, system="Be brief."))
            assert refused.value.place == ("message", 3, "image", 1)
        with pytest.raises(GatewayError) as refused:
            await gateway.answer(whole(*history[:3], user(ImagePart("ab" * 32), DESCRIBE), assistant(), user(DESCRIBE)))
        assert (refused.value.code, refused.value.place) == ("image_file_not_found", ("message", 3, "image", 0))
        with pytest.raises(GatewayError) as refused:
            await gateway.answer(whole(user(SQUARE, broken)))
        assert refused.value.place == ("image", 1)
