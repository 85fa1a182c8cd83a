"""Texts as vectors: requests to Ollama and to OpenAI-compatible servers, and how their answers and rejections are read.

tests/contract/test_embedding.py asks real servers.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from llava_gateway.chat import Embeddings, EmbedRequest
from llava_gateway.engines.base import Engine
from llava_gateway.engines.embedding import BATCH
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.engines.openai_prompt import PLAIN
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    ModelLacksEmbeddings,
    ModelNotFound,
    Overloaded,
    UpstreamError,
    UpstreamProtocolError,
)
from llava_gateway.options import Options
from llava_gateway.settings import Settings
from tests.engines.fake_upstream import Exchange, FakeUpstream, fake_upstream

Answer: TypeAlias = Callable[[list[str]], tuple[int, Any]]
"""Returns the status and the body with which a server answers texts."""


@asynccontextmanager
async def ollama(answer: Answer) -> AsyncIterator[tuple[Engine, FakeUpstream]]:
    async def script(exchange: Exchange) -> None:
        await exchange.reply(*answer(exchange.request.json["input"]))

    async with fake_upstream(script) as fake:
        engine = OllamaEngine(Settings(ollama_host=fake.url))
        try:
            yield engine, fake
        finally:
            await engine.aclose()


@asynccontextmanager
async def openai(answer: Answer) -> AsyncIterator[tuple[Engine, FakeUpstream]]:
    async def script(exchange: Exchange) -> None:
        await exchange.reply(*answer(exchange.request.json["input"]))

    async with fake_upstream(script) as fake:
        engine = OpenAIEngine(f"{fake.url}/v1", dialect=PLAIN)
        try:
            yield engine, fake
        finally:
            await engine.aclose()


def always(body: bytes) -> Answer:
    return lambda texts: (200, body)


def rows(*vectors: Any) -> dict[str, Any]:
    """Return a body of /v1/embeddings with the last vector first: the index gives the order."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}}


async def test_ollama_is_asked_for_whole_texts_with_the_options_the_model_runs_with() -> None:
    async with ollama(lambda texts: (200, {"embeddings": [[3, 4], [0, 0.5]], "prompt_eval_count": 7})) as (engine, fake):
        found = await engine.embed(EmbedRequest("m", ("Hello", ""), Options(num_ctx=2048), "300"))
    assert found == Embeddings(((0.6, 0.8), (0.0, 1.0)), 7)
    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/api/embed")
    assert request.json == {"model": "m", "input": ["Hello", ""], "truncate": False, "options": {"num_ctx": 2048}, "keep_alive": 300}


async def test_an_openai_server_is_asked_for_numbers_and_read_by_index() -> None:
    async with openai(lambda texts: (200, rows([3, 4], [0, 2.0]))) as (engine, fake):
        assert await engine.embed(EmbedRequest("m", ("a", "b"))) == Embeddings(((0.6, 0.8), (0.0, 1.0)), 7)
    assert (fake.requests[0].path, fake.requests[0].json) == (
        "/v1/embeddings",
        {"model": "m", "input": ["a", "b"], "encoding_format": "float"},
    )


@pytest.mark.parametrize("server", [ollama, openai])
async def test_many_texts_go_in_batches_and_keep_their_order(server: Any) -> None:
    texts = tuple(str(number) for number in range(1, 2 * BATCH + 4))

    def answer(asked: list[str]) -> tuple[int, Any]:
        vectors = [[int(text), 1] for text in asked]
        return 200, rows(*vectors) | {"embeddings": vectors, "prompt_eval_count": 7}

    async with server(answer) as (engine, fake):
        found = await engine.embed(EmbedRequest("m", texts))
    assert [round(x / y) for x, y in found.vectors] == [int(text) for text in texts]
    assert found.prompt_tokens == 21
    assert [len(request.json["input"]) for request in fake.requests] == [BATCH, BATCH, 3]


async def test_a_vector_of_zeros_stays_one_and_large_numbers_are_fine() -> None:
    async with openai(lambda texts: (200, rows([0, 0], [3e200, 4e200]))) as (engine, _):
        zeros, large = (await engine.embed(EmbedRequest("m", ("a", "b")))).vectors
    assert zeros == (0.0, 0.0)
    assert math.isclose(large[0], 0.6)


