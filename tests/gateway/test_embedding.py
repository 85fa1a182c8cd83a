"""Embedding texts and loading models through the gateway: the queue, the pinned options, and the ways it can end early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from llava_gateway.chat import Embeddings, EmbedRequest
from llava_gateway.errors import ModelLacksEmbeddings, ModelNotFound, Overloaded, ShuttingDown
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.options import Options
from llava_gateway.parts import TextPart
from llava_gateway.settings import ModelPins, Settings
from tests.gateways import ask, open_gateway
from tests.scripted_engine import ScriptedEngine, says_then_waits
from tests.serving import until

SETTINGS = Settings(image_workers=1, queue_size=1, keep_alive="7m", shutdown_grace=0, models={"scripted": ModelPins(num_ctx=4096)})


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def gateway(engine: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with open_gateway(SETTINGS, (engine,)) as gateway:
        yield gateway


async def test_texts_go_to_the_engine_as_the_settings_say(gateway: Gateway, engine: ScriptedEngine) -> None:
    model, found = await gateway.embed(("a", "b"), "scripted:latest")
    assert (model.key, found) == (("ollama", "scripted"), Embeddings(((1.0, 0.0), (1.0, 0.0)), 6))
    await gateway.embed(("a",), keep_alive=0)
    pinned = Options(num_ctx=4096)
    assert engine.embedded == [EmbedRequest("scripted", ("a", "b"), pinned, "7m"), EmbedRequest("scripted", ("a",), pinned, 0)]


async def test_what_the_engine_refuses_is_raised(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.refusal = ModelLacksEmbeddings(param="model")
    with pytest.raises(ModelLacksEmbeddings):
        await gateway.embed(("a",))
    with pytest.raises(ModelNotFound):
        await gateway.embed(("a",), "another")


async def test_texts_wait_behind_a_question_and_are_sent_away_where_it_is_full(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.script = says_then_waits("Hello")
    asking = asyncio.create_task(ask(gateway, TextPart("Hi")))
    await until(lambda: engine.running == 1)
    waiting = asyncio.create_task(gateway.embed(("a",)))
    await until(lambda: gateway.queues["ollama"].waiting == 1)
    with pytest.raises(Overloaded):
        await gateway.embed(("b",))
    assert engine.embedded == []
    asking.cancel()
    await waiting
    assert [request.texts for request in engine.embedded] == [("a",)]


async def test_a_shutdown_ends_what_is_being_read_and_takes_no_more(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.loaded = asyncio.Event()
    reading = asyncio.create_task(gateway.embed(("a",)))
    await until(lambda: len(engine.embedded) == 1)
    await gateway.drain()
    with pytest.raises(ShuttingDown):
        await reading
    with pytest.raises(ShuttingDown):
        await gateway.embed(("b",))


async def test_who_leaves_gives_the_slot_back(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.loaded = asyncio.Event()
    reading = asyncio.create_task(gateway.embed(("a",)))
    await until(lambda: len(engine.embedded) == 1)
    reading.cancel()
    await asyncio.wait([reading])
    assert gateway.queues["ollama"].active == 0


async def test_a_model_is_loaded_as_a_question_would_load_it(gateway: Gateway, engine: ScriptedEngine) -> None:
    await gateway.load("Scripted:latest", Options(num_gpu=3))
    await gateway.load("scripted", keep_alive=-1)
    first, second = engine.loads
    assert (first.model, first.options, first.keep_alive) == ("scripted", Options(num_ctx=4096, num_gpu=3), "7m")
    assert (second.options, second.keep_alive) == (Options(num_ctx=4096), -1)


async def test_a_shutdown_ends_a_load(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.loaded = asyncio.Event()
    loading = asyncio.create_task(gateway.load("scripted"))
    await until(lambda: bool(engine.loads))
    await gateway.drain()
    with pytest.raises(ShuttingDown):
        await loading
    with pytest.raises(ShuttingDown):
        await gateway.load("scripted")


async def test_unloading_waits_for_no_queue(gateway: Gateway, engine: ScriptedEngine) -> None:
    engine.script = says_then_waits("Hello")
    asking = asyncio.create_task(ask(gateway, TextPart("Hi")))
    await until(lambda: engine.running == 1)
    await gateway.unload("scripted")
    assert engine.unloaded == ["scripted"]
    with pytest.raises(ModelNotFound):
        await gateway.unload("another")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
