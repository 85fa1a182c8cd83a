"""Bodies that are large or slow to parse block no other client: a thread parses them, and stops at the first error."""

from __future__ import annotations

import asyncio
import codecs
import gc
import io
import json
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from llava_gateway.api import (
    archive_body,
    archives,
    bodies,
    charset,
    documents,
    forms,
    json_body,
    multipart,
    native_json,
    options,
    response,
    server,
)
from llava_gateway.api.bodies import Body
from llava_gateway.api.charset import charset_of
from llava_gateway.api.forms import AT_ONCE
from llava_gateway.api.native_frames import wanted_output_format
from llava_gateway.api.schemas import LONG_LIST, MOST_OBJECTS, parse_format
from llava_gateway.api.threads import TURN
from llava_gateway.errors import InvalidFormat
from llava_gateway.json_pieces import PIECE, json_pieces
from llava_gateway.sessions import archive, transcript
from llava_gateway.sessions.archive import FORMAT
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

MANY = 20_000
MOST_ERRORS = 1000
HOSTILE: dict[str, Any] = {
    "numbers": [1] * MANY,
    "texts": ["x"] * MANY,
    "lists": [[]] * MANY,
    "objects": [{"a": 1, "b": 2}] * MANY,
    "fields": {str(number): 1 for number in range(MANY)},
    "fields of objects": {f"{number:064x}": {"a": 1, "b": 2} for number in range(MANY)},
    "a list of fields": [{str(number): 1 for number in range(MANY)}],
    "an object of fields": {"0" * 64: {str(number): 1 for number in range(MANY)}},
}
LONG = "x\n" * 35_000  # a text with escapes takes long to parse
ARCHIVE = {"format": FORMAT, "version": 1, "session": {"turns": [], "system": LONG}}


def kinds(kind: type[Body] = Body) -> Iterator[type[Body]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from kinds(inner)


def errors(kind: type[Body], value: Any) -> int:
    try:
        kind.model_validate(value)
    except ValidationError as error:
        return error.error_count()
    except InvalidFormat:  # a schema gives one error in any case
        return 1
    return 0


@pytest.mark.parametrize("kind", [*kinds()])
def test_of_all_that_is_wrong_little_is_told(kind: type[Body]) -> None:
    for name, value in HOSTILE.items():
        assert errors(kind, value) <= MOST_ERRORS, name
        for field in kind.model_fields:
            assert errors(kind, {field: value}) <= MOST_ERRORS, (field, name)


def test_a_session_of_wrong_turns_is_given_up_at_the_first() -> None:
    turn = {"id": 1, "parts": [{"a": 1}] * 100, "sent": [{"a": 1}] * 50, "warnings": [1] * 100}
    assert errors(archive_body.ArchiveBody, {"session": {"turns": [turn] * 1000}}) < 50


def test_the_first_unknown_field_is_named() -> None:
    with pytest.raises(ValidationError) as refused:
        bodies.AskBody.model_validate({"prompt": "Hi", **{f"k{number}": 1 for number in range(MANY)}})
    assert [error["loc"] for error in refused.value.errors()] == [("k0",)]


def form(**fields: str) -> dict[str, Any]:
    return {"files": {name: (None, text) for name, text in fields.items()}}


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("session.json", json.dumps(ARCHIVE))
    return file.getvalue()


DOORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a question": ("POST", "/ask", {"json": {"system": LONG, "nothing": 1}}),
    "a question in a session": ("POST", "/sessions/{}/turns", {"json": {"system": LONG, "nothing": 1}}),
    "count": ("POST", "/count_tokens", {"json": {"system": LONG, "nothing": 1}}),
    "read ahead": ("POST", "/read_ahead", {"json": {"system": LONG, "nothing": 1}}),
    "a form": ("POST", "/ask", form(options=json.dumps({LONG[:1000]: 1}), system=LONG)),
    "options in a form": ("POST", "/ask", form(options=json.dumps({"stop": LONG}))),
    "a session": ("POST", "/sessions", {"json": {"system": LONG, "nothing": 1}}),
    "a change": ("PATCH", "/sessions/{}", {"json": {"system": LONG, "nothing": 1}}),
    "a fork": ("POST", "/sessions/{}/fork", {"json": {"at": 1, "nothing": LONG}}),
    "a vote": ("POST", "/votes", {"json": {"prompt": LONG}}),
    "a model": ("POST", "/models", {"json": {"model": "made", "modelfile": LONG, "nothing": 1}}),
    "a pull": ("POST", "/models/pull", {"json": {"model": LONG}}),
    "an exported session": ("POST", "/sessions/import", {"json": ARCHIVE}),
    "an exported zip": ("POST", "/sessions/import", {"content": zipped(), "headers": {"Content-Type": "application/zip"}}),
}


