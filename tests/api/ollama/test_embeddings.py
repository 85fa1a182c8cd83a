"""Tests of /api/embed and /api/embeddings."""

from __future__ import annotations

import math
from typing import Any

import pytest

from llava_gateway.api.ollama.embeddings import shortened
from llava_gateway.errors import ModelLacksEmbeddings
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine


async def test_embed_takes_one_text_or_several(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    for given, texts in (("one", ("one",)), (["one", "two"], ("one", "two"))):
        response = await served.client.post("/api/embed", json={"model": "scripted", "input": given, "keep_alive": "1m", "truncate": True})
        answer = response.json()
        assert list(answer) == ["model", "embeddings", "total_duration", "prompt_eval_count"]
        assert answer["embeddings"] == [[1.0, 0.0]] * len(texts)
        assert answer["prompt_eval_count"] == 3 * len(texts)
        assert (engine.embedded[-1].texts, engine.embedded[-1].keep_alive) == (texts, "1m")


async def test_dimensions_shorten_the_vectors(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/api/embed", json={"model": "scripted", "input": "one", "dimensions": 1})
    assert response.json()["embeddings"] == [[1.0]]
    (vector,) = shortened([[0.6, 0.0, 0.8]], 2)
    assert math.hypot(*vector) == pytest.approx(1)
    assert shortened([[0.0, 1.0]], 1) == [[0.0]]


async def test_the_old_shape(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/api/embeddings", json={"model": "scripted", "prompt": "one"})
    assert response.json() == {"embedding": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/api/embed", {"input": ""}, {"model": "scripted", "embeddings": []}),
        ("/api/embed", {"input": []}, {"model": "scripted", "embeddings": []}),
        ("/api/embeddings", {"prompt": ""}, {"embedding": []}),
    ],
)
async def test_nothing_to_embed_loads_the_model(serve: Serve, path: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    assert (await served.client.post(path, json={"model": "scripted", **body})).json() == answer
    assert [request.model for request in engine.loads] == ["scripted"]
    assert engine.embedded == []


@pytest.mark.parametrize("body", [{"input": 7}, {"input": ["one", 2]}, {"input": "one", "dimensions": -1}])
async def test_wrong_input_is_400(serve: Serve, body: dict[str, Any]) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/api/embed", json={"model": "scripted", **body})
    assert (response.status_code, list(response.json())) == (400, ["error"])


async def test_a_model_that_can_not_embed_is_400(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.refusal = ModelLacksEmbeddings()
    served = await serve(engine)
    response = await served.client.post("/api/embed", json={"model": "scripted", "input": "one"})
    assert (response.status_code, list(response.json())) == (400, ["error"])
