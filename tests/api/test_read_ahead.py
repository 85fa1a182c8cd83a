"""The read-ahead routes: the bodies of /ask, or none, and a response that a page and a script can use."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from llava_gateway.notes import note
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, says, says_then_waits
from tests.serving import until

MEMBERS = ["status", "reason", "message", "model", "engine", "prompt_tokens", "cached_tokens", "ms"]


def stored(demo: httpx2.Client, image: bytes) -> str:
    return str(demo.post("/images", files={"image": image}).json()["id"])


def cached(answer: httpx2.Response) -> int:
    return int(answer.json()["usage"]["cached_tokens"])


def test_an_image_is_read_ahead_of_a_question_without_a_session(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> None:
    image_id = stored(demo, blue_square)
    result = demo.post(f"/images/{image_id}/read_ahead", params={"model": "demo"})
    assert result.status_code == 200
    assert list(result.json()) == MEMBERS
    assert (result.json()["status"], result.json()["model"], result.json()["engine"]) == ("read", "demo", "embedded")
    assert cached(demo.post("/ask", json={"prompt": "What is it?", "images": [{"image_id": image_id}]})) >= 64
    # The same image after other words is another prompt.
    body = {"images": [{"image_id": image_id}], "system": "Answer in Chinese."}
    assert demo.post("/read_ahead", json=body).json()["cached_tokens"] < 64
    assert cached(demo.post("/ask", json={"prompt": "What is it?", **body})) > 64


async def test_a_stored_image_is_read_as_the_question_will_show_it(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    image_id = (await served.client.post("/images", files={"image": red_circle})).json()["id"]
    body = {"region": [0, 0, 0.5, 0.5], "options": {"num_ctx": 2048}, "system": "Answer in Chinese."}
    assert (await served.client.post(f"/images/{image_id}/read_ahead", json=body)).json()["status"] == "read"
    (part,) = engine.requests[-1].renditions
    assert (part.sight.region, engine.requests[-1].options.num_ctx) == ((0, 0, 0.5, 0.5), 2048)
    form = {"region": (None, "0,0,1,0.5"), "system": (None, "")}
    assert (await served.client.post(f"/images/{image_id}/read_ahead", files=form)).json()["status"] == "read"
    (part,) = engine.requests[-1].renditions
    assert part.sight.region == (0, 0, 1, 0.5)


@pytest.mark.parametrize("query", ["detail=high", "region=0,0,2,2", "foo=1"])
async def test_what_would_have_no_effect_where_it_stands_is_refused(serve: Serve, query: str) -> None:
    served = await serve(ScriptedEngine())
    session_id = await served.session()
    paths = (
        "/ask",
        "/count_tokens",
        "/read_ahead",
        f"/sessions/{session_id}/turns",
        f"/sessions/{session_id}/read_ahead",
        f"/images/{'0' * 64}/read_ahead",
    )
    for path in paths:
        response = await served.client.post(f"{path}?{query}", json={"prompt": "Hi"})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (422, "unknown_field", query.partition("=")[0]), path


@pytest.mark.parametrize("form", [True, False])
def test_a_session_is_read_ahead_with_a_body_like_that_of_a_turn(demo: httpx2.Client, red_circle: bytes, form: bool) -> None:
    session = f"/sessions/{demo.post('/sessions', json={}).json()['id']}"
    body: dict[str, Any] = {"files": {"image": red_circle}} if form else {"json": {"images": [{"image_id": stored(demo, red_circle)}]}}
    assert demo.post(f"{session}/read_ahead", **body).json()["status"] == "read"
    assert demo.get(session).json()["turns"] == []
    turn = demo.post(f"{session}/turns", files={"image": red_circle}, data={"prompt": "Describe this image."})
    assert turn.json()["message"]["content"] == "A red circle on a white background."
    assert cached(turn) >= 64
    # Without a body: the conversation so far.
    demo.post("/ask", json={"prompt": "Hello"})
    assert demo.post(f"{session}/read_ahead").json()["status"] == "read"
    again = demo.post(f"{session}/turns", json={"prompt": "What color is the circle?"})
    assert cached(again) >= turn.json()["usage"]["prompt_tokens"]


def test_what_is_wrong_is_refused_as_in_a_question(demo: httpx2.Client) -> None:
    assert demo.post(f"/images/{'0' * 64}/read_ahead").json()["error"]["code"] == "image_file_not_found"
    assert demo.post("/sessions/none/read_ahead").json()["error"]["code"] == "session_not_found"
    assert demo.post("/read_ahead", json={"images": ["no picture"]}).json()["error"]["code"] == "invalid_base64_image"
    assert demo.post("/read_ahead", json={"unknown": 1}).json()["error"]["code"] == "unknown_field"
    assert demo.post("/read_ahead", json={"model": "none"}).json()["error"]["code"] == "model_not_found"
    assert demo.post("/read_ahead?wait=perhaps").status_code == 422


def test_without_anything_to_read_it_says_so(demo: httpx2.Client) -> None:
    for headers in ({}, {"Content-Type": "application/octet-stream"}):  # some clients send a Content-Type without a body
        answer = demo.post("/read_ahead", headers=headers).json()
        assert (answer["status"], answer["reason"]) == ("skipped", "nothing_to_read")
    assert answer["message"] == note("read_ahead_nothing_to_read").text


async def test_who_need_not_know_is_not_kept_waiting(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine(says_then_waits())
    served = await serve(engine)
    began = await served.client.post("/read_ahead?wait=false", files={"image": red_circle})
    assert (began.status_code, began.json()["status"], began.json()["ms"]) == (202, "reading", None)
    await until(lambda: engine.running == 1)
    engine.script = says("A circle.")
    assert (await served.ask()).json()["message"]["content"] == "A circle."
    metrics = (await served.client.get("/metrics")).text
    assert 'llava_gateway_read_ahead_total{engine="ollama",outcome="question"} 1.0' in metrics


async def test_switched_off_it_says_so(serve: Serve, red_circle: bytes) -> None:
    served = await serve(ScriptedEngine(), read_ahead=False)
    answer = (await served.client.post("/read_ahead", files={"image": red_circle})).json()
    assert (answer["status"], answer["reason"], answer["model"]) == ("skipped", "off", None)


async def test_images_are_numbered_in_the_language_of_who_asks(serve: Serve, red_circle: bytes, blue_square: bytes) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    files = [("image", ("1.png", red_circle)), ("image", ("2.png", blue_square))]
    for language in ("zh-CN,zh;q=0.9", "en"):
        await served.client.post("/read_ahead", files=files, headers={"Accept-Language": language})
    assert ["图片1：" in request.messages[-1].text for request in engine.requests] == [True, False]