@pytest.mark.parametrize("door", DOORS)
async def test_a_large_body_is_read_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    """Other requests are answered while the body is still being read."""
    served = await serve(ScriptedEngine())
    answered = threading.Event()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    held: list[bool] = []

    def slow(parse: Callable[..., Any]) -> Callable[..., Any]:
        def read(raw: bytes, *args: Any, **more: Any) -> Any:
            if len(raw) > 1000:
                loop.call_soon_threadsafe(begun.set)
                held.append(threading.current_thread() is not threading.main_thread() and answered.wait(50))
            return parse(raw, *args, **more)

        return read

    for module in (forms, json_body):
        monkeypatch.setattr(module, "parse_json", slow(documents.parse_json))
    monkeypatch.setattr(archives, "parse_json", slow(documents.parse_json))
    method, path, body = DOORS[door]
    sending = asyncio.create_task(served.client.request(method, path.format(await served.session()), **body))
    async with asyncio.timeout(60):
        await begun.wait()
        assert (await served.client.get("/healthz")).status_code == 200
        answered.set()
        response = await sending
    assert response.status_code in (201, 400, 413, 422), response.text
    assert held == [True]


def test_a_process_that_serves_is_prepared_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, bool]] = []

    class Stub:
        started = True

        def run(self) -> None:
            found.append((round(sys.getswitchinterval() * 1e6), gc.get_freeze_count() > 0))

    interval = sys.getswitchinterval()
    monkeypatch.setattr(server, "build_server", lambda *_: Stub())
    try:
        assert server.run(Settings(), lambda *_: None) == 0
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
    assert found == [(round(TURN * 1e6), True)]


async def test_large_images_are_decoded_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(ScriptedEngine())
    beside: list[bool] = []

    def decode(_: str) -> bytes:
        beside.append(threading.current_thread() is not threading.main_thread())
        return b"no image"

    monkeypatch.setattr(native_json, "decode_base64", decode)
    assert (await served.ask(images=["QUJD" * AT_ONCE])).status_code == 415
    assert beside == [True]


async def test_the_texts_of_a_large_form_are_decoded_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(ScriptedEngine())
    beside: list[bool] = []

    def decode(raw: bytes, *_: Any) -> str:
        beside.append(threading.current_thread() is not threading.main_thread())
        return raw.decode()

    monkeypatch.setattr(multipart, "decode", decode)
    for text in ("Hi", LONG):
        assert (await served.client.post("/ask", **form(prompt=text))).status_code == 200
    assert beside == [False, False, True, True]


@pytest.mark.parametrize("name", ["region", "image_size", "num_visual_tokens", "temperature"])
def test_a_long_number_is_not_looked_at(demo: httpx2.Client, name: str) -> None:
    for text in ("1," * 300, "1" * 3000, "1x" * 300):
        assert forms._numbers(text) == forms._number(text) == text
    refused = demo.post("/ask", **form(prompt="Hi", **{name: "1," * 1_000_000}))
    assert (refused.status_code, refused.json()["error"]["param"]) in {(422, f"options.{name}"), (400, name), (422, name)}
    assert len(refused.content) < 1500


def test_a_glossary_of_a_million_lines_is_refused_unread(demo: httpx2.Client) -> None:
    refused = demo.post("/ask", **form(prompt="Hi", glossary="\n" * 1_000_000))
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "glossary")
    lines = "\n".join(f"{number}: {'x' * 290}" for number in range(options.GLOSSARY_MAX_LINES))
    assert demo.post("/count_tokens", **form(prompt="Hi", glossary=lines)).status_code != 422


@pytest.mark.parametrize(
    "headers",
    [
        {f"X-{number}": "x" for number in range(201)},
        {"X": "x" * 70_000},
        {"Accept": "text/plain," * 7000},
        {"Content-Type": 'application/json; a="' + ";" * 70_000},
    ],
    ids=["many", "long", "Accept", "Content-Type"],
)
def test_many_or_long_headers_are_refused(demo: httpx2.Client, headers: dict[str, str]) -> None:
    refused = demo.post("/ask", content=b"{}", headers={"Content-Type": "application/json", **headers})
    assert (refused.status_code, refused.json()["error"]["code"]) == (431, "headers_too_large")


def test_a_long_address_is_refused(demo: httpx2.Client) -> None:
    for path in ("/sessions?q=", "/images/"):
        refused = demo.get(path + "x" * 40_000, headers={"X": "x" * 30_000})
        assert (refused.status_code, refused.json()["error"]["code"]) == (431, "headers_too_large")


