"""Test that the real engine computes the same numbers from our tiles as a projector with its own grids does from the whole image."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from llava_gateway.images.encode import encode
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, Rendered, ingest
from llava_gateway.images.plan import Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.parts import Sight
from tests.llama_server import client_of, llama_server
from tests.synthetic_llava import PATCH, PINPOINTS_16, SyntheticPair, write_pair

SIDE = 112
TOKENS = (SIDE // PATCH) ** 2
PINPOINTS = tuple(length * SIDE // 336 for length in PINPOINTS_16)
PLAIN = profile_for(VisionFacts("mlp", SIDE, PATCH))
OWN_GRIDS = profile_for(VisionFacts("mlp", SIDE, PATCH, tuple(zip(PINPOINTS[::2], PINPOINTS[1::2], strict=True))))
HIGH = Sight(detail="high")


@dataclass(frozen=True)
class Seen:
    """The engine's output: the tokens of the prompt, and the log probabilities of its first words and their alternatives."""

    prompt_tokens: int
    logprobs: list[list[float]]


@dataclass(frozen=True)
class Model:
    http: httpx2.AsyncClient

    async def see(self, pieces: Sequence[bytes], *, cache: bool = False) -> Seen:
        urls = (f"data:image/png;base64,{base64.b64encode(piece).decode()}" for piece in pieces)
        content = [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": "Hello"}]
        asked = {"max_tokens": 3, "temperature": 0, "logprobs": True, "top_logprobs": 20, "cache_prompt": cache}
        response = await self.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}], **asked})
        assert response.status_code == 200, response.text
        answer = response.json()
        words = answer["choices"][0]["logprobs"]["content"]
        return Seen(answer["usage"]["prompt_tokens"], [[rival["logprob"] for rival in word["top_logprobs"]] for word in words])


@asynccontextmanager
async def served(pair: SyntheticPair) -> AsyncIterator[Model]:
    async with llama_server("tiles", pair.gguf, pair.mmproj, 2048) as server, client_of(server) as http:
        yield Model(http)


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Model]:
    """Serve a model with LLaVA-1.5's layout, without grids."""
    async with served(write_pair(tmp_path, name="plain", side=SIDE)) as model:
        yield model


@pytest.fixture
async def own_grids(tmp_path: Path) -> AsyncIterator[Model]:
    """Serve a model with the same weights and LLaVA-1.6's grids in the projector's header."""
    async with served(write_pair(tmp_path, name="grids", side=SIDE, pinpoints=PINPOINTS)) as model:
        yield model


def noise(size: Size) -> Image.Image:
    """Draw noise, so that every pixel matters."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def rendered(image: Image.Image, profile: VisionProfile, sight: Sight) -> Rendered:
    first = next(ingest(encode(image, lossless=True).data, Limits(), profile, sight))
    assert isinstance(first, Ready)
    assert first.rendered
    return first.rendered


def files(made: Rendered) -> list[bytes]:
    return [piece.data for piece in made.pieces]


@pytest.mark.parametrize("size", [(224, 224), (224, 112), (112, 336), (301, 170)])
async def test_tiles_are_to_the_engine_what_its_own_grids_are(plain: Model, own_grids: Model, size: Size) -> None:
    image = noise(size)
    whole = await own_grids.see([encode(image, lossless=True).data])
    for model, profile in ((plain, PLAIN), (own_grids, OWN_GRIDS)):
        made = rendered(image, profile, HIGH)
        assert await model.see(files(made)) == whole
        text = (await model.see([encode(noise((SIDE, SIDE)), lossless=True).data])).prompt_tokens - TOKENS
        assert made.plan.tokens == whole.prompt_tokens - text == TOKENS * len(made.pieces)


async def test_one_square_is_to_the_engine_what_its_own_is(plain: Model, own_grids: Model) -> None:
    image = noise((100, 70))
    file = encode(image, lossless=True).data
    for model, profile in ((plain, PLAIN), (own_grids, OWN_GRIDS)):
        made = rendered(image, profile, HIGH)
        assert len(made.pieces) == 1
        assert await model.see(files(made)) == await model.see([file])


async def test_images_that_begin_with_the_same_tile_do_not_break_the_prompt_cache(plain: Model) -> None:
    """Without marks, llama.cpp answers the second question with 500 "Chunk not found": the two prompts part between two images."""
    images = [Image.new("RGB", (224, 224), "white") for _ in range(2)]
    for image, colour in zip(images, ("red", "blue"), strict=True):
        image.paste(colour, (112, 112, 224, 224))
    for made in [rendered(image, PLAIN, HIGH) for image in (*images, *images)]:
        assert (await plain.see(files(made), cache=True)).prompt_tokens
