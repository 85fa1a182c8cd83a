"""A LLaVA with random weights and a vision encoder of real size, in each engine with a gateway in front."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.children import child
from benchmarks.engines import gateway_to, present, real_ollama
from benchmarks.questions import Timed, ask, to_gateway
from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama_library import OllamaLibrary
from tests.synthetic_llava import TINY_EYE, TINY_TEXT, VIT_L_14, Dimensions, SyntheticPair, write_pair

NAME = "llava-1.6-large"
"""The name gives it tiles, as configs/vision.toml defines them for real LLaVAs."""
SIDE = 336
CONTEXT = 4096
TEXT = Dimensions(width=1024, layers=8, heads=16, inner=4096, half=True)
"""A fiftieth of a real LLaVA's text model, so that the vision encoder does most of the work; but large enough that reading a question
takes longer than sending it.
"""
WORDS = 4
QUESTION = "hat is in the middle of this picture and what is behind it"
"""The question without its first letter, which differs each time; otherwise the prompt cache would contain the question."""
MODELFILE = """
FROM {pair.gguf.name}
FROM {pair.mmproj.name}
TEMPLATE \"\"\"{{{{ range .Messages }}}}USER: {{{{ .Content }}}} {{{{ end }}}}ASSISTANT:\"\"\"
PARAMETER num_ctx {context}
"""


@dataclass(slots=True)
class Large:
    """A gateway in front of the model.

    Attributes:
        asked, drawn: the number of questions and images so far; all of them are different.
    """

    engine: str
    gateway: str
    asked: int = 0
    drawn: int = 0

    def next_question(self) -> str:
        self.asked += 1
        return f"{chr(ord('a') + self.asked % 26)}{chr(ord('a') + self.asked // 26)}{QUESTION}"

    async def ask(self, session: aiohttp.ClientSession, question: str, *image_ids: str, **more: Any) -> Timed:
        return await ask(session, to_gateway(self.gateway, question, WORDS, image_ids=image_ids, **more))

    async def store(self, session: aiohttp.ClientSession, image: bytes) -> str:
        """Store an image and wait until it is ready. Returns its id."""
        form = aiohttp.FormData()
        form.add_field("image", image, filename="image")
        async with session.post(f"{self.gateway}/images", data=form) as response:
            return str((await response.json())["id"])

    async def read_ahead(self, session: aiohttp.ClientSession, image_id: str, *, wait: bool = True, **more: Any) -> dict[str, Any]:
        params = {"wait": "true" if wait else "false"}
        async with session.post(f"{self.gateway}/images/{image_id}/read_ahead", params=params, json=more) as response:
            result: dict[str, Any] = await response.json()
            return result


@contextmanager
def model(*, quick: bool) -> Iterator[SyntheticPair]:
    """Return the two files of the model; in quick mode with a tiny vision encoder."""
    with tempfile.TemporaryDirectory() as folder:
        text, eye = (TINY_TEXT, TINY_EYE) if quick else (TEXT, VIT_L_14)
        yield write_pair(Path(folder), name=NAME, context=CONTEXT, side=SIDE, text=text, eye=eye)


@contextmanager
def _embedded(pair: SyntheticPair) -> Iterator[Large]:
    settings = {"gguf": str(pair.gguf), "mmproj": str(pair.mmproj), "image_workers": 1}
    with child("gateway_process", json.dumps(settings)) as gateway:
        yield Large("llama.cpp", gateway.hello["url"])


@contextmanager
def _ollama(pair: SyntheticPair) -> Iterator[Large]:
    with real_ollama() as server:
        asyncio.run(_create(server.url, pair))
        with gateway_to(server) as url:
            yield Large("Ollama", url)


async def _create(url: str, pair: SyntheticPair) -> None:
    library = OllamaLibrary(url)
    try:
        modelfile = parse_modelfile(MODELFILE.format(pair=pair, context=CONTEXT))
        async for _ in library.create(NAME, modelfile, pair.gguf.parent):
            pass
    finally:
        await library.aclose()


def engines(notes: list[str]) -> list[Callable[[SyntheticPair], AbstractContextManager[Large]]]:
    """Yield the engines that can be measured; appends a sentence to `notes` for each that can't."""
    return present(notes, _embedded, _ollama)
