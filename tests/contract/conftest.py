"""The worlds of the contract suite, one after the other: every test runs over every engine."""

from __future__ import annotations

import asyncio

import pytest

from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama_library import OllamaLibrary
from tests.contract.worlds import NUM_CTX, EmbeddedWorld, OllamaWorld, OpenAIWorld, World
from tests.ollama_server import RealOllama
from tests.synthetic_llava import UNHURRIED, SyntheticPair, write_pair

WORLDS = ("embedded", "openai", "ollama")
ENDLESS_MODELFILE = """
FROM {pair.gguf.name}
FROM {pair.mmproj.name}
TEMPLATE \"\"\"{{{{ range .Messages }}}}USER: {{{{ .Content }}}} {{{{ end }}}}ASSISTANT:\"\"\"
PARAMETER num_ctx {num_ctx}
"""


@pytest.fixture(scope="session")
def endless_pair(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPair:
    """A model whose answers never end."""
    return write_pair(tmp_path_factory.mktemp("endless"), inner=UNHURRIED)


@pytest.fixture(scope="session")
def stocked_ollama(real_ollama: RealOllama, endless_pair: SyntheticPair) -> RealOllama:
    """A real Ollama with both models."""
    modelfile = parse_modelfile(ENDLESS_MODELFILE.format(pair=endless_pair, num_ctx=NUM_CTX["endless"]))

    async def create() -> None:
        library = OllamaLibrary(real_ollama.url)
        try:
            async for _ in library.create("endless", modelfile, endless_pair.gguf.parent):
                pass
        finally:
            await library.aclose()

    asyncio.run(create())
    return real_ollama


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, endless_pair: SyntheticPair) -> World:
    """For tests that leave the servers as they are."""
    match request.param:
        case "embedded":
            return EmbeddedWorld(endless_pair)
        case "openai":
            return OpenAIWorld(endless_pair)
        case _:
            return OllamaWorld(request.getfixturevalue("stocked_ollama"))


@pytest.fixture(params=WORLDS)
def mortal_world(request: pytest.FixtureRequest, endless_pair: SyntheticPair) -> World:
    """For tests that kill the server."""
    match request.param:
        case "embedded":
            return EmbeddedWorld(endless_pair)
        case "openai":
            return OpenAIWorld(endless_pair)
        case _:
            request.getfixturevalue("stocked_ollama")
            return OllamaWorld(request.getfixturevalue("own_ollama"))