def test_of_long_headers_the_beginning_is_looked_at() -> None:
    assert charset_of("application/json; charset=gbk; a=" + "x" * 5000) == "gbk"
    assert charset_of("application/json; a=" + "x" * 5000 + "; charset=gbk") is None
    assert wanted_output_format("text/plain" + ", image/png" * 500) == "text"
    assert wanted_output_format("image/png, " * 500 + "text/plain") == "json"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "enum": [{"a": number} for number in range(LONG_LIST + 1)]},
            "schema_mixed_list",
        ),
        ({"type": [str(number) if number % 2 else number for number in range(LONG_LIST + 1)]}, "schema_mixed_list"),
        ({"properties": {f"a{number}": {} for number in range(MOST_OBJECTS)}}, "schema_too_large"),
        ({"description": "x" * 1_000_000}, "schema_too_long"),
        ({"enum": ["é" * 30_000]}, "schema_too_long"),
    ],
)
def test_a_schema_that_is_slow_to_check_is_refused_unchecked(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidFormat) as refused:
        parse_format(schema)
    assert refused.value.reason == reason


def test_long_lists_of_one_kind_are_taken() -> None:
    for items in (list(map(str, range(3000))), list(range(3000))):
        assert parse_format({"enum": items})


def test_a_text_in_another_charset_is_decoded_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other thread runs while a codec works."""
    text = "描述这张图片。" * 5000
    longest: list[int] = []
    find = codecs.getincrementaldecoder

    class Watched:
        def __init__(self, name: str) -> None:
            self._decoder = find(name)()

        def decode(self, raw: bytes, *, final: bool) -> str:
            longest.append(len(raw))
            return self._decoder.decode(raw, final)

    def watched(name: str) -> Callable[[], Watched]:
        return lambda: Watched(name)

    monkeypatch.setattr(charset, "_STEP", 1000)
    monkeypatch.setattr(codecs, "getincrementaldecoder", watched)
    for name in ("gbk", "gb18030", "hz", "utf-16", "utf-16-le", "utf-32", "utf-8"):
        raw = text.encode(name)
        assert charset.decode(raw, name, "it") == text
        assert charset.as_utf8(raw, name).decode() == text
    assert 0 < max(longest) <= 1000


def test_a_long_text_is_no_size() -> None:
    for value in (" " * 100_000, "1" * 100_000, " " * 100_000 + "672x672"):
        assert bodies._size(value) is value
    assert bodies._size(" 672 x 672 ") == [672, 672]


def test_a_form_with_a_long_type_is_refused_unread(demo: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "_Parts", None)
    kind = "multipart/form-data; boundary=x" + ";" * 60_000
    refused = demo.post("/ask", content=b"--x--\r\n", headers={"Content-Type": kind})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_body")


@pytest.mark.parametrize("path", ["/sessions", "/sessions/{}", "/sessions?q=x", "/votes"])
async def test_a_long_answer_is_written_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    served = await serve(ScriptedEngine())
    session = await served.session(title="x", system=LONG)
    for _ in range(300):
        await served.session(title="x" * 200)
    candidate = {"model": "m", "engine": "e", "answer": "x" * 20_000}
    for _ in range(2):
        await served.client.post("/votes", json={"prompt": LONG, "best": None, "candidates": [candidate] * 4})
    beside: list[bool] = []

    def pieces(value: Any) -> Iterator[bytes]:
        for piece in json_pieces(value):
            beside.append(threading.current_thread() is not threading.main_thread())
            yield piece

    monkeypatch.setattr(response, "json_pieces", pieces)
    answered = await served.client.get(path.format(session))
    assert len(answered.content) > PIECE
    assert answered.json()
    assert beside[:1] == [False]
    assert len(beside) > 1
    assert all(beside[1:])


@pytest.mark.parametrize("kind", ["json", "zip", "html", "markdown"])
async def test_an_export_is_written_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    served = await serve(ScriptedEngine())
    session = await served.session(title="x", system=LONG)
    beside: list[bool] = []

    def watched(text: str) -> str:
        beside.append(threading.current_thread() is not threading.main_thread())
        return text

    def head(session: Session) -> Iterator[bytes]:
        watched("")
        yield from written_head(session)

    written_head = archive._head
    monkeypatch.setattr(archive, "_head", head)
    monkeypatch.setattr(transcript, "_quoted", watched)
    monkeypatch.setattr(transcript, "_paragraph", watched)
    exported = await served.client.get(f"/sessions/{session}/export?format={kind}")
    assert exported.status_code == 200
    assert beside
    assert all(beside)
