"""How full the context is: counted before the question is asked, reported in every answer, and limited by the session's policy."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from llava_gateway.api.native_json import note_json
from llava_gateway.chat import EngineRequest, Finish, TextDelta, TokenCount, Usage
from llava_gateway.engines.counting import token_count
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving

RED_CIRCLE = base64.b64encode(encoded(shape("circle", "red"))).decode()
BLUE_SQUARE = base64.b64encode(encoded(shape("square", "blue"))).decode()
WORDS = "one two three four five six seven eight nine ten "


def count(client: httpx2.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/count_tokens", json=body)
    assert response.status_code == 200, response.text
    counted: dict[str, Any] = response.json()
    return counted


def test_what_is_counted_is_what_the_engine_counts_then(demo: httpx2.Client) -> None:
    for body in (
        {"prompt": "Hello"},
        {"prompt": "Describe this image.", "images": [RED_CIRCLE]},
        {"prompt": "描述这些图片", "images": [RED_CIRCLE, BLUE_SQUARE], "system": "Be precise."},
        {"prompt": "What does it say?", "images": [RED_CIRCLE], "ocr_text": "F7", "glossary": ["F7: a key"]},
    ):
        counted = count(demo, **body)
        assert counted["total"] == demo.post("/ask", json=body).json()["usage"]["prompt_tokens"]
        assert counted["label"] == "exact"
        parts = counted["parts"]
        assert parts["system"] + parts["text"] + sum(parts["images"]) == counted["total"]
        assert parts["images"] == [64] * len(body.get("images", []))
        assert (counted["fits"], counted["over"], counted["limit"], counted["dropped"]) == (True, 0, 4096, [])
        assert counted["num_ctx_needed"] >= counted["total"] + counted["answer_room"] > counted["num_ctx_needed"] - 256


def test_counting_leaves_a_session_as_it_is(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={}).json()
    count(demo, prompt="Describe this image.", images=[RED_CIRCLE], session_id=session["id"], policy="sliding", system="Be brief.")
    assert demo.get(f"/sessions/{session['id']}").json() == session


def test_a_question_that_does_not_fit_is_counted_and_refused(demo: httpx2.Client) -> None:
    body = {"prompt": WORDS * 400, "images": [RED_CIRCLE], "options": {"num_ctx": 2048}}
    counted = count(demo, **body)
    assert (counted["fits"], counted["limit"], counted["policy"]) == (False, 2048, "strict")
    assert counted["over"] == counted["total"] + counted["answer_room"] - 2048
    for policy in ("strict", "pin_images", "sliding", "summarise"):
        response = demo.post("/ask", json={**body, "policy": policy})
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["code"] == "context_length_exceeded"
        values = error["values"]
        assert (values["n_prompt_tokens"], values["n_ctx"], values["num_ctx_needed"]) == (counted["total"], 2048, counted["num_ctx_needed"])
        assert values["ways"] == [], "the demo model can have no larger context"


def test_a_form_is_counted_like_json(demo: httpx2.Client) -> None:
    form = demo.post("/count_tokens", files={"image": base64.b64decode(RED_CIRCLE)}, data={"prompt": "Describe this image."}).json()
    assert form == count(demo, prompt="Describe this image.", images=[RED_CIRCLE])


def test_strict_in_a_session_refuses_what_no_longer_fits(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={"policy": "strict"}).json()["id"]
    asked = {"prompt": WORDS * 24, "session_id": session, "options": {"num_ctx": 1024, "num_predict": 8}}
    assert demo.post("/ask", json=asked).status_code == 200
    refused = demo.post("/ask", json=asked)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert len(demo.get(f"/sessions/{session}").json()["turns"]) == 1
    trimmed = demo.post("/ask", json={**asked, "policy": "pin_images"}).json()
    assert trimmed["context"]["dropped"] == [
        {"turn": 0, "turn_id": 1, "image_id": None, "tokens": trimmed["context"]["dropped"][0]["tokens"]}
    ]
    assert trimmed["context"]["warnings"][0]["code"] == "context_trimmed"
    assert trimmed["context"]["warnings"][0] in trimmed["warnings"]


def test_images_of_a_session_can_be_pinned_let_go_and_shown_otherwise(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={}).json()["id"]
    answer = demo.post(f"/sessions/{session}/turns", json={"prompt": "Describe this image.", "images": [RED_CIRCLE]}).json()
    image_id = answer["images"][0]["id"]
    assert demo.get(f"/sessions/{session}").json()["images"] == {image_id: {"pinned": None, "detail": None}}
    changed = demo.patch(f"/sessions/{session}", json={"images": {image_id: {"pinned": False, "detail": "low"}}}).json()
    assert (changed["images"], changed["tokens"]) == ({image_id: {"pinned": False, "detail": "low"}}, None)
    back = demo.patch(f"/sessions/{session}", json={"images": {image_id: {"pinned": None}}}).json()
    assert back["images"] == {image_id: {"pinned": None, "detail": "low"}}
    as_asked = demo.patch(f"/sessions/{session}", json={"images": {image_id: {"detail": None}}}).json()
    assert as_asked["images"] == {image_id: {"pinned": None, "detail": None}}
    missing = demo.patch(f"/sessions/{session}", json={"images": {"0" * 64: {"pinned": True}}})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "image_file_not_found")


def test_it_counts_what_the_documentation_says(demo: httpx2.Client) -> None:
    for words, figures in [("What is this?", (90, 0, 512)), (" ".join(["circle"] * 2100), (2188, 396, 2560))]:
        body = {"prompt": words, "images": [RED_CIRCLE], "system": "Answer in English.", "options": {"num_ctx": 2048}}
        counted = demo.post("/count_tokens", json=body).json()
        assert (counted["total"], counted["over"], counted["num_ctx_needed"]) == figures


def test_an_image_that_was_let_go_leaves_a_trace(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={}).json()["id"]
    image_id = demo.post(f"/sessions/{session}/turns", json={"images": [RED_CIRCLE]}).json()["images"][0]["id"]
    demo.patch(f"/sessions/{session}", json={"images": {image_id: {"pinned": False}}})
    filler = {"prompt": WORDS * 9, "options": {"num_ctx": 1024, "num_predict": 8}}
    for _ in range(4):
        answer = demo.post(f"/sessions/{session}/turns", json=filler).json()
    assert image_id in [item["image_id"] for item in answer["context"]["dropped"]]
    assert answer["context"]["images"] == 0


def test_what_it_is_spent_on_and_what_goes_next(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={"options": {"num_ctx": 2048}}).json()["id"]
    first = demo.post(f"/sessions/{session}/turns", json={"prompt": "Describe this image.", "images": [RED_CIRCLE]}).json()
    image_id = first["images"][0]["id"]
    for _ in range(3):
        demo.post(f"/sessions/{session}/turns", json={"prompt": "Hello"})
    counted = count(demo, session_id=session, images=[BLUE_SQUARE])
    turns = counted["turns"]
    assert [turn["turn"] for turn in turns] == [0, 1, 2, 3, None]
    assert [turn["turn_id"] for turn in turns] == [1, 2, 3, 4, None]
    assert all(item["turn_id"] == item["turn"] + 1 for item in counted["next"])
    # Another branch has other ids in the same places.
    demo.post(f"/sessions/{session}/turns", json={"prompt": "Hello again", "after": 3})
    assert [turn["turn_id"] for turn in count(demo, session_id=session)["turns"]] == [1, 2, 3, 5, None]
    demo.patch(f"/sessions/{session}", json={"branch": 4})
    assert [turn["asked"] for turn in turns[:2]] == ["Describe this image.", "Hello"]
    assert turns[0]["images"] == [{"number": 1, "image_id": image_id, "tokens": 64, "sent": True, "pinned": None, "detail": "low"}]
    assert turns[-1]["images"] == [{"number": 2, "image_id": None, "tokens": 64, "sent": True, "pinned": None, "detail": "low"}]
    stored = count(demo, session_id=session, images=[BLUE_SQUARE, {"image_id": image_id}])["turns"][-1]["images"]
    assert [image["image_id"] for image in stored] == [None, image_id]
    assert sum(turn["text_tokens"] for turn in turns) == pytest.approx(counted["parts"]["text"], rel=0.5)
    # Turns without images are dropped first; the turn of a kept image is dropped with it.
    assert [(item["turn"], item["image_id"]) for item in counted["next"]] == [(1, None), (2, None), (3, None), (0, None), (0, image_id)]
    assert counted["together"] == 3
    assert counted["larger"]["num_ctx"] == 4096
    assert counted["larger"]["last_load_ms"] > 0
    sliding = count(demo, session_id=session, policy="sliding")
    assert [item["turn"] for item in sliding["next"]] == [0, 0, 1, 2, 3]
    assert count(demo, session_id=session, policy="strict")["next"] == []
    demo.patch(f"/sessions/{session}", json={"images": {image_id: {"pinned": True}}})
    pinned = count(demo, session_id=session)
    assert image_id not in [item["image_id"] for item in pinned["next"]]
    assert pinned["turns"][0]["images"][0]["pinned"] is True
    assert count(demo, session_id=session, options={"num_ctx": 4096})["larger"] is None, "the model was not trained for more"


@asynccontextmanager
async def scripted(engine: ScriptedEngine, **settings: Any) -> AsyncIterator[Served]:
    async with serving(Settings(image_workers=1, **settings), [engine]) as served:
        yield served


def counts(tokens: int) -> Any:
    """Create an engine that counts this many tokens for every prompt, and reports the same in its answers."""

    async def script(request: EngineRequest) -> Any:
        yield TextDelta("Well.")
        yield Finish("stop", Usage(tokens, 2, 0))

    return script


async def test_an_image_that_leaves_no_mark_in_the_prompt_was_not_seen() -> None:
    engine = ScriptedEngine(counts(30))
    engine.counted = lambda request: TokenCount(0, 28, (576,), "exact")
    async with scripted(engine) as served:
        unseen = (await served.ask(images=[RED_CIRCLE])).json()
        assert [warning["code"] for warning in unseen["warnings"]] == ["image_ignored"]
        engine.script = counts(28 + 576)
        assert (await served.ask(images=[RED_CIRCLE])).json()["warnings"] == []


async def test_what_an_image_costs_a_model_of_no_known_family_is_learned_from_the_answer() -> None:
    engine = ScriptedEngine(counts(28 + 1000))
    engine.counted = lambda request: token_count(request, 28, 0)
    question = {"prompt": "Hi", "images": [RED_CIRCLE]}
    async with scripted(engine) as served:
        before = (await served.client.post("/count_tokens", json=question)).json()
        await served.ask(images=[RED_CIRCLE])
        after = (await served.client.post("/count_tokens", json=question)).json()
    assert (before["parts"]["images"], before["label"]) == ([0], "estimated")
    assert (after["parts"]["images"], after["total"], after["label"]) == ([1000], 1028, "measured")


async def test_the_context_grows_in_steps_where_that_is_allowed() -> None:
    engine = ScriptedEngine(counts(5000))
    engine.counted = lambda request: TokenCount(0, 5000, (), "exact")

    async def context_length(request: EngineRequest) -> int:
        return request.options.num_ctx or 4096

    engine.context_length = context_length  # type: ignore[method-assign]
    async with scripted(engine, num_ctx_max=16384) as served:
        counted = (await served.client.post("/count_tokens", json={"prompt": WORDS * 400})).json()
        assert (counted["fits"], counted["limit"]) == (True, 8192)
        first = (await served.ask(prompt=WORDS * 400)).json()
        assert first["context"]["limit"] == 8192
        assert first["context"]["warnings"] == [note_json(note("num_ctx_grown", old=4096, new=8192))]
        assert (await served.ask(prompt=WORDS * 400)).json()["context"]["warnings"] == []
        assert [request.options.num_ctx for request in engine.requests] == [8192, 8192]
        chosen = await served.ask(prompt=WORDS * 400, options={"num_ctx": 4096})
        assert chosen.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("limit", [None, 4096])
async def test_where_the_engine_tells_nothing_it_is_left_to_the_engine(limit: int | None) -> None:
    engine = ScriptedEngine(counts(9000))
    engine.context = limit
    async with scripted(engine) as served:
        answer = await served.ask(prompt=WORDS * 1000)
        assert answer.status_code == (200 if limit is None else 400)
        counted = (await served.client.post("/count_tokens", json={"prompt": WORDS * 1000})).json()
        assert (counted["limit"], counted["fits"]) == (4096, False)
        assert any(warning["code"] == "limit_assumed" for warning in counted["warnings"]) is (limit is None)


def test_a_context_that_is_not_as_large_as_was_asked_for_is_said(demo: httpx2.Client) -> None:
    """The demo model was trained for 4096 tokens; more would not help a question of 5000."""
    warnings = demo.post("/ask", json={"prompt": "Hi", "options": {"num_ctx": 16384}}).json()["warnings"]
    assert note_json(note("num_ctx_adjusted", num_ctx=4096, wanted=16384)) in warnings
    assert count(demo, prompt="What is it? " * 1500, options={"num_ctx": 16384})["larger"] is None


def test_what_would_help_is_said_where_a_question_does_not_fit(demo: httpx2.Client) -> None:
    body = {"prompt": "What is it? " * 500, "options": {"num_ctx": 2048}}
    values = demo.post("/ask", json=body).json()["error"]["values"]
    assert (values["ways"], values["num_ctx"]) == (["num_ctx"], 4096)
    session = demo.post("/sessions", json={"policy": "strict"}).json()["id"]
    demo.post(f"/sessions/{session}/turns", json={"prompt": "Hello"})
    refused = demo.post(f"/sessions/{session}/turns", json=body).json()["error"]["values"]["ways"]
    assert "new_session" not in refused, "the question alone is too long"
    demo.post(f"/sessions/{session}/turns", json={"prompt": "What is it? " * 300})
    refused = demo.post(f"/sessions/{session}/turns", json={"prompt": "What is it?", "options": {"num_ctx": 1024}}).json()
    assert "new_session" in refused["error"]["values"]["ways"]
