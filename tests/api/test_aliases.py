"""Field names of other APIs in questions: accepted if their meaning is clear, else answered with the right name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.api.aliases import FIELDS, IMAGES, MEANINGS, OPTION_NAMES, OPTIONS
from llava_gateway.api.bodies import AskBody
from llava_gateway.api.native_frames import wanted_output_format
from llava_gateway.options import Options
from tests.api.conftest import Serve
from tests.api.test_ask import RED, b64, events
from tests.scripted_engine import ScriptedEngine

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
VALUES: dict[str, Any] = {
    "num_predict": 5,
    "num_ctx": 4096,
    "num_gpu": 3,
    "repeat_penalty": 1.25,
    "stop": ["END"],
}


async def ask_with(serve: Serve, body: dict[str, Any], *, form: bool) -> tuple[httpx2.Response, ScriptedEngine]:
    engine = ScriptedEngine()
    served = await serve(engine)
    if not form:
        return await served.client.post("/ask", json=body), engine
    parts = [(name, (None, one if isinstance(one, str) else json.dumps(one))) for name, value in body.items() for one in as_list(value)]
    return await served.client.post("/ask", files=parts), engine


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
@pytest.mark.parametrize("name", [*OPTIONS, "temperature", "top_k", "top_p", "min_p", "seed", "repeat_last_n"])
async def test_an_option_may_stand_beside_options_and_have_another_name(serve: Serve, name: str, *, form: bool) -> None:
    ours = OPTIONS.get(name, name)
    value = VALUES.get(ours, 1)
    for body in ({name: value}, {"options": {name: value}}, {name: value, "options": {ours: value}}):
        response, engine = await ask_with(serve, {"prompt": "Hi", **body}, form=form)
        assert response.status_code == 200, response.text
        told: Any = tuple(value) if isinstance(value, list) else value
        assert engine.requests[-1].options == Options(**{ours: told})


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_may_have_another_name(serve: Serve, name: str, *, form: bool) -> None:
    response, engine = await ask_with(serve, {"prompt": "Hi", name: "Hi"}, form=form)
    assert response.status_code == 200, response.text
    texts = [message.text for message in engine.requests[-1].messages]
    assert texts == (["Hi"] if FIELDS[name] == "prompt" else ["Hi", "Hi"])


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"max_tokens": 5, "options": {"num_predict": 6}}, ("max_tokens", "options.num_predict")),
        ({"max_tokens": 5, "max_new_tokens": 6}, ("max_tokens", "max_new_tokens")),
        ({"temperature": 0, "options": {"temperature": 1}}, ("temperature", "options.temperature")),
        ({"options": {"n_ctx": 512, "num_ctx": 1024}}, ("options.n_ctx", "options.num_ctx")),
        ({"question": "Who?", "prompt": "What?"}, ("question", "prompt")),
        ({"query": "Who?", "question": "What?"}, ("query", "question")),
    ],
)
async def test_one_thing_said_twice_and_differently_is_refused(serve: Serve, body: dict[str, Any], names: tuple[str, str]) -> None:
    for form in (False, True):
        response, _ = await ask_with(serve, body, form=form)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "conflicting_fields")
        assert (error["values"]["one"], error["values"]["other"]) == names


async def test_null_says_nothing_beside_a_value(serve: Serve) -> None:
    body = {"prompt": "Hi", "question": None, "max_tokens": None, "stream": None, "options": {"num_predict": 7}, "seed": 1}
    response, engine = await ask_with(serve, body, form=False)
    assert response.status_code == 200, response.text
    assert engine.requests[-1].options == Options(num_predict=7, seed=1)


@pytest.mark.parametrize(
    ("body", "param", "reason"),
    [
        ({"max_tokens": "many"}, "max_tokens", "option_out_of_range"),
        ({"max_tokens": 0}, "max_tokens", "num_predict_zero"),
        ({"options": {"repetition_penalty": 9}}, "options.repetition_penalty", "option_out_of_range"),
        ({"temperature": 9}, "options.temperature", "option_out_of_range"),
        ({"question": 5}, "question", "field_wrong"),
        ({"image": "https://example.com/a.png"}, "image", "image_is_link"),
        ({"image_id": "../x"}, "image_id", "image_id_wrong"),
        ({"stream": "yes"}, "stream", "field_not_boolean"),
    ],
)
async def test_errors_use_the_names_of_who_asked(serve: Serve, body: dict[str, Any], param: str, reason: str) -> None:
    response, _ = await ask_with(serve, {**body} if "question" in body else {"prompt": "Hi", **body}, form=False)
    error = response.json()["error"]
    assert (error["param"], error["reason"]) == (param, reason)


@pytest.mark.parametrize(
    "wrap", [lambda x: {"image": x}, lambda x: {"image": [x]}, lambda x: {"image": {"data": x}}, lambda x: {"images": [x]}]
)
def test_one_image_needs_no_list(demo: httpx2.Client, red_circle: bytes, wrap: Any) -> None:
    answer = demo.post("/ask", json={"prompt": "Describe this image.", **wrap(b64(red_circle))}).json()
    assert answer["message"]["content"] == RED


def test_a_stored_image_may_be_named_beside_images(demo: httpx2.Client, red_circle: bytes) -> None:
    stored = demo.post("/images", files={"image": red_circle}).json()["id"]
    for body in ({"image_id": stored}, {"image_id": [stored, stored], "images": []}, {"image_id": stored, "image": None}):
        answer = demo.post("/ask", json={"prompt": "Describe this image.", **body}).json()
        assert [image["id"] for image in answer["images"]] == [stored] * len(as_list(body["image_id"]))
    error = demo.post("/ask", json={"image_id": stored, "images": [b64(red_circle)]}).json()["error"]
    assert (error["code"], error["reason"]) == ("conflicting_fields", "images_twice")
    assert error["values"] == {"one": "images", "other": "image_id"}


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_name_that_may_mean_something_else_is_told_the_right_one(demo: httpx2.Client, name: str) -> None:
    error = demo.post("/ask", json={"prompt": "Hi", name: "x"}).json()["error"]
    assert (error["code"], error["param"], error["reason"]) == ("unknown_field", name, f"unknown_field_{MEANINGS[name]}")
    if name not in ("file", "files", "image", "images", "photo", "photos"):  # which may be images in a form
        in_form = demo.post("/ask", files={"prompt": (None, "Hi"), name: (None, "x")}).json()["error"]
        assert (in_form["param"], in_form["reason"]) == (name, f"unknown_field_{MEANINGS[name]}")


@pytest.mark.parametrize(
    ("name", "ours"),
    [("maxTokens", "max_tokens"), ("Prompt", "prompt"), ("sessionId", "session_id"), ("top-p", "top_p"), ("keepAlive", "keep_alive")],
)
def test_a_name_that_is_written_otherwise_is_told_how(demo: httpx2.Client, name: str, ours: str) -> None:
    for response in (demo.post("/ask", json={name: "x"}), demo.post("/ask", files={name: (None, "x")})):
        error = response.json()["error"]
        assert (error["reason"], error["values"]) == ("unknown_field_spelling", {"known": ours})


def test_options_of_a_session_are_told_the_right_name(demo: httpx2.Client) -> None:
    for name, ours in OPTIONS.items():
        error = demo.post("/sessions", json={"options": {name: 1}}).json()["error"]
        assert (error["code"], error["reason"], error["values"]) == ("invalid_option", "unknown_option_name", {"known": ours})


def test_in_a_query_they_are_told_to_stand_in_the_body(demo: httpx2.Client) -> None:
    error = demo.post("/ask?max_tokens=5", json={"prompt": "Hi"}).json()["error"]
    assert error["reason"] == "unknown_query_field_of_body"


def test_an_option_beside_options_wins_over_its_sessions(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={"options": {"num_predict": 64, "seed": 1}}).json()["id"]
    turn = demo.post(f"/sessions/{session}/turns", json={"prompt": "Describe a circle.", "max_tokens": 1}).json()
    assert (turn["usage"]["completion_tokens"], turn["finish_reason"]) == (1, "length")


@pytest.mark.parametrize(
    ("accept", "stream", "form"),
    [
        ("", False, "json"),
        ("", True, "sse"),
        ("*/*", True, "sse"),
        ("text/html, */*;q=0.8", True, "sse"),
        ("image/png", True, "sse"),
        ("application/json", True, "json"),
        ("application/json, */*;q=0.1", True, "json"),
        ("text/plain", True, "text"),
        ("text/event-stream", False, "sse"),
        ("text/event-stream;q=0.5, */*", False, "json"),
    ],
)
def test_stream_decides_where_the_accept_header_does_not(accept: str, form: str, *, stream: bool) -> None:
    assert wanted_output_format(accept, stream=stream) == form


@pytest.mark.parametrize("said", [{"stream": True}, {"stream": "true"}, {"stream": "1"}])
def test_a_question_may_ask_for_a_stream(demo: httpx2.Client, said: dict[str, Any]) -> None:
    session = demo.post("/sessions", json={}).json()["id"]
    body: dict[str, Any] = {"json": {"prompt": "Hello", **said}}
    if said["stream"] is not True:
        body = {"files": {"prompt": (None, "Hello"), "stream": (None, said["stream"])}}
    for path in ("/ask", f"/sessions/{session}/turns"):
        response = demo.post(path, **body)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert events(response.text)[-1][0] == "done"
        assert demo.post(path, **body, headers={"Accept": "application/json"}).json()["finish_reason"]


def test_the_first_request_of_ollamas_tutorials_is_answered(demo: httpx2.Client, red_circle: bytes) -> None:
    asked = {"model": "demo", "prompt": "Describe this image.", "stream": False, "images": [b64(red_circle)]}
    answer = demo.post("/ask", json=asked).json()
    assert answer["message"]["content"] == RED
    for path in ("/count_tokens", "/read_ahead"):
        assert demo.post(path, json=asked).status_code == 200


def test_all_names_that_are_taken_are_in_the_documentation(demo: httpx2.Client) -> None:
    text = DOCS.read_text("utf-8")
    description = demo.get("/openapi.json").json()
    schemas = description["components"]["schemas"]
    content = description["paths"]["/ask"]["post"]["requestBody"]["content"]
    described = {kind: set(schemas[body["schema"]["$ref"].rpartition("/")[2]]["properties"]) for kind, body in content.items()}
    for name in (*FIELDS, *OPTIONS):
        assert f"`{name}`" in text, name
        assert all(name in fields for fields in described.values()), name
    assert described["application/json"] == {*AskBody.model_fields, *FIELDS, *OPTIONS, *OPTION_NAMES, *IMAGES}
    assert not {*FIELDS, *OPTIONS, *MEANINGS} & {*AskBody.model_fields, *OPTION_NAMES}
