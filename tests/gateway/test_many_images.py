"""Questions with many images, which models take whose context is large."""

from __future__ import annotations

import pytest

from llava_gateway.engines.base import ModelInfo
from llava_gateway.errors import InvalidRequest
from llava_gateway.images.facts import VisionFacts
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine, says

PAGES = [Upload(encoded(shape("circle", "red", size=(60, 60 + number)))) for number in range(30)]


def images_sent(engine: ScriptedEngine) -> list[str]:
    return [part.text if isinstance(part, TextPart) else "image" for part in engine.requests[-1].messages[0].parts]


async def test_thirty_images_go_in_order_each_with_its_number() -> None:
    engine = ScriptedEngine(says("Thirty."), model_names=())
    engine.installed = (ModelInfo("eye", "ollama", True, VisionFacts("mlp", 336, 14)),)
    engine.context = 32768
    async with open_gateway(Settings(image_workers=2, images_per_turn=64), [engine]) as gateway:
        session = gateway.sessions.create(Session())
        answer = await ask(gateway, *PAGES, TextPart("How many?"), session=session)
        assert len(answer.images) == len({image.id for image in answer.images}) == 30
        expected = [word for number in range(1, 31) for word in (f"Picture {number}:", "image")]
        assert images_sent(engine) == [*expected, "How many?"]
        # A later question sends the same.
        await ask(gateway, TextPart("And now?"), session=session)
        assert images_sent(engine)[: len(expected)] == expected
        again = await ask(gateway, *(ImagePart(image.id) for image in answer.images), TextPart("By name?"))
        assert [image.id for image in again.images] == [image.id for image in answer.images]


async def test_without_the_setting_there_are_eight() -> None:
    async with open_gateway(Settings(image_workers=1), [ScriptedEngine()]) as gateway:
        with pytest.raises(InvalidRequest) as refused:
            await ask(gateway, *PAGES[:9], TextPart("How many?"))
        assert (refused.value.code, refused.value.values) == ("too_many_images", {"count": 9, "most": 8})


@pytest.mark.real
async def test_thirty_images_reach_the_real_engine() -> None:
    async with open_gateway(Settings(engine="embedded", images_per_turn=64), None) as gateway:
        answer = await ask(gateway, *PAGES, TextPart("Describe these images."), options=Options(num_ctx=4096, num_predict=8))
        assert (len(answer.images), answer.usage.completion_tokens) == (30, 8)
        assert answer.usage.prompt_tokens is not None
        assert answer.usage.prompt_tokens > 30 * 64
