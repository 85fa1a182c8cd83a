"""Exporting and importing sessions over HTTP: nothing is lost, and invalid files are rejected."""

from __future__ import annotations

import base64
import copy
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

import httpx2
import pytest
from PIL import Image, ImageChops, ImageStat

from llava_gateway.api.archives import content_disposition
from tests import sample_images
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, says_then_waits

Document: TypeAlias = dict[str, Any]
ZIP = {"Content-Type": "application/zip"}


@pytest.fixture(scope="module")
def session_id(demo: httpx2.Client, red_circle: bytes, blue_square: bytes) -> str:
    """Create a session with two branches, a pinned image, a region, options, and a note next to a question."""
    path = f"/sessions/{demo.post('/sessions', json={'title': '图形 Shapes', 'system': 'Be brief.'}).json()['id']}"
    first = demo.post(f"{path}/turns", files={"image": red_circle}, data={"ocr_text": "None."}).json()
    demo.post(f"{path}/turns", json={"prompt": "What color is the circle?", "options": {"seed": 1, "stop": ["!"]}, "preset": "factual"})
    demo.post(f"{path}/turns", files={"image": blue_square}, data={"after": "1", "region": "0,0,0.5,0.5"})
    changes = {"policy": "sliding", "glossary": ["VAT: tax"], "options": {"top_k": 5}, "detail": "low"}
    demo.patch(path, json={**changes, "images": {first["images"][0]["id"]: {"pinned": True, "detail": "high"}}})
    return path.removeprefix("/sessions/")


def export(demo: httpx2.Client, session_id: str, form: str) -> httpx2.Response:
    response = demo.get(f"/sessions/{session_id}/export", params={"format": form})
    assert response.status_code == 200
    return response


@pytest.fixture(scope="module")
def document(demo: httpx2.Client, session_id: str) -> Document:
    found: Document = export(demo, session_id, "json").json()
    return found


def test_the_json_has_everything(demo: httpx2.Client, session_id: str, document: Document) -> None:
    session = document["session"]
    assert [(turn["id"], turn["after"]) for turn in session["turns"]] == [(2, 1), (1, None), (3, 1)]
    assert session["turns"][0]["options"] == {"seed": 1, "stop": ["!"], "temperature": 0, "top_k": 1} | session["turns"][0]["options"]
    assert session["turns"][1]["parts"][1]["note"] is True
    assert session["turns"][2]["parts"][0]["sight"]["region"] == [0, 0, 0.5, 0.5]
    assert (session["policy"], session["glossary"], session["options"], session["detail"]) == ("sliding", ["VAT: tax"], {"top_k": 5}, "low")
    for image_id, image in document["images"].items():
        assert base64.b64decode(image["data"]) == demo.get(f"/images/{image_id}").content


@pytest.mark.parametrize("form", ["json", "zip"])
def test_what_was_exported_comes_back_whole_under_a_new_id(
    demo: httpx2.Client, session_id: str, document: Document, form: str, blue_square: bytes
) -> None:
    exported = export(demo, session_id, form)
    imported = demo.post("/sessions/import", content=exported.content, headers={"Content-Type": exported.headers["content-type"]})
    assert imported.status_code == 201
    session = imported.json()
    assert session["id"] != session_id
    assert demo.get(f"/sessions/{session['id']}").json() == session
    assert export(demo, session["id"], "json").json() == document
    before = demo.get(f"/sessions/{session_id}").json()
    assert {**session, "id": session_id, "tokens": before["tokens"]} == before
    # The conversation continues on either branch.
    assert demo.post(f"/sessions/{session['id']}/turns", json={"prompt": "Describe this image.", "after": 3}).json()["turn_id"] == 4
    assert [turn["id"] for turn in demo.patch(f"/sessions/{session['id']}", json={"branch": 2}).json()["turns"]] == [1, 2]