ODD: dict[str, Any] = {
    "too few": [[1, 0]],
    "too many": [[1, 0]] * 3,
    "of two lengths": [[1, 0], [1, 0, 0]],
    "empty": [[], []],
    "a null": [[1, None], [1, 0]],
    "a truth": [[True, 0], [1, 0]],
    "words": [["1", "0"], [1, 0]],
    "not a list": [5, [1, 0]],
    "not a number": [[math.nan, 0], [1, 0]],
    "without end": [[math.inf, 0], [1, 0]],
    "beyond all numbers": [[10**400, 0], [1, 0]],
}


@pytest.mark.parametrize("name", ODD)
async def test_what_are_no_vectors_is_a_protocol_error(name: str) -> None:
    vectors = ODD[name]
    for server, body in ((ollama, {"embeddings": vectors}), (openai, rows(*vectors))):
        async with server(always(json.dumps(body).encode())) as (engine, _):
            with pytest.raises(UpstreamProtocolError):
                await engine.embed(EmbedRequest("m", ("a", "b")))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[1]",
        b"{}",
        b'{"data": 5}',
        b'{"data": [5]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": "0", "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}], "usage": 5}',
        b'{"embeddings": {"0": [1]}}',
    ],
)
async def test_an_odd_answer_is_a_protocol_error(body: bytes) -> None:
    for server in (ollama, openai):
        async with server(always(body)) as (engine, _):
            with pytest.raises(UpstreamProtocolError):
                await engine.embed(EmbedRequest("m", ("a",)))


NONE = "This server does not support embeddings. Start it with `--embeddings`"
TOO_LARGE = "input (2801 tokens) is too large to process. increase the physical batch size (current batch size: 512)"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (501, {"error": {"code": 501, "message": NONE, "type": "not_supported_error"}}, ModelLacksEmbeddings),
        (
            400,
            {"error": {"message": "Pooling type 'none' is not OAI compatible. Please use a different pooling type"}},
            ModelLacksEmbeddings,
        ),
        (400, {"object": "error", "message": "The model does not support Embeddings API"}, ModelLacksEmbeddings),
        (404, {"detail": "Not Found"}, ModelLacksEmbeddings),
        (404, {"object": "error", "message": "The model `m` does not exist."}, ModelNotFound),
        (500, {"error": {"code": 500, "message": TOO_LARGE}}, ContextLengthExceeded),
        (400, {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}}, ContextLengthExceeded),
        (503, {"error": {"message": "busy"}}, Overloaded),
        (500, {"error": "secret words"}, UpstreamError),
    ],
)
async def test_what_an_openai_server_refuses_becomes_the_error_that_names_it(status: int, body: Any, error: type[GatewayError]) -> None:
    async with openai(lambda texts: (status, body)) as (engine, _):
        with pytest.raises(error) as caught:
            await engine.embed(EmbedRequest("m", ("a",)))
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (501, NONE, ModelLacksEmbeddings),
        (404, 'model "m" not found, try pulling it first', ModelNotFound),
        (400, "the input length exceeds the context length", ContextLengthExceeded),
        (500, "input after truncation exceeds maximum context length", ContextLengthExceeded),
        (503, "server busy, please try again.  maximum pending requests exceeded", Overloaded),
        (500, "secret words", UpstreamError),
    ],
)
async def test_what_ollama_refuses_becomes_the_error_that_names_it(status: int, said: str, error: type[GatewayError]) -> None:
    async with ollama(lambda texts: (status, {"error": said})) as (engine, _):
        with pytest.raises(error) as caught:
            await engine.embed(EmbedRequest("m", ("a",)))
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)


async def test_no_text_goes_to_the_cloud() -> None:
    async with ollama(lambda texts: (200, {})) as (engine, fake):
        with pytest.raises(ModelNotFound):
            await engine.embed(EmbedRequest("embed:cloud", ("a",)))
        assert fake.requests == []
