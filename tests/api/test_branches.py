"""Branches over HTTP: replacing a turn, switching between branches, and the messages to the model on each."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from llava_gateway.errors import UpstreamUnavailable
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, says, says_then_waits
from tests.serving import Served


async def prompts(served: Served, session_id: str) -> list[str]:
    return [turn["prompt"] for turn in await served.turns(session_id)]


async def branched(served: Served) -> str:
    """Create a session with turns 1 and 2, and with 3 in place of 2."""
    session_id = await served.session()
    for body in ({"prompt": "one"}, {"prompt": "two"}, {"prompt": "three", "after": 1}):
        assert (await served.ask(session_id=session_id, **body)).json()["turn_id"]
    return session_id


async def test_a_turn_in_the_place_of_another_is_a_branch_and_the_current_one(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await branched(served)
    turns = await served.turns(session_id)
    assert [(turn["index"], turn["id"], turn["after"], turn["siblings"]) for turn in turns] == [(0, 1, None, [1]), (1, 3, 1, [2, 3])]
    assert [message.text for message in engine.requests[-1].messages] == ["one", "Hello there.", "three"]


async def test_going_to_a_branch_tells_the_model_that_one(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await branched(served)
    shown = await served.client.patch(f"/sessions/{session_id}", json={"branch": 2})
    assert [turn["prompt"] for turn in shown.json()["turns"]] == ["one", "two"]
    await served.ask(session_id=session_id, prompt="four")
    assert [message.text for message in engine.requests[-1].messages][::2] == ["one", "two", "four"]
    assert await prompts(served, session_id) == ["one", "two", "four"]


async def test_the_first_question_can_be_asked_anew(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await branched(served)
    await served.ask(session_id=session_id, prompt="other", after=0)
    assert [message.text for message in engine.requests[-1].messages] == ["other"]
    (turn,) = await served.turns(session_id)
    assert (turn["after"], turn["siblings"]) == (None, [1, 4])


@pytest.mark.parametrize("after", [9, 2**40])
async def test_a_turn_that_is_not_there_can_not_be_followed(serve: Serve, after: int) -> None:
    served = await serve(ScriptedEngine())
    session_id = await branched(served)
    for path in ("/ask", "/count_tokens", "/read_ahead"):
        refused = await served.client.post(path, json={"prompt": "x", "session_id": session_id, "after": after})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "turn_not_found")
    refused = await served.client.patch(f"/sessions/{session_id}", json={"branch": after, "title": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "turn_not_found")
    assert (await served.client.get(f"/sessions/{session_id}")).json()["title"] == "one"


@pytest.mark.parametrize("body", [{"after": -1}, {"after": "1"}, {"after": 1.5}])
async def test_an_odd_after_is_refused(serve: Serve, body: dict[str, Any]) -> None:
    served = await serve(ScriptedEngine())
    refused = await served.ask(session_id=await served.session(), **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "after")


async def test_after_without_a_session_is_refused(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    refused = await served.ask(after=0)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "after")
    assert (await served.ask()).json()["turn_id"] is None


async def test_a_form_can_name_the_turn_it_follows(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    session_id = await branched(served)
    await served.client.post(f"/sessions/{session_id}/turns", files={"prompt": (None, "four"), "after": (None, "2")})
    assert await prompts(served, session_id) == ["one", "two", "four"]


async def test_an_attempt_that_the_engine_refuses_leaves_the_branch_as_it_was(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await branched(served)
    before = await served.turns(session_id)
    engine.refusal = UpstreamUnavailable()
    assert (await served.ask(session_id=session_id, prompt="four", after=1)).status_code == 503
    assert await served.turns(session_id) == before


async def test_an_attempt_that_is_stopped_is_a_branch_beside_the_old_one(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await branched(served)
    engine.script = says_then_waits("Half")
    async with served.stream(session_id=session_id, prompt="four", after=1) as events:
        await anext(events)
        busy = await served.client.patch(f"/sessions/{session_id}", json={"branch": 2})
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "session_busy")
    await engine.idle.wait()
    stopped = (await served.turns(session_id))[-1]
    assert (stopped["status"], stopped["message"]["content"], stopped["siblings"]) == ("cancelled", "Half", [2, 3, 4])
    engine.script = says("Whole")
    await served.client.patch(f"/sessions/{session_id}", json={"branch": 3})
    assert await prompts(served, session_id) == ["one", "three"]


async def test_the_demo_model_is_asked_again_about_another_image(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> None:
    path = f"/sessions/{demo.post('/sessions', json={}).json()['id']}"
    first = demo.post(f"{path}/turns", files={"image": red_circle}).json()
    second = demo.post(f"{path}/turns", files={"image": blue_square}, data={"after": "0"}).json()
    assert [one["message"]["content"] for one in (first, second)] == [
        "A red circle on a white background.",
        "A blue square on a white background.",
    ]
    again = demo.post(f"{path}/turns", json={"prompt": "Describe this image."}).json()
    assert "blue square" in again["message"]["content"]
    demo.patch(path, json={"branch": first["turn_id"]})
    assert "red circle" in demo.post(f"{path}/turns", json={"prompt": "Describe this image."}).json()["message"]["content"]
    session = demo.get(path).json()
    assert len(session["images"]) == 2
    counted = demo.post("/count_tokens", json={"prompt": "Hi", "session_id": session["id"], "after": 0}).json()
    assert counted["parts"]["images"] == []


async def test_news_of_the_list_cost_nothing_while_there_are_none(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), session_undo=60)
    seen: set[str] = set()

    async def is_news() -> bool:
        response = await served.client.get("/sessions")
        tag = response.headers["etag"]
        same = await served.client.get("/sessions", headers={"If-None-Match": tag})
        assert (same.status_code, same.content) == (304, b"")
        is_new = tag not in seen
        seen.add(tag)
        return is_new

    assert await is_news()
    session_id = await served.session()
    assert await is_news()
    await served.client.patch(f"/sessions/{session_id}", json={"title": "Shapes"})
    assert await is_news()
    await served.ask(session_id=session_id)
    assert await is_news()
    assert not await is_news()
    await served.client.delete(f"/sessions/{session_id}")
    assert await is_news()
    await served.client.post(f"/sessions/{session_id}/restore")
    assert await is_news()


async def test_news_of_a_session_cost_nothing_while_there_are_none(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await branched(served)
    path = f"/sessions/{session_id}"
    known = (await served.client.get(path)).headers["etag"]
    same = await served.client.get(path, headers={"If-None-Match": known})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", known)
    engine.script = says_then_waits("Half")
    async with served.stream(session_id=session_id) as events:
        await anext(events)
        running = await served.client.get(path, headers={"If-None-Match": known})
        assert (running.status_code, running.json()["running"]) == (200, True)
    await engine.idle.wait()
    ended = await served.client.get(path, headers={"If-None-Match": running.headers["etag"]})
    assert (ended.status_code, ended.json()["running"]) == (200, False)
