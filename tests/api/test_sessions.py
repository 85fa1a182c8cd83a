"""Sessions over HTTP with the demo model: several turns, forks, changes, and rejected requests."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest

from llava_gateway.errors import ContextLengthExceeded
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, says, says_then_waits
from tests.serving import until

RED = "A red circle on a white background."


def create(demo: httpx2.Client, **body: Any) -> dict[str, Any]:
    response = demo.post("/sessions", json=body)
    assert response.status_code == 201
    session: dict[str, Any] = response.json()
    return session


def test_a_new_session_is_empty(demo: httpx2.Client) -> None:
    session = create(demo)
    assert {"id", "title", "model", "created_at", "turns"} <= set(session)
    assert (session["title"], session["model"], session["turns"]) == ("", None, [])
    assert len(bytes.fromhex(session["id"])) == 16
    assert demo.get(f"/sessions/{session['id']}").json() == session


def test_a_session_remembers_what_of_an_image_was_sent(demo: httpx2.Client, red_circle: bytes) -> None:
    session_id = create(demo)["id"]
    answer = demo.post(f"/sessions/{session_id}/turns", files={"image": red_circle}).json()
    (turn,) = demo.get(f"/sessions/{session_id}").json()["turns"]
    assert (
        turn["images"][0]["sent"]
        == answer["images"][0]["sent"]
        == {"width": 112, "height": 112, "format": "PNG", "tokens": 64, "label": "exact", "detail": "low", "pieces": 1}
    )


def test_a_session_remembers_which_part_of_an_image_was_asked_about(demo: httpx2.Client, red_circle: bytes) -> None:
    session_id = create(demo)["id"]
    for region in ("0.5,0,0.5,0.25", ""):
        demo.post(f"/sessions/{session_id}/turns", files={"image": red_circle}, data={"region": region} if region else {})
    turns = demo.get(f"/sessions/{session_id}").json()["turns"]
    assert [turn["images"][0]["region"] for turn in turns] == [[0.5, 0, 0.5, 0.25], None]


def test_a_second_question_remembers_the_image_and_finds_it_in_the_engines_cache(demo: httpx2.Client, red_circle: bytes) -> None:
    session_id = create(demo)["id"]
    first = demo.post(f"/sessions/{session_id}/turns", files={"image": red_circle}, data={"prompt": "What color is the circle?"}).json()
    second = demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Describe this image."}).json()
    assert "red" in first["message"]["content"].lower()
    assert second["message"]["content"] == RED
    assert second["session_id"] == session_id
    assert second["images"] == []
    assert second["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"] > 64


def test_a_session_has_its_turns_in_this_form(demo: httpx2.Client, red_circle: bytes) -> None:
    session_id = create(demo)["id"]
    image = base64.b64encode(red_circle).decode()
    answer = demo.post("/ask", json={"prompt": "Describe this image.", "images": [image], "session_id": session_id}).json()
    session = demo.get(f"/sessions/{session_id}").json()
    assert (session["title"], session["model"], session["engine"]) == ("Describe this image.", "demo", "embedded")
    (turn,) = session["turns"]
    assert {"index", "prompt", "images", "message", "status", "usage"} <= set(turn)
    assert (turn["index"], turn["prompt"], turn["status"]) == (0, "Describe this image.", "complete")
    assert turn["message"] == {"role": "assistant", "content": RED}
    assert turn["usage"] == answer["usage"]
    assert turn["images"][0]["id"] == answer["images"][0]["id"]
    assert demo.get(f"/images/{turn['images'][0]['id']}").status_code == 200


def test_the_list_has_no_turns(demo: httpx2.Client) -> None:
    session_id = create(demo, title="Listed")["id"]
    listed = demo.get("/sessions").json()
    assert list(listed) == ["sessions"]
    (row,) = [row for row in listed["sessions"] if row["id"] == session_id]
    assert row["title"] == "Listed"
    assert "turns" not in row


def test_a_session_is_renamed_forked_and_deleted(demo: httpx2.Client) -> None:
    session_id = create(demo)["id"]
    for _ in range(2):
        demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello"})
    assert demo.patch(f"/sessions/{session_id}", json={"title": "Shapes"}).json()["title"] == "Shapes"

    forked = demo.post(f"/sessions/{session_id}/fork", json={"at": 1})
    assert forked.status_code == 201
    assert (forked.json()["title"], len(forked.json()["turns"])) == ("Shapes", 1)
    whole = demo.post(f"/sessions/{session_id}/fork")
    assert len(whole.json()["turns"]) == 2
    beyond = demo.post(f"/sessions/{session_id}/fork", json={"at": 3})
    assert (beyond.status_code, beyond.json()["error"]["param"]) == (422, "at")

    deleted = demo.delete(f"/sessions/{session_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for response in (
        demo.get(f"/sessions/{session_id}"),
        demo.patch(f"/sessions/{session_id}", json={"title": "x"}),
        demo.delete(f"/sessions/{session_id}"),
        demo.post(f"/sessions/{session_id}/fork"),
        demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello"}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "session_not_found")
    assert demo.get(f"/sessions/{forked.json()['id']}").status_code == 200


def test_a_system_prompt_sets_the_language_of_every_turn(demo: httpx2.Client, red_circle: bytes) -> None:
    session_id = create(demo, system="Answer in Chinese.")["id"]
    for files in ({"image": red_circle}, {"image": red_circle}):
        answer = demo.post(f"/sessions/{session_id}/turns", files=files, data={"prompt": "Describe this image."}).json()
        assert "红" in answer["message"]["content"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"title": "x" * 201}, "title"),
        ({"title": 5}, "title"),
        ({"model": 5}, "model"),
        ({"system": "x" * 1_000_001}, "system"),
        ({"name": "x"}, "name"),
        ({"policy": "drop"}, "policy"),
        ({"glossary": ["x" * 301]}, "glossary"),
    ],
)
def test_a_session_of_odd_fields_is_refused(demo: httpx2.Client, body: dict[str, Any], param: str) -> None:
    session_id = create(demo)["id"]
    refused = [demo.post("/sessions", json=body)] + ([demo.patch(f"/sessions/{session_id}", json=body)] if param != "model" else [])
    for response in refused:
        assert (response.status_code, response.json()["error"]["param"]) == (422, param)


def test_a_session_for_a_model_that_is_not_there_is_refused(demo: httpx2.Client) -> None:
    assert demo.post("/sessions", json={"model": "gpt-9"}).json()["error"]["code"] == "model_not_found"
    assert create(demo, model="demo")["model"] == "demo"


def test_the_sessions_of_body_and_address_must_be_one(demo: httpx2.Client) -> None:
    session_id = create(demo)["id"]
    response = demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello", "session_id": "0" * 32})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "session_id")


def test_what_does_not_fit_the_context_leaves_the_session_usable(demo: httpx2.Client) -> None:
    session_id = create(demo)["id"]
    demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello"})
    refused = demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello there. " * 6000})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["values"]["n_ctx"]) == (ContextLengthExceeded.code, 4096)
    assert error["values"]["n_prompt_tokens"] > 4096
    assert demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello"}).status_code == 200
    assert [turn["prompt"] for turn in demo.get(f"/sessions/{session_id}").json()["turns"]] == ["Hello", "Hello"]


async def test_a_search_finds_sessions_and_shows_where(serve: Serve) -> None:
    engine = ScriptedEngine(says("A red circle."))
    served = await serve(engine)
    receipts, shapes = await served.session(title="Receipts"), await served.session(title="图形")
    await served.ask(session_id=shapes, prompt="这是什么？")

    async def found(words: str) -> list[tuple[str, list[dict[str, Any]]]]:
        sessions = (await served.client.get("/sessions", params={"q": words})).json()["sessions"]
        return [(session["id"], session["matches"]) for session in sessions]

    assert await found("RED  circle") == [(shapes, [{"turn": 1, "in": "answer", "before": "A ", "text": "red circle", "after": "."}])]
    assert await found("什么") == [(shapes, [{"turn": 1, "in": "prompt", "before": "这是", "text": "什么", "after": "？"}])]
    assert await found("receipts") == [(receipts, [{"turn": None, "in": "title", "before": "", "text": "Receipts", "after": ""}])]
    assert await found("nothing like it") == []
    everything = (await served.client.get("/sessions", params={"q": " "})).json()["sessions"]
    assert [session["id"] for session in everything] == [shapes, receipts]
    assert "matches" not in everything[0]


@pytest.mark.parametrize("query", ["q=", "q=" + "x" * 201, "query=x"])
async def test_an_odd_search_is_refused(serve: Serve, query: str) -> None:
    served = await serve(ScriptedEngine())
    assert (await served.client.get(f"/sessions?{query}")).status_code == 422


async def test_a_deletion_is_taken_back(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    session_id = await served.session(title="Shapes")
    await served.ask(session_id=session_id)
    before = (await served.client.get(f"/sessions/{session_id}")).json()
    assert (await served.client.delete(f"/sessions/{session_id}")).status_code == 204
    assert (await served.client.get("/sessions")).json() == {"sessions": []}
    assert (await served.client.get("/sessions?q=shapes")).json() == {"sessions": []}
    for query in ("deleted=true", "deleted=true&q=shapes"):
        deleted = (await served.client.get(f"/sessions?{query}")).json()["sessions"]
        assert [row["id"] for row in deleted] == [session_id]
    assert (await served.client.post(f"/sessions/{session_id}/restore")).json() == before
    assert (await served.client.get("/sessions?deleted=true")).json() == {"sessions": []}
    assert (await served.client.get(f"/sessions/{session_id}")).json() == before
    again = await served.client.post(f"/sessions/{session_id}/restore")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "session_not_found")


async def test_a_deleted_session_is_gone_with_its_time_even_if_nobody_asks(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), session_undo=0.01)
    session_id = await served.session()
    await served.client.delete(f"/sessions/{session_id}")
    await until(lambda: served.gateway.images.reserved == 0)
    assert (await served.client.post(f"/sessions/{session_id}/restore")).status_code == 404


async def test_an_answer_that_a_deletion_ended_is_not_begun_again_by_taking_it_back(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine)
    session_id = await served.session()
    async with served.stream(session_id=session_id) as events:
        await anext(events)
        await served.client.delete(f"/sessions/{session_id}")
        assert [name for name, _ in await events.rest()] == ["error"]
    await engine.idle.wait()
    restored = (await served.client.post(f"/sessions/{session_id}/restore")).json()
    assert (restored["turns"], restored["running"]) == ([], False)


async def test_a_second_turn_meanwhile_is_refused_and_the_first_goes_on(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"), slots=2)
    served = await serve(engine)
    session_id = await served.session()
    async with served.stream(session_id=session_id) as events:
        assert await anext(events) == ("delta", {"text": "One"})
        assert (await served.client.get(f"/sessions/{session_id}")).json()["running"] is True
        refused = await served.ask(session_id=session_id)
        assert (refused.status_code, refused.json()["error"]["code"], refused.json()["retryable"]) == (409, "session_busy", True)
    await until(lambda: not served.gateway.sessions.is_running(session_id))
    engine.script = says("Two")
    assert (await served.ask(session_id=session_id)).status_code == 200
    assert [turn["status"] for turn in await served.turns(session_id)] == ["cancelled", "complete"]


async def test_deleting_a_session_ends_its_stream_with_session_deleted(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine)
    session_id = await served.session()
    async with served.stream(session_id=session_id) as events:
        await anext(events)
        assert (await served.client.delete(f"/sessions/{session_id}")).status_code == 204
        ((name, body),) = await events.rest()
    assert (name, body["error"]["code"]) == ("error", "session_deleted")
    assert engine.running == 0


async def test_a_session_that_is_full_says_what_to_do(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), session_max_turns=1)
    session_id = await served.session()
    await served.ask(session_id=session_id)
    full = await served.ask(session_id=session_id)
    assert (full.status_code, full.json()["error"]["code"]) == (413, "session_full")
    assert full.json()["error"]["values"] == {"count": 1, "most": 1}


async def test_a_session_ends_after_its_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(ScriptedEngine(), session_ttl=60)
    session_id = await served.session()
    monkeypatch.setattr(served.gateway.sessions, "_clock", lambda: 1e12)
    assert (await served.client.get(f"/sessions/{session_id}")).status_code == 404
    assert (await served.client.get("/sessions")).json() == {"sessions": []}


async def test_a_model_that_is_gone_is_named_to_its_session(serve: Serve) -> None:
    engine = ScriptedEngine(model_names=("one", "two"))
    served = await serve(engine)
    session_id = await served.session(model="two")
    engine.installed = engine.installed[:1]
    await served.gateway.pool.refresh()
    gone = await served.ask(session_id=session_id)
    assert (gone.status_code, gone.json()["error"]["code"], gone.json()["error"]["param"]) == (404, "model_not_found", "model")
    assert (gone.json()["error"]["reason"], gone.json()["error"]["values"]["model"]) == ("session_model_gone", "two")
    assert (await served.ask(session_id=session_id, model="one")).status_code == 200


async def test_policy_and_glossary_stay_until_others_are_given(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine, presets={"receipts": {"glossary": ["SKU: stock number"]}})
    client = served.client
    session_id = await served.session(system="Be brief.", policy="sliding", glossary=["VAT: tax"])
    path = f"/sessions/{session_id}"

    async def kept() -> tuple[str | None, list[str]]:
        session = (await client.get(path)).json()
        return session["policy"], session["glossary"]

    async def first_message(**body: Any) -> str:
        assert (await client.post(f"{path}/turns", json={"prompt": "Hi", **body})).status_code == 200
        return engine.requests[-1].messages[0].text

    assert await kept() == ("sliding", ["VAT: tax"])
    assert await first_message() == "Be brief.\n\nNames and terms that may occur:\n- VAT: tax"
    assert "SKU: stock number" in await first_message(preset="receipts", policy="strict")
    assert await kept() == ("strict", ["SKU: stock number"])
    patched = await client.patch(path, json={"glossary": [], "policy": "pin_images"})
    assert (patched.json()["policy"], patched.json()["glossary"]) == ("pin_images", [])
    assert await first_message() == "Be brief."


async def test_a_session_begins_with_the_glossary_of_the_preset_of_the_settings(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), preset="receipts", presets={"receipts": {"glossary": ["SKU: stock number"]}})
    assert (await served.client.post("/sessions", json={})).json()["glossary"] == ["SKU: stock number"]
    assert (await served.client.post("/sessions", json={"glossary": []})).json()["glossary"] == []
