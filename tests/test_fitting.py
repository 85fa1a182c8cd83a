"""What is known of a model's context when it is not loaded: on a real Ollama, which tells it of loaded models only."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from llava_gateway.chat import EngineRequest, Options, TextPart
from llava_gateway.errors import ContextLengthExceeded
from llava_gateway.gateway import Gateway
from llava_gateway.sessions.session import Session, Turn
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.ollama_server import RealOllama

TALK = "What is in this picture? " * 150
"""About a quarter of the demo model's context of 4096 tokens."""
QUESTION = TextPart("What do you see?")
BRIEF = Options(temperature=0, num_predict=16)


async def unload(gateway: Gateway) -> None:
    engine = gateway.pool.engine("ollama")
    await engine.load_model(EngineRequest("demo", (), keep_alive=0))
    async with asyncio.timeout(10):
        while any(model.loaded for model in await engine.models()):
            pass


async def test_a_long_session_goes_on_after_its_model_was_unloaded(own_ollama: RealOllama, caplog: pytest.LogCaptureFixture) -> None:
    """The engine's refusal tells how large the context is; then the oldest text goes, and it is not refused again."""
    async with open_gateway(Settings(engine="ollama", ollama_host=own_ollama.url, model="demo", image_workers=1)) as gateway:
        turn = Turn((TextPart(TALK),), "A circle.", model="demo")
        session = gateway.sessions.create(Session(model="demo", engine="ollama", turns=tuple(replace(turn, id=n) for n in range(8))))
        first = await ask(gateway, QUESTION, session=session, options=BRIEF)
        assert [warning.partition(":")[0] for warning in first.context.warnings] == ["context_trimmed"]
        assert first.context.limit == 4096
        assert caplog.text.count("Ollama refused") == 1
        await unload(gateway)
        second = await ask(gateway, QUESTION, session=session, options=BRIEF)
        assert second.context.limit == 4096
        assert caplog.text.count("Ollama refused") == 1


async def test_what_can_not_be_shortened_is_refused_with_the_way_out(own_ollama: RealOllama) -> None:
    async with open_gateway(Settings(engine="ollama", ollama_host=own_ollama.url, model="demo", image_workers=1)) as gateway:
        with pytest.raises(ContextLengthExceeded) as refused:
            await ask(gateway, TextPart(TALK * 8), options=BRIEF)
    assert refused.value.extra["n_ctx"] == 4096
    assert "num_ctx" in refused.value.hint
