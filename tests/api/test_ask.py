"""POST /ask and /analyze_image with the demo model: every kind of request, every output format."""

from __future__ import annotations

import base64
import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.api.native_json import note_json
from llava_gateway.notes import note
from tests import sample_images

GREEN = "A green circle on a white background."
RED = "A red circle on a white background."
BLUE = "A blue square on a white background."
DESCRIBE = {"prompt": "Describe this image."}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def events(text: str) -> list[tuple[str, Any]]:
    """Parse the frames of an event stream, without comments and ids."""
    found = []
    for frame in text.split("\n\n"):
        lines = [line for line in frame.split("\n") if line and not line.startswith((":", "id: "))]
        if lines:
            name, data = lines
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_json_answer_has_exactly_these_members(demo: httpx2.Client, red_circle: bytes) -> None:
    response = demo.post("/ask", json={**DESCRIBE, "images": [b64(red_circle)]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == [
        "id", "model", "engine", "session_id", "turn_id", "message", "finish_reason", "images", "usage", "timings", "context", "warnings",
    ]  # fmt: skip
    assert (answer["model"], answer["engine"], answer["session_id"]) == ("demo", "embedded", None)
    assert answer["message"] == {"role": "assistant", "content": RED}
    assert (answer["finish_reason"], answer["warnings"]) == ("stop", [])
    (image,) = answer["images"]
    assert image == {
        "id": image["id"],
        "width": 112,
        "height": 112,
        "sent": {"width": 112, "height": 112, "format": "PNG", "tokens": 64, "label": "exact", "detail": "low", "pieces": 1},
        "changes": [],
    }
    assert len(bytes.fromhex(image["id"])) == 32
    assert list(answer["usage"]) == ["prompt_tokens", "completion_tokens", "cached_tokens"]
    assert answer["usage"]["prompt_tokens"] > 64
    assert answer["usage"]["completion_tokens"] > 5
    assert {"queue_ms", "first_token_ms", "total_ms"} <= set(answer["timings"])
    used = answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert answer["context"] == {"used": used, "limit": 4096, "images": 64, "dropped": [], "warnings": []}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/*", "text/html,*/*;q=0.8", "image/png"])
def test_json_is_what_comes_unless_something_else_is_asked_for(demo: httpx2.Client, accept: str | None) -> None:
    with httpx2.Client(base_url=demo.base_url, trust_env=False) as bare:
        del bare.headers["accept"]
        response = bare.post("/ask", json={"prompt": "Hello"}, headers={"Accept": accept} if accept else {})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["text/event-stream", "TEXT/EVENT-STREAM", "application/json;q=0.5, text/event-stream"])
def test_an_event_stream_has_deltas_and_exactly_one_done(demo: httpx2.Client, red_circle: bytes, accept: str) -> None:
    response = demo.post("/ask", json={**DESCRIBE, "images": [b64(red_circle)]}, headers={"Accept": accept})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    frames = events(response.text)
    names = [name for name, _ in frames]
    assert names.count("done") == 1
    assert names[-1] == "done"
    assert set(names) <= {"queued", "loading", "progress", "delta", "done"}
    assert names.count("delta") > 3
    assert all(list(data) == ["text"] for name, data in frames if name == "delta")
    words = "".join(data["text"] for name, data in frames if name == "delta")
    assert words == frames[-1][1]["message"]["content"] == RED
    assert [list(data) for name, data in frames if name == "progress"][:1] in ([], [["processed", "total", "cached"]])


@pytest.mark.parametrize("accept", ["text/plain", "text/*", "text/plain;q=0.9, application/json;q=0.1"])
def test_plain_text_is_just_the_words(demo: httpx2.Client, red_circle: bytes, accept: str) -> None:
    response = demo.post("/ask", json={**DESCRIBE, "images": [b64(red_circle)]}, headers={"Accept": accept})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == RED + "\n"


def test_multipart_takes_files_prompt_and_options_as_fields(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> None:
    answer = demo.post(
        "/ask",
        files=[("image", ("a.bin", red_circle)), ("image", ("b", blue_square))],
        data={"prompt": "Describe the second picture.", "temperature": "0", "seed": "7", "num_predict": "64", "stop": ["?"]},
    ).json()
    assert answer["message"]["content"] == BLUE
    assert len(answer["images"]) == 2


def test_the_curl_line_of_the_readme_prints_an_answer(demo_url: str, tmp_path: Path, red_circle: bytes) -> None:
    photo = tmp_path / "a photo.heic"
    photo.write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    done = subprocess.run(
        ["curl", "-sS", "-F", f"image=@{photo}", "-F", "prompt=Describe this image.", f"{demo_url}/ask"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["message"]["content"] == RED


def test_curl_prints_the_words_as_they_come(demo_url: str, tmp_path: Path, red_circle: bytes) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(red_circle)
    done = subprocess.run(
        ["curl", "-sSN", "-H", "Accept: text/plain", "-F", f"image=@{photo}", "-F", "prompt=Describe this image.", f"{demo_url}/ask"],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == RED + "\n"


def wrapped(data: bytes) -> str:
    return "\r\n".join(textwrap.wrap(b64(data), 76)) + "\n"


@pytest.mark.parametrize(
    "encode",
    [
        b64,
        lambda data: f"data:image/png;base64,{b64(data)}",
        lambda data: f"DATA:image/jpeg;base64,{b64(data)}",  # the content decides
        lambda data: f"data:;base64,{b64(data)}",
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: b64(data).rstrip("="),
        wrapped,
        lambda data: f"  data:image/png;base64,\n{wrapped(data)}",
    ],
    ids=["plain", "data", "wrong type", "no type", "url-safe", "unpadded", "wrapped", "data and wrapped"],
)
def test_base64_comes_in_every_spelling(demo: httpx2.Client, blue_square: bytes, encode: Any) -> None:
    # A byte more or less changes the padding; the image stays the same.
    for more in (b"", b"\0", b"\0\0"):
        answer = demo.post("/ask", json={**DESCRIBE, "images": [encode(blue_square + more)]}).json()
        assert answer["message"]["content"] == BLUE


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("", 422, "empty_image_file"),
        ("   ", 422, "empty_image_file"),
        ("data:image/png;base64,", 422, "empty_image_file"),
        ("ab*d", 400, "invalid_base64_image"),
        ("é" * 8, 400, "invalid_base64_image"),
        ("data:image/png,abc", 400, "invalid_base64_image"),
        ("abcde", 400, "invalid_base64_image"),
        (b64(b"hello world, this is no image"), 415, "unsupported_image_media_type"),
        (b64(b"qoif" + bytes(60)), 415, "unsupported_image_media_type"),
        (b64(b"\x89PNG\r\n\x1a\nbut not more"), 422, "image_parse_error"),
        ("http://169.254.169.254/latest", 400, "invalid_base64_image"),
        ("/etc/passwd", 400, "invalid_base64_image"),
    ],
)
def test_what_is_no_image_is_named_by_its_place(demo: httpx2.Client, red_circle: bytes, image: str, status: int, code: str) -> None:
    response = demo.post("/ask", json={**DESCRIBE, "images": [b64(red_circle), image]})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, "images[1]")
    assert error["hint"]


def test_a_stored_image_stands_for_itself(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> None:
    stored = demo.post("/images", files={"image": red_circle}).json()
    answer = demo.post("/ask", json={**DESCRIBE, "images": [{"image_id": stored["id"]}]}).json()
    assert answer["message"]["content"] == RED
    assert answer["images"][0]["id"] == stored["id"]
    form = demo.post("/ask", files={"image": blue_square}, data={**DESCRIBE, "image_id": stored["id"]}).json()
    assert stored["id"] in [image["id"] for image in form["images"]]
    missing = demo.post("/ask", json={**DESCRIBE, "images": [{"image_id": "0" * 64}]})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "image_file_not_found")


def test_an_image_without_a_question_is_described(demo: httpx2.Client, red_circle: bytes) -> None:
    assert demo.post("/ask", files={"image": red_circle}).json()["message"]["content"] == RED


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": "  \n"}])
def test_neither_prompt_nor_image_is_refused(demo: httpx2.Client, body: dict[str, str]) -> None:
    response = demo.post("/ask", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (422, "prompt")


def test_without_a_session_nothing_is_kept(demo: httpx2.Client) -> None:
    before = demo.get("/sessions").json()
    assert demo.post("/ask", json={"prompt": "Hello"}).json()["session_id"] is None
    assert demo.get("/sessions").json() == before


@pytest.mark.parametrize("session_id", ["0" * 32, "nonsense", "../../etc/passwd"])
def test_an_unknown_session_is_not_found(demo: httpx2.Client, session_id: str) -> None:
    for response in (
        demo.post("/ask", json={"prompt": "Hello", "session_id": session_id}),
        demo.post("/ask", data={"prompt": "Hello", "session_id": session_id}, files={"image": b"no image"}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "session_not_found")


def test_an_unknown_model_is_not_found_and_named(demo: httpx2.Client) -> None:
    response = demo.post("/ask", json={"prompt": "Hello", "model": "gpt-9"})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert (error["reason"], error["values"]) == ("model_not_found_named", {"model": "gpt-9", "installed": ["demo"]})


OPTIONS: dict[str, list[Any]] = {
    "temperature": [-0.1, 2.1, "warm", True, None],
    "top_k": [-1, 1001, 1.5, "x"],
    "top_p": [-0.1, 1.1],
    "min_p": [-0.1, 1.1],
    "repeat_penalty": [0.4, 2.1],
    "repeat_last_n": [-2, 32769],
    "num_ctx": [255, 1048577, "4096"],
    "num_gpu": [-2, 1000],
    "num_predict": [-2, 131073],
    "seed": [-2, 2**32, 10**30],
    "stop": [["a"] * 17, "", ["x" * 257], 5, [5], {}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OPTIONS.items() for value in values if value is not None])
def test_an_option_out_of_range_is_refused_with_its_range(demo: httpx2.Client, name: str, value: Any) -> None:
    response = demo.post("/ask", json={"prompt": "Hello", "options": {name: value}})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (422, "invalid_option", f"options.{name}")
    assert error["reason"] in ("option_out_of_range", "stop_wrong")


@pytest.mark.parametrize("value", [True, [], "5 minutes", "1e9", "9" * 31, "1" * 100_000, 10**12, 1.5, ""])
def test_a_keep_alive_that_is_no_duration_is_refused(demo: httpx2.Client, value: Any) -> None:
    response = demo.post("/ask", json={"prompt": "Hello", "keep_alive": value})
    assert (response.status_code, response.json()["error"]["param"].partition(".")[0]) == (422, "keep_alive")


@pytest.mark.parametrize("value", [300, 0, -1, "5m", "1h30m", "-1", "300", "1.5h", "100ms"])
def test_durations_are_taken(demo: httpx2.Client, value: Any) -> None:
    assert demo.post("/ask", json={"prompt": "Hello", "keep_alive": value}).status_code == 200
    assert demo.post("/ask", json={"prompt": "Hello", "options": {"keep_alive": value}}).status_code == 200


def test_unknown_options_and_presets_are_refused_with_what_there_is(demo: httpx2.Client) -> None:
    unknown = demo.post("/ask", json={"prompt": "Hello", "options": {"num_batch": 4}}).json()["error"]
    assert (unknown["param"], "temperature" in unknown["values"]["known"]) == ("options.num_batch", True)
    preset = demo.post("/ask", json={"prompt": "Hello", "preset": "wild"}).json()["error"]
    assert preset["param"] == "preset"
    assert preset["values"] == {"preset": "wild", "known": ["balanced", "creative", "factual"]}


def test_options_do_what_they_say(demo: httpx2.Client, red_circle: bytes) -> None:
    def words(**options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = demo.post("/ask", json={**DESCRIBE, "images": [b64(red_circle)], "options": options}).json()
        return answer

    cut = words(num_predict=2)
    assert (cut["finish_reason"], cut["usage"]["completion_tokens"]) == ("length", 2)
    assert words(stop=["circle"])["message"]["content"].strip() == "A red"
    hot = {"temperature": 2.0, "seed": 11}
    assert words(**hot)["message"]["content"] == words(**hot)["message"]["content"]


def test_a_json_schema_is_followed(demo: httpx2.Client, red_circle: bytes) -> None:
    schema = {
        "type": "object",
        "properties": {"background": {"type": "string"}, "text": {"type": ["string", "null"]}},
        "required": ["background"],
    }
    body = {"prompt": "Describe this image as JSON.", "images": [b64(red_circle)], "format": schema}
    assert json.loads(demo.post("/ask", json=body).json()["message"]["content"])["background"] == "white"
    form = demo.post("/ask", files={"image": red_circle}, data={"prompt": body["prompt"], "format": json.dumps(schema)})
    assert json.loads(form.json()["message"]["content"])["background"] == "white"


def test_a_reload_is_told_beforehand_and_in_the_answer(demo: httpx2.Client) -> None:
    demo.post("/ask", json={"prompt": "Hello"})
    response = demo.post("/ask", json={"prompt": "Hello", "options": {"num_ctx": 1024}}, headers={"Accept": "text/event-stream"})
    frames = events(response.text)
    (loading,) = [data for name, data in frames if name == "loading"]
    assert loading["reason"] == note_json(note("option_changed", option="num_ctx", old=4096, new=1024))
    assert loading["last_load_ms"] > 0
    (warning,) = frames[-1][1]["warnings"]
    assert warning["code"] == "model_reload"
    assert warning["values"] == {"reason": "option_changed", **loading["reason"]["values"], "last_load_ms": loading["last_load_ms"]}
    assert frames[-1][1]["timings"]["load_ms"] > 0


def test_what_does_not_fit_is_refused_with_its_figures(demo: httpx2.Client) -> None:
    for accept in ("application/json", "text/event-stream", "text/plain"):
        response = demo.post("/ask", json={"prompt": "Hello there. " * 6000}, headers={"Accept": accept})
        if accept == "text/event-stream" and response.status_code == 200:
            name, body = events(response.text)[-1]
            assert name == "error"
        else:
            assert response.status_code == 400
            body = response.json()
        assert body["error"]["code"] == "context_length_exceeded"
        assert body["error"]["values"]["n_prompt_tokens"] > body["error"]["values"]["n_ctx"] == 4096


def test_far_more_threads_than_processors_are_refused(demo: httpx2.Client) -> None:
    response = demo.post("/ask", json={"prompt": "Hello", "options": {"num_thread": 1024}})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["reason"]) == (422, "invalid_option", "too_many_threads")
    assert error["param"] == "options.num_thread"


def test_analyze_image_answers_with_one_member(demo: httpx2.Client, red_circle: bytes) -> None:
    response = demo.post("/analyze_image", files={"image": red_circle}, data={"question": "Describe this image."})
    assert response.json() == {"response": RED}


@pytest.mark.parametrize(
    ("files", "data", "status", "param"),
    [
        ({}, {"question": "What?"}, 415, None),
        ({"image": b"x"}, {}, 422, "question"),
        ({"image": b"x"}, {"question": "  "}, 422, "question"),
        ({"other": b"x"}, {"question": "What?"}, 422, "image"),
        ({"image": b"x"}, {"question": "What?"}, 415, "images[0]"),
        ({"image": b"x"}, {"question": "What?", "model": "llava:7b"}, 422, "model"),
        ({"image": b"x", "mask": b"x"}, {"question": "What?"}, 422, "mask"),
    ],
)
def test_analyze_image_says_what_is_missing(
    demo: httpx2.Client, files: dict[str, bytes], data: dict[str, str], status: int, param: str | None
) -> None:
    response = demo.post("/analyze_image", files=files, data=data)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


def test_an_image_field_that_is_no_file_is_explained(demo: httpx2.Client) -> None:
    response = demo.post("/ask", files={"image": (None, "photo.jpg"), "prompt": (None, "What?")})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "image")
    assert response.json()["error"]["reason"] == "text_for_image"


def test_questions_that_part_between_two_images_are_answered(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> None:
    """llama.cpp's prompt cache fails on the second and third of these, and on all later ones, unless it is switched off for one request."""
    green = sample_images.encoded(sample_images.shape("circle", "green"))
    for images, last in (((red_circle, blue_square), BLUE), ((red_circle,), RED), ((red_circle, green), GREEN)):
        answer = demo.post("/ask", json={**DESCRIBE, "images": [b64(image) for image in images]}).json()
        assert answer["message"]["content"] == last
