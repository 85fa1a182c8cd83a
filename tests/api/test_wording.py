"""The most common mistakes in requests: accepted if the meaning is clear, else answered with a hint."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import zipfile
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.api.test_ask import RED, b64

FORM = {"Content-Type": "multipart/form-data; boundary=x"}
HELLO = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nHello\r\n'
NOT_CHOSEN = b'--x\r\nContent-Disposition: form-data; name="%b"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n'


def error_of(response: httpx2.Response) -> Any:
    return response.json()["error"]


def test_an_image_sent_bare_is_told_the_form_it_goes_into(demo: httpx2.Client, red_circle: bytes) -> None:
    for path in ("/images", "/analyze_image"):
        response = demo.post(path, content=red_circle, headers={"Content-Type": "image/png"})
        error = error_of(response)
        assert (response.status_code, error["code"]) == (415, "unsupported_media_type")
        assert error["reason"] == "body_not_image_form"


def test_json_without_its_type_is_told_the_header(demo_url: str) -> None:
    done = subprocess.run(["curl", "-sS", "-d", '{"prompt": "Hi"}', f"{demo_url}/ask"], capture_output=True, check=True)
    assert json.loads(done.stdout)["error"]["reason"] == "body_urlencoded"


@pytest.mark.parametrize("path", ["/ask", "/count_tokens", "/read_ahead"])
def test_a_urlencoded_form_is_told_the_two_ways_that_work(demo_url: str, path: str) -> None:
    def status(*how: str) -> tuple[int, str | None]:
        done = subprocess.run(["curl", "-sS", *how, "-w", "\n%{http_code}", f"{demo_url}{path}"], capture_output=True, check=True)
        body, _, code = done.stdout.decode().rpartition("\n")
        return int(code), json.loads(body).get("error", {}).get("reason")

    assert status("-d", "prompt=Hi") == (415, "body_urlencoded")
    assert status("-F", "prompt=Hi") == (200, None)
    assert status("-H", "Content-Type: application/json", "-d", '{"prompt": "Hi"}') == (200, None)


@pytest.mark.parametrize("field", ["images", "file", "files", "image[]", "images[]", "files[]", "photo"])
def test_an_image_is_taken_from_a_field_of_another_plain_name(demo: httpx2.Client, red_circle: bytes, field: str) -> None:
    answer = demo.post("/ask", files={field: ("a.png", red_circle), "prompt": (None, "Describe this image.")}).json()
    assert answer["message"]["content"] == RED
    assert demo.post("/images", files={field: ("a.png", red_circle)}).status_code == 201


def test_images_keep_their_order_whatever_their_fields_are_named(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> None:
    files = [("file", red_circle), ("images[]", blue_square), ("image", red_circle)]
    found = demo.post("/ask", files=files, data={"prompt": "Hello"}).json()["images"]
    assert found[0]["id"] == found[2]["id"] != found[1]["id"]


@pytest.mark.parametrize("field", [b"image", b"images[]", b"file", b"upload", b"prompt"])
def test_a_file_that_was_not_chosen_is_none(demo: httpx2.Client, field: bytes) -> None:
    answer = demo.post("/ask", content=NOT_CHOSEN % field + HELLO + b"--x--\r\n", headers=FORM).json()
    assert answer["images"] == []


def test_a_text_field_for_an_image_that_is_empty_says_nothing(demo: httpx2.Client) -> None:
    assert demo.post("/ask", files={"image": (None, ""), "prompt": (None, "Hello")}).status_code == 200
    error = error_of(demo.post("/ask", files={"image": (None, "photo.jpg"), "prompt": (None, "Hello")}))
    assert (error["reason"], error["param"]) == ("text_for_image", "image")


def test_a_form_for_one_image_says_where_there_is_none_or_two(demo: httpx2.Client, red_circle: bytes) -> None:
    for path in ("/images", "/analyze_image"):
        missing = error_of(demo.post(path, content=NOT_CHOSEN % b"image" + HELLO + b"--x--\r\n", headers=FORM))
        assert (missing["reason"], missing["param"]) == ("form_without_image", "image")
        two = error_of(demo.post(path, files=[("image", red_circle), ("image", red_circle)]))
        assert two["reason"] == "form_of_two_images"


def test_a_file_in_another_field_is_told_where_it_goes(demo: httpx2.Client, red_circle: bytes) -> None:
    unknown = error_of(demo.post("/ask", files={"upload": ("a.png", red_circle), "prompt": (None, "x")}))
    assert (unknown["code"], unknown["param"]) == ("unknown_field", "upload")
    assert unknown["reason"] == "unknown_field_file"
    text = error_of(demo.post("/ask", files={"prompt": ("prompt.txt", b"What is this?")}))
    assert (text["reason"], text["param"]) == ("file_for_text", "prompt")


def python_repr(data: bytes) -> str:
    return str(base64.b64encode(data))


@pytest.mark.parametrize(
    "spelt",
    [
        python_repr,
        lambda data: python_repr(data).replace("'", '"'),
        lambda data: f"data:image/png;base64,{python_repr(data)}",
        lambda data: str(base64.encodebytes(data)),
        lambda data: str(f"data:image/png;base64,{b64(data)}".encode()),
        lambda data: f"data:image/png;base64,data:image/jpeg;base64,{b64(data)}",
    ],
    ids=["bytes", "double quotes", "data and bytes", "lines in bytes", "data in bytes", "data twice"],
)
def test_base64_with_what_programs_put_around_it_is_taken(demo: httpx2.Client, red_circle: bytes, spelt: Any) -> None:
    response = demo.post("/ask", json={"prompt": "Describe this image.", "images": [spelt(red_circle)]})
    assert response.json()["message"]["content"] == RED


@pytest.mark.parametrize("spelt", ["b'", "b''", "b'AAAA", "b'AA'AA'", "data:;base64," * 5 + "AAAA", "b'" * 5 + "AAAA" + "'" * 5])
def test_what_is_no_base64_inside_either_is_refused(demo: httpx2.Client, spelt: str) -> None:
    assert error_of(demo.post("/ask", json={"images": [spelt]}))["code"] in ("invalid_base64_image", "empty_image_file")


def a_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("word/document.xml", "x")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n" * 2000 + b"%PDF-1.7", "unsupported_image_media_type"),
        (b"<!DOCTYPE html>\n<html><svg></svg></html>", "file_web_page"),
        (b"<!DOCTYPE html>\n<html>", "file_web_page"),
        (a_zip(), "file_zip"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "file_jpeg_xl"),
        (b"8BPS\0\2", "file_image"),
        (b"iVBORw0KGgoAAAANSUhEUg==", "file_base64"),
        (b"data:image/png;base64,iVBORw0KGgo=", "file_base64"),
        (b"hello", "unsupported_image_media_type"),
    ],
)
def test_a_file_that_is_no_image_is_called_what_it_is(demo: httpx2.Client, content: bytes, reason: str) -> None:
    response = demo.post("/ask", files={"image": ("a.png", content), "prompt": (None, "x")})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (415, "unsupported_image_media_type")
    assert error["reason"] == reason


def test_what_pillow_writes_is_still_read(demo: httpx2.Client) -> None:
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        packed = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(packed, kind)
        assert demo.post("/images", files={"image": packed.getvalue()}).status_code == 201, kind


def test_a_page_of_another_origin_is_told_what_works(demo: httpx2.Client) -> None:
    own = {"Origin": "http://localhost:3000"}
    error = error_of(demo.post("/ask", json={"prompt": "Hi"}, headers=own))
    assert error["code"] == "origin_not_allowed"
    # The hint's advice: a proxy in front of the page that passes Host on.
    assert demo.post("/ask", json={"prompt": "Hi"}, headers={**own, "Host": "localhost:3000"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "whose"),
    [
        ("POST", "/v1/chat/completions", "OpenAI"),
        ("GET", "/v1/models", "OpenAI"),
        ("POST", "/chat/completions", "OpenAI"),
        ("POST", "/api/chat", "Ollama"),
        ("POST", "/api/generate", "Ollama"),
        ("GET", "/api/tags", "Ollama"),
        ("POST", "/completion", "llama.cpp"),
    ],
)
def test_clients_of_other_apis_are_told_which_route_to_use(demo: httpx2.Client, method: str, path: str, whose: str) -> None:
    response = demo.request(method, path)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "not_found")
    assert (error["reason"], error["values"]) == ("unknown_route_of_api", {"api": whose})
    assert error_of(demo.get("/nowhere"))["reason"] == "unknown_route"