def test_a_form_can_bring_the_file(demo: httpx2.Client, session_id: str) -> None:
    data = export(demo, session_id, "zip").content
    assert demo.post("/sessions/import", files={"file": ("session.zip", data)}).status_code == 201
    wrong = demo.post("/sessions/import", data={"file": "text"}, files={"other": b"x"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "file")


def test_a_photo_may_be_encoded_again_and_is_found_under_its_new_id(demo: httpx2.Client) -> None:
    path = f"/sessions/{demo.post('/sessions', json={}).json()['id']}"
    photo = sample_images.encoded(sample_images.shape("circle", "red").resize((600, 400)), "JPEG")
    demo.post(f"{path}/turns", files={"image": photo})
    exported = demo.get(f"{path}/export?format=json")
    imported = demo.post("/sessions/import", json=exported.json()).json()
    (image,) = imported["turns"][0]["images"]
    assert list(imported["images"]) == [image["id"]]
    before, after = (demo.get(f"/images/{image_id}") for image_id in (*exported.json()["images"], image["id"]))
    assert after.headers["content-type"] == before.headers["content-type"] == "image/jpeg"
    one, other = (Image.open(io.BytesIO(response.content)).convert("RGB") for response in (before, after))
    assert max(ImageStat.Stat(ImageChops.difference(one, other)).mean) < 0.5


@pytest.mark.parametrize(
    ("form", "kind", "suffix"),
    [
        ("zip", "application/zip", "zip"),
        ("json", "application/json", "json"),
        ("html", "text/html; charset=utf-8", "html"),
        ("markdown", "text/markdown; charset=utf-8", "md"),
    ],
)
def test_each_form_is_a_download_by_the_title(demo: httpx2.Client, session_id: str, form: str, kind: str, suffix: str) -> None:
    response = export(demo, session_id, form)
    assert response.headers["content-type"] == kind
    disposition = response.headers["content-disposition"]
    assert disposition.startswith(f'attachment; filename="Shapes.{suffix}"; ')
    assert unquote(disposition.partition("filename*=UTF-8''")[2]) == f"图形 Shapes.{suffix}"


def test_the_page_loads_nothing_even_where_it_is_opened_from_here(demo: httpx2.Client, session_id: str) -> None:
    policy = export(demo, session_id, "html").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "sandbox" in policy


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("Receipts.zip", "Receipts.zip", "Receipts.zip"),
        ("五月收据.zip", "session.zip", "五月收据.zip"),
        ("Café über.zip", "Cafe uber.zip", "Café über.zip"),
        ('a"b\\c/d:e\r\nX-Evil: 1.md', "a b c d e X-Evil 1.md", "a b c d e X-Evil 1.md"),
        ("../../etc/passwd.html", "etc passwd.html", "etc passwd.html"),
        ("\u202egnp.json", "gnp.json", "gnp.json"),
        ("CON.zip", "_CON.zip", "_CON.zip"),
        ("....zip", "session.zip", "session.zip"),
        ("a%20b;c=d.zip", "a20bcd.zip", "a%20b;c=d.zip"),
        ("x" * 300 + ".zip", "x" * 80 + ".zip", "x" * 80 + ".zip"),
    ],
)
def test_a_file_name_is_harmless_and_keeps_its_letters(name: str, plain: str, whole: str) -> None:
    header = content_disposition(name)
    head, _, encoded = header.partition("; filename*=UTF-8''")
    assert head == f'attachment; filename="{plain}"'
    assert encoded.isascii()
    assert unquote(encoded) == whole


def test_odd_formats_and_sessions_are_refused(demo: httpx2.Client, session_id: str) -> None:
    odd = demo.get(f"/sessions/{session_id}/export?format=pdf")
    assert (odd.status_code, odd.json()["error"]["param"]) == (422, "format")
    missing = demo.get("/sessions/0/export")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "session_not_found")


def test_without_a_format_it_is_the_zip(demo: httpx2.Client, session_id: str) -> None:
    assert demo.get(f"/sessions/{session_id}/export").content.startswith(b"PK")


