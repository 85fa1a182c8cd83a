"""Votes over HTTP: stored with the metrics of the answers, counted, dropped when there are too many; and invalid ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

ANSWER: dict[str, Any] = {"model": "small", "engine": "ollama", "answer": "A red circle."}
VOTE: dict[str, Any] = {"prompt": "What is it?", "candidates": [ANSWER, {**ANSWER, "model": "large"}], "best": 1}


async def test_an_answers_own_figures_are_saved_counted_and_forgotten(serve: Serve) -> None:
    served = await serve(ScriptedEngine(model_names=("small", "large")))
    candidates = []
    for model in ("small", "large"):
        done = (await served.ask(model=model)).json()
        candidates.append(
            {
                **{key: done[key] for key in ("model", "engine", "timings", "usage")},
                "answer": done["message"]["content"],
                "preset": "factual",
                "detail": "low",
                "options": {"temperature": 0.5, "seed": 1},
            }
        )
    cast = await served.client.post("/votes", json={"prompt": "Hi", "images": ["0" * 64], "candidates": candidates, "best": 1})
    assert cast.status_code == 201
    tie = await served.client.post("/votes", json={**VOTE, "best": None})
    found = (await served.client.get("/votes")).json()
    assert found["votes"] == [tie.json(), cast.json()]
    assert cast.json()["candidates"] == candidates
    assert cast.json()["images"] == ["0" * 64]
    assert [(s["model"], s["compared"], s["best"], s["ties"]) for s in found["tally"]] == [("large", 2, 1, 1), ("small", 2, 0, 1)]
    assert found["tally"][0]["first_word_ms"] >= 0
    assert (await served.client.delete("/votes")).status_code == 204
    assert (await served.client.get("/votes")).json() == {"votes": [], "tally": []}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"best": 2}, "best"),
        ({"best": -1}, "best"),
        ({"best": True}, "best"),
        ({"candidates": [ANSWER]}, "candidates"),
        ({"candidates": [ANSWER] * 5}, "candidates"),
        ({"candidates": [ANSWER, {**ANSWER, "answer": "x" * 20_001}]}, "candidates.1.answer"),
        ({"candidates": [ANSWER, {**ANSWER, "timings": {"total_ms": -1}}]}, "candidates.1.timings.total_ms"),
        ({"candidates": [ANSWER, {**ANSWER, "timings": {"first_token_ms": 1.7e308}}]}, "candidates.1.timings.first_token_ms"),
        ({"candidates": [ANSWER, {**ANSWER, "usage": {"prompt_tokens": 1.5}}]}, "candidates.1.usage.prompt_tokens"),
        ({"images": ["../etc"]}, "images.0"),
        ({"prompt": "x" * 200_001}, "prompt"),
    ],
)
async def test_votes_that_make_no_sense(serve: Serve, change: dict[str, Any], param: str) -> None:
    served = await serve(ScriptedEngine(), prompt_max_chars=200_000)
    response = await served.client.post("/votes", json={**VOTE, **change})
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)
    assert (await served.client.get("/votes")).json()["votes"] == []


async def test_votes_take_little_room_and_can_always_be_read(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    fast = {**ANSWER, "usage": {"completion_tokens": 2**40}, "timings": {"generation_ms": 1e-320}}
    cast = await served.client.post("/votes", json={**VOTE, "prompt": "x" * 100_000, "candidates": [ANSWER, fast]})
    assert len(cast.json()["prompt"]) == 20_000
    assert (await served.client.get("/votes")).json()["votes"] == [cast.json()]
