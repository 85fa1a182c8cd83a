"""The notes about request fields that the engine ignores, and answers whose beginning the client wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llava_gateway.chat import ChatRequest, Message
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import note
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.scripted_engine import ScriptedEngine, says


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def gateway(engine: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with open_gateway(Settings(image_workers=1), (engine,)) as gateway:
        yield gateway


async def test_fields_that_mean_nothing_to_the_engine_are_told(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.ignores = frozenset({"think"})
    answer = await ask(gateway, TextPart("Hi"), think=True)
    assert answer.warnings == (note("option_ignored", option="think"),)


async def test_the_space_after_a_begun_answer_stays(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.script = says(" red", " circle")
    begun = (Message("user", (TextPart("What is it?"),)), Message("assistant", (TextPart("A"),)))
    assert (await gateway.answer(ChatRequest(begun))).text == " red circle"
    assert (await gateway.answer(ChatRequest(begun[:1]))).text == "red circle"
