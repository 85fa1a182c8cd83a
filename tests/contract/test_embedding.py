"""Texts as vectors, asked of the real thing: of the demo model, which has none, and of a small one that is made for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import gguf
import pytest

from llava_gateway.chat import EmbedRequest, Finish
from llava_gateway.engines.base import Engine
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_library import OllamaLibrary
from llava_gateway.errors import ContextLengthExceeded, ModelLacksEmbeddings, ModelNotFound
from llava_gateway.settings import Settings
from tests.contract.worlds import World
from tests.ollama_server import RealOllama
from tests.sample_images import ask
from tests.synthetic_llava import TINY_TEXT, write_text_model

CONTEXT = 2048


@pytest.fixture
async def demo(world: World) -> AsyncIterator[Engine]:
    async with world.open("demo") as opened:
        yield opened.engine


async def test_a_model_that_chats_has_no_vectors_and_still_answers(demo: Engine) -> None:
    with pytest.raises(ModelLacksEmbeddings) as caught:
        await demo.embed(EmbedRequest("demo", ("Hello",)))
    assert (caught.value.code, caught.value.status) == ("model_lacks_embeddings", 422)
    async with demo.chat(ask("Hello", temperature=0.0)) as events:
        assert isinstance([event async for event in events][-1], Finish)


async def test_a_model_that_is_not_there_is_an_error(demo: Engine) -> None:
    with pytest.raises(ModelNotFound):
        await demo.embed(EmbedRequest("no-such-model", ("Hello",)))


@pytest.fixture(scope="session")
def vectors_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "vectors.gguf"
    write_text_model(path, "vectors", CONTEXT, TINY_TEXT, pooling=gguf.PoolingType.MEAN)
    return path


@pytest.fixture(params=["embedded", "ollama"])
def vectors_settings(request: pytest.FixtureRequest, vectors_file: Path) -> Settings:
    if request.param == "embedded":
        return Settings(gguf=vectors_file)
    server: RealOllama = request.getfixturevalue("real_ollama")

    async def create() -> None:
        library = OllamaLibrary(server.url)
        async for _ in library.create("vectors", parse_modelfile(f"FROM {vectors_file.name}\nPARAMETER num_thread 1"), vectors_file.parent):
            pass
        await library.aclose()

    asyncio.run(create())
    return Settings(ollama_host=server.url)


@pytest.fixture
async def vectors(vectors_settings: Settings) -> AsyncIterator[Engine]:
    engine: Engine = EmbeddedEngine(vectors_settings) if vectors_settings.gguf else OllamaEngine(vectors_settings)
    try:
        yield engine
    finally:
        await engine.aclose()


async def test_each_text_has_its_vector_of_length_one(vectors: Engine) -> None:
    found = await vectors.embed(EmbedRequest("vectors", ("hello", "red circle", "hello")))
    hello, circle, again = found.vectors
    assert len(hello) == len(circle) == TINY_TEXT.width
    assert all(math.isclose(math.hypot(*vector), 1) for vector in found.vectors)
    assert math.dist(hello, again) < 1e-4
    assert math.dist(hello, circle) > 0.01
    assert found.prompt_tokens is not None
    assert found.prompt_tokens >= len("hellored circlehello")  # its words are single letters


async def test_a_long_text_is_read_and_one_beyond_the_context_is_not_cut(vectors: Engine) -> None:
    found = await vectors.embed(EmbedRequest("vectors", ("hello" * 200,)))
    assert found.prompt_tokens is not None
    assert found.prompt_tokens > 900
    with pytest.raises(ContextLengthExceeded):
        await vectors.embed(EmbedRequest("vectors", ("hello" * CONTEXT,)))