async def test_a_running_session_is_exported_as_far_as_it_is(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await served.session()
    await served.ask(session_id=session_id)
    engine.script = says_then_waits("Half")
    async with served.stream(session_id=session_id) as events:
        await anext(events)
        exported = (await served.client.get(f"/sessions/{session_id}/export?format=json")).json()
    assert [turn["answer"] for turn in exported["session"]["turns"]] == ["Hello there."]


def changed(path: str, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        inner: Any = document
        for step in steps:
            inner = inner[step]
        inner[last] = value

    return change


def other_images(document: Document) -> None:
    document["images"] = dict.fromkeys(["c" * 64], next(iter(document["images"].values())))


def image(data: str | None, **more: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        first = next(iter(document["images"]))
        document["images"][first] = {"data": data, **more}

    return change


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (changed("format", "other"), 422, "invalid_archive"),
        (changed("version", 2), 422, "invalid_archive"),
        (changed("extra", 1), 422, "invalid_archive"),
        (changed("session.id", "0" * 32), 422, "invalid_archive"),
        (changed("session.title", "x" * 201), 422, "invalid_archive"),
        (changed("session.engine", "gpt"), 422, "invalid_archive"),
        (changed("session.policy", "drop"), 422, "invalid_archive"),
        (changed("session.preset", "nowhere"), 422, "invalid_archive"),
        (changed("session.options", {"top_k": -1}), 422, "invalid_archive"),
        (changed("session.format", {"type": 5}), 422, "invalid_archive"),
        (changed("session.glossary", ["x" * 301]), 422, "invalid_archive"),
        (changed("session.system", "x" * 1_000_001), 422, "invalid_archive"),
        (changed("session.created_at", "yesterday"), 422, "invalid_archive"),
        (changed("session.created_at", 0), 422, "invalid_archive"),
        (changed("session.created_at", "2026-05-01T10:00:00"), 422, "invalid_archive"),
        (changed("session.created_at", "0001-01-01T00:00:00+23:00"), 422, "invalid_archive"),
        (changed("session.pins", {"c" * 64: True}), 422, "invalid_archive"),
        (changed("session.pins", {"c": True}), 422, "invalid_archive"),
        (changed("session.sights", {"c" * 64: {}}), 422, "invalid_archive"),
        (changed("session.turns.0.id", 1), 422, "invalid_archive"),
        (changed("session.turns.0.id", 0), 422, "invalid_archive"),
        (changed("session.turns.0.id", 2**40), 422, "invalid_archive"),
        (changed("session.turns.0.after", 2), 422, "invalid_archive"),
        (changed("session.turns.0.after", 3), 422, "invalid_archive"),
        (changed("session.turns.0.after", 9), 422, "invalid_archive"),
        (changed("session.turns.0.parts", []), 422, "invalid_archive"),
        (changed("session.turns.0.parts", [{"text": "a"}] * 65), 422, "invalid_archive"),
        (changed("session.turns.0.parts", [{"image": "../../x"}]), 422, "invalid_archive"),
        (changed("session.turns.1.parts.0.sight", {"region": [0, 0, 2, 2]}), 422, "invalid_archive"),
        (changed("session.turns.1.sent", []), 201, ""),
        (changed("session.turns.0.sent", [{"width": 1, "height": 1, "format": "PNG"}]), 422, "invalid_archive"),
        (changed("session.turns.0.options", {"seed": "x"}), 422, "invalid_archive"),
        (changed("session.turns.0.status", "running"), 422, "invalid_archive"),
        (changed("session.turns.0.usage.prompt_tokens", -1), 422, "invalid_archive"),
        (changed("session.turns.0.timings.total_ms", "1"), 422, "invalid_archive"),
        (changed("session.turns.0.warnings", [{"code": "A sentence.", "values": {}}]), 422, "invalid_archive"),
        (changed("session.turns.0.warnings", [{"code": "x", "values": {"name": "x" * 257}}]), 422, "invalid_archive"),
        (changed("session.turns.0.warnings", ["x"]), 422, "invalid_archive"),
        (changed("session.turns", [{}] * 10), 422, "invalid_archive"),
        (changed("images", {}), 422, "invalid_archive"),
        (other_images, 422, "invalid_archive"),
        (image(None), 422, "invalid_archive"),
        (image(None, file="images/1.png"), 422, "invalid_archive"),
        (image("cmVk", file="images/1.png"), 422, "invalid_archive"),
        (image("!"), 400, "invalid_base64_image"),
        (image("cmVk"), 415, "unsupported_image_media_type"),
        (image(base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()), 422, "image_parse_error"),
    ],
)
def test_an_odd_archive_is_refused_and_nothing_of_it_is_kept(
    demo: httpx2.Client, document: Document, change: Callable[[Document], None], status: int, code: str
) -> None:
    odd = copy.deepcopy(document)
    change(odd)
    before = len(demo.get("/sessions").json()["sessions"])
    response = demo.post("/sessions/import", json=odd)
    assert response.status_code == status, response.text
    if status >= 400:
        error = response.json()["error"]
        assert (error["code"], (error["param"] or "session").split(".")[0] in {"session", "images", "version", "extra"}) == (code, True)
        assert "Value error" not in error["message"]
        assert len(demo.get("/sessions").json()["sessions"]) == before


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "application/json", 422, "invalid_archive"),
        (b"{", "application/json", 400, "invalid_json"),
        (b"<!doctype html>", "application/octet-stream", 422, "invalid_archive"),
        (b"\xff\xd8\xff\xe0 JFIF", "application/octet-stream", 422, "invalid_archive"),
        (b"[]", "application/json", 422, "invalid_archive"),
        (b'{"a": "\\ud800"}', "application/json", 400, "invalid_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"PK\x03\x04 and so on", "application/zip", 422, "invalid_archive"),
        (b"Rar!", "application/octet-stream", 422, "invalid_archive"),
    ],
)
def test_what_is_no_archive_at_all_is_refused(demo: httpx2.Client, content: bytes, kind: str, status: int, code: str) -> None:
    response = demo.post("/sessions/import", content=content, headers={"Content-Type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def rezipped(data: bytes, **replaced: bytes | None) -> bytes:
    """Return the zip with files replaced or left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name in old.namelist():
            new = replaced.get(name, old.read(name))
            if new is not None:
                made.writestr(name, new)
    return out.getvalue()


def test_a_zip_must_have_the_files_that_it_names(demo: httpx2.Client, session_id: str, document: Document) -> None:
    data = export(demo, session_id, "zip").content
    named = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("session.json"))
    first = next(iter(named["images"].values()))
    absent = {**named, "images": {**named["images"], next(iter(named["images"])): {**first, "file": "../../etc/passwd"}}}
    for odd, code in [
        (rezipped(data, **{"session.json": None}), "invalid_archive"),
        (rezipped(data, **{"images/1.png": None}), "invalid_archive"),
        (rezipped(data, **{"session.json": json.dumps(absent).encode()}), "invalid_archive"),
        (rezipped(data, **{"images/1.png": bytes(30 * 2**20)}), "archive_too_large"),
        (rezipped(data, **{"session.json": bytes(130 * 2**20)}), "archive_too_large"),
        (rezipped(data, **{"images/1.png": b"<html onload=alert(1)>"}), "unsupported_image_media_type"),
    ]:
        response = demo.post("/sessions/import", content=odd, headers=ZIP)
        assert (response.status_code in (413, 415, 422), response.json()["error"]["code"]) == (True, code)
    assert demo.post("/sessions/import", content=rezipped(data, **{"session.md": None}), headers=ZIP).status_code == 201


async def test_a_session_larger_than_sessions_may_be_is_refused_before_any_work(
    serve: Serve, demo: httpx2.Client, session_id: str, document: Document
) -> None:
    for limits, code in (({"session_max_turns": 2}, "archive_too_large"), ({"session_max_bytes": 1500}, "session_full")):
        served = await serve(ScriptedEngine(), **limits)
        response = await served.client.post("/sessions/import", json=document)
        assert (response.status_code, response.json()["error"]["code"]) == (413, code)
        assert (await served.client.get("/sessions")).json() == {"sessions": []}
        assert served.gateway.images.bytes_used == 0


async def test_a_question_as_long_as_it_may_be_comes_back(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), prompt_max_chars=1000)
    session = (await served.client.post("/sessions", json={})).json()["id"]
    turn = await served.client.post(f"/sessions/{session}/turns", json={"prompt": "x" * 1000, "ocr_text": "y" * 1000})
    assert turn.status_code == 200
    exported = await served.client.get(f"/sessions/{session}/export?format=json")
    assert (await served.client.post("/sessions/import", json=exported.json())).status_code == 201


def test_a_fork_without_a_pinned_image_comes_back(demo: httpx2.Client, blue_square: bytes) -> None:
    path = f"/sessions/{demo.post('/sessions', json={}).json()['id']}"
    demo.post(f"{path}/turns", json={"prompt": "Hi"})
    (image,) = demo.post(f"{path}/turns", files={"image": blue_square}).json()["images"]
    assert demo.patch(path, json={"images": {image["id"]: {"pinned": True, "detail": "low"}}}).status_code == 200
    fork = demo.post(f"{path}/fork", json={"at": 1}).json()["id"]
    exported = demo.get(f"/sessions/{fork}/export?format=json")
    assert demo.post("/sessions/import", json=exported.json()).status_code == 201
