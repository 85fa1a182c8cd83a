"""What Ollama reports about the vision encoders of further families is enough to predict its token counts of our images exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llava_gateway.chat import EngineRequest, Finish, Message, Piece, Rendition
from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_library import OllamaLibrary
from llava_gateway.engines.ollama_models import LEAST_TOKENS
from llava_gateway.images.facts import profile_for
from llava_gateway.images.ingest import render
from llava_gateway.images.plan import Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Sight, TextPart
from llava_gateway.settings import Settings
from tests.ollama_server import RealOllama
from tests.sample_images import encoded, shape
from tests.synthetic_eyes import write_eye

RECIPE = 'FROM "{0}.gguf"\nFROM "{0}-mmproj.gguf"\nTEMPLATE "{{{{ .Prompt }}}}"\nPARAMETER num_thread 1\nPARAMETER num_ctx 4096\n'
SIZES: tuple[Size, ...] = ((640, 480), (90, 60), (300, 900))


@pytest.fixture
async def engine(real_ollama: RealOllama) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(Settings(ollama_host=real_ollama.url))
    yield engine
    await engine.aclose()


def made(profile: VisionProfile, size: Size) -> Rendition:
    rendered = render(encoded(shape("circle", "red", size=size)), profile, Sight(detail="low"))
    pieces = tuple(Piece(each.data, each.format, each.width, each.height) for each in rendered.pieces)
    return Rendition(pieces, rendered.plan.tokens, rendered.plan.label)


async def prompt_tokens(engine: OllamaEngine, model: str, *renditions: Rendition) -> int:
    images = {ImagePart(str(index)): rendition for index, rendition in enumerate(renditions)}
    message = Message("user", (*images, TextPart("a")))
    async with engine.chat(EngineRequest(model, (message,), Options(num_predict=1), renditions=images)) as events:
        *_, end = [event async for event in events]
    assert isinstance(end, Finish)
    assert end.usage.prompt_tokens
    return end.usage.prompt_tokens


@pytest.mark.parametrize(
    ("name", "family", "least"),
    [("qwen2-vl", "qwen-vl", LEAST_TOKENS), ("minicpm-v 2.6", "minicpm-v", 64), ("mistral3", "pixtral", 8), ("gemma3", "gemma3", 256)],
)
async def test_ollama_counts_what_was_predicted(
    name: str, family: str, least: int, engine: OllamaEngine, real_ollama: RealOllama, tmp_path: Path
) -> None:
    pair = write_eye(tmp_path, name)
    model = f"eye-{family}:latest"
    library = OllamaLibrary(real_ollama.url)
    try:
        assert [step async for step in library.create(model, parse_modelfile(RECIPE.format(pair.gguf.stem)), tmp_path)]
        (facts,) = [each.facts for each in await engine.models() if each.name == model]
        profile = profile_for(facts, model)
        assert profile.family == family
        text = await prompt_tokens(engine, model)
        for size in SIZES:
            rendition = made(profile, size)
            assert rendition.tokens
            assert rendition.tokens >= least
            assert await prompt_tokens(engine, model, rendition) - text == rendition.tokens, size
    finally:
        await library.delete(model)
        await library.aclose()
