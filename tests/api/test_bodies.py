"""Bodies that are wrong, hostile, too large or never arrive: each gets its own error, and never a 500."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.api.conftest import Serve
from tests.clock import time_passes
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, until

JSON = {"Content-Type": "application/json"}
SESSION = "0" * 32
# Routes that take JSON; the session in the path does not exist, and for a valid body that is a correct answer too.
DOORS = [("POST", "/ask"), ("POST", "/sessions"), ("PATCH", f"/sessions/{SESSION}"), ("POST", f"/sessions/{SESSION}/fork")]

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "a cut object": b'{"prompt":',
    "a comma too many": b'{"prompt":"Hi",}',
    "single quotes": b"{'prompt':'Hi'}",
    "two values": b'{"prompt":"Hi"}{}',
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"prompt":"Hi"}',
    "UTF-16": '{"prompt":"Hi"}'.encode("utf-16"),
    "Latin-1": b'{"prompt":"\xe9"}',
    "an overlong encoding": b'{"prompt":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"prompt":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"prompt":"\\ud800"}',
    "a lone surrogate as a key": b'{"\\udc00":1}',
    "a NUL": b'{"prompt":"a\\u0000b"}',
    "a raw NUL": b'{"prompt":"a\x00b"}',
    "a NUL deep inside": b'{"prompt":"Hi","format":{"a":[{"b":"\\u0000"}]}}',
    "NaN": b'{"prompt":"Hi","options":{"temperature":NaN}}',
    "Infinity": b'{"prompt":"Hi","options":{"temperature":-Infinity}}',
    "1e400": b'{"prompt":"Hi","options":{"temperature":1e400}}',
    "-1e400": b'{"prompt":"Hi","options":{"temperature":-1e400}}',
    "a number of 5,000 digits": b'{"prompt":"Hi","options":{"seed":' + b"9" * 5000 + b"}}",
    "duplicate keys": b'{"prompt":"Hi","prompt":"Ho"}',
    "duplicate keys deep inside": b'{"prompt":"Hi","options":{"seed":1,"seed":2}}',
    "100,000 arrays": b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"format":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "65 arrays": b'{"format":{"a":' + b"[" * 65 + b"]" * 65 + b"}}",
    "an open array": b"[" * 200_000,
    "a million values": b'{"prompt":"Hi","format":{"enum":[' + b"0," * 1_000_000 + b"0]}}",
    "an open text with a million commas behind it": b'["' + b'\\"' * 40_000 + b"," * 1_000_001,
    "a million texts": b'{"prompt":"Hi","format":{"enum":[' + b'"\\"[",' * 500_000 + b"0]}}",
}
WRONG: dict[str, Any] = {
    "an array": [],
    "a number": 5,
    "a string": "Hi",
    "null": None,
    "unknown field": {"prompt": "Hi", "api_base": "http://127.0.0.1"},
    "another unknown field": {"prompt": "Hi", "url_idx": 1},
    "empty key": {"": 1},
    "an option of another API": {"prompt": "Hi", "logit_bias": 1},
    "an unknown member of an image": {"images": [{"image_id": "0" * 64, "path": "/etc/passwd"}]},
    "a path for an id": {"images": [{"image_id": "../../etc/passwd"}]},
    "an image by address": {"images": [{"url": "http://127.0.0.1/"}]},
}
FIELDS = ["prompt", "images", "model", "options", "preset", "system", "format", "keep_alive", "session_id", "title", "at"]
FIELDS += ["detail", "image_size", "num_visual_tokens", "max_image_tokens", "region", "policy", "glossary", "ocr_text"]
FIELDS += ["stream", "image", "image_id", "question", "system_prompt", "max_tokens", "stop_sequences", "temperature", "messages"]
VALUES: list[Any] = [None, True, 0, -1, 1.5, "", "x", "𝄞" * 100, [], [[]], [None], {}, {"a": {}}, 10**30, -(10**30), "x" * 300]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_json_is_refused_at_every_door(demo: httpx2.Client, name: str) -> None:
    for method, path in DOORS:
        if not BROKEN[name] and path.endswith("/fork"):  # which needs no body
            continue
        response = demo.request(method, path, content=BROKEN[name], headers=JSON)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "invalid_json"), path
        assert error["hint"]
        assert len(response.content) < 1500


@pytest.mark.parametrize("name", WRONG)
def test_json_of_another_shape_is_refused(demo: httpx2.Client, name: str) -> None:
    for method, path in DOORS:
        response = demo.request(method, path, content=json.dumps(WRONG[name]), headers=JSON)
        assert response.status_code == 422, path


async def test_no_value_of_any_field_is_a_bug(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    for field, value in itertools.product(FIELDS, VALUES):
        for method, path, body in [("POST", "/ask", {"prompt": "Hi", field: value}), *((*door, {field: value}) for door in DOORS)]:
            response = await served.client.request(method, path, json=body)
            assert response.status_code in (200, 201, 400, 404, 413, 415, 422), (path, body, response.text)


def test_commas_and_brackets_in_a_text_are_no_values(demo: httpx2.Client) -> None:
    response = demo.post("/ask", json={"prompt": '[{,"\\' * 500_000})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "prompt")


def test_a_string_of_ten_megabytes_is_refused_quickly(demo: httpx2.Client) -> None:
    for field in ("prompt", "system"):
        response = demo.post("/ask", json={"prompt": "Hi", field: "x" * 10_000_000})
        assert (response.status_code, response.json()["error"]["param"]) == (422, field)
    response = demo.post("/ask", json={"images": ["A" * 30_000_000]})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "image_file_too_large")
    response = demo.post("/ask", json={"prompt": "Hi", "x" * 10_000_000: 1})
    assert response.status_code == 422
    assert len(response.content) < 1500


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"no parts at all"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--"),
        ("multipart/form-data; boundary=\xe9", b"--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nHi\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nHi'),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 100_000 + b"\r\n\r\nHi\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x; charset=idna", b'--x\r\nContent-Disposition: form-data; name=".."\r\n\r\na..b\r\n--x--\r\n'),
        ("multipart/form-data; boundary=x; charset=zlib", b'--x\r\nContent-Disposition: form-data; name="nothing"\r\n\r\nHi\r\n--x--\r\n'),
        ("multipart/form-data; boundary=x; charset=utf-16", b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nHi\r\n--x--\r\n'),
        ("multipart/form-data; boundary=x; charset=nonsense", b'--x\r\nContent-Disposition: form-data; name="no"\r\n\r\nHi\r\n--x--\r\n'),
    ],
)
def test_an_odd_form_is_refused(demo: httpx2.Client, kind: str, content: bytes) -> None:
    for path in ("/ask", "/images", "/analyze_image"):
        response = demo.post(path, content=content, headers=[(b"Content-Type", kind.encode("latin-1"))])
        assert response.status_code in (400, 413, 415, 422), response.text
        assert response.json()["error"]["code"] != "internal_error"


def test_a_form_of_many_parts_is_refused(demo: httpx2.Client) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nHi\r\n'
    response = demo.post("/ask", content=part * 10_000 + b"--x--\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert response.status_code == 400
    files = [("image", (f"{number}.png", b"x")) for number in range(100)]
    response = demo.post("/ask", files=files)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "too_many_images")


def test_a_giant_field_is_refused(demo: httpx2.Client) -> None:
    response = demo.post("/ask", files={"prompt": (None, "x" * 9_000_000)})
    assert response.status_code in (400, 413)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a\0b"}, None),
        ({"api_base": "http://127.0.0.1"}, "api_base"),
        ({"temperature": "hot"}, "options.temperature"),
        ({"temperature": "nan"}, "options.temperature"),
        ({"seed": "9" * 5000}, "options.seed"),
        ({"format": "[1]"}, "format"),
        ({"options": "5"}, "options"),
        ({"image_id": "../x"}, "images.0.ImageRef.image_id"),
        ({"keep_alive": "1" * 100_000}, "keep_alive"),
    ],
)
def test_odd_form_fields_are_named(demo: httpx2.Client, fields: dict[str, str], param: str | None) -> None:
    response = demo.post("/ask", files={"prompt": (None, "Hi"), **{name: (None, value) for name, value in fields.items()}})
    assert response.status_code in (400, 422)
    if param and not param.startswith("images"):
        assert response.json()["error"]["param"] == param


def test_a_format_that_is_no_json_is_refused(demo: httpx2.Client) -> None:
    response = demo.post("/ask", files={"prompt": (None, "Hi"), "format": (None, "{broken")})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_format")


async def test_a_body_over_the_limit_is_refused_by_its_length_and_by_counting(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), body_max_bytes=100_000)

    async def endless() -> Any:
        for _ in range(200):
            yield b"x" * 10_000

    for content in (b"x" * 100_001, endless()):
        response = await served.client.post("/ask", content=content, headers=JSON)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
        assert response.headers["connection"] == "close"
    assert (await served.ask()).status_code == 200


def test_curl_is_told_why_its_upload_is_too_large(demo_url: str, tmp_path: Path) -> None:
    photo = tmp_path / "large.jpg"
    with photo.open("wb") as file:
        file.truncate(140 * 1024 * 1024)
    done = subprocess.run(["curl", "-sS", "-F", f"image=@{photo}", f"{demo_url}/ask"], capture_output=True, check=False)
    assert json.loads(done.stdout)["error"]["code"] == "request_too_large"


def raw(port: int, *pieces: bytes, shut: bool = False) -> bytes:
    """Send these bytes. Returns the server's response up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def port_of(client: httpx2.Client) -> int:
    assert client.base_url.port
    return client.base_url.port


@pytest.mark.parametrize(
    "head",
    [
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nHello",
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /ask HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_broken_http_is_refused_and_the_connection_closed(demo: httpx2.Client, head: bytes) -> None:
    assert raw(port_of(demo), head).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ],
)
def test_no_host_or_two_are_refused(demo: httpx2.Client, head: bytes) -> None:
    assert raw(port_of(demo), head).startswith(b"HTTP/1.1 403 ")


async def test_headers_and_bodies_that_never_come_are_given_up(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), body_gap_timeout=0.1)
    halves = [
        b"",
        b"POST /ask HTTP/1.1\r\nHost: loc",
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
        b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 50\r\n\r\n--x",
    ]
    for answer in await asyncio.gather(*(asyncio.to_thread(raw, served.port, half) for half in halves)):
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


async def test_a_slow_body_may_take_its_time_while_something_comes(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), body_gap_timeout=10)

    async def drips() -> Any:
        for byte in b'{"prompt":"Hi"}':
            await time_passes(6)
            yield bytes([byte])

    assert (await served.client.post("/ask", content=drips(), headers=JSON)).status_code == 200


def is_asked(served: Served) -> bool:
    """Return whether the head of a request has arrived."""
    return any(isinstance(one, HttpToolsProtocol) and one.cycle is not None for one in served.server.server_state.connections)


async def test_who_leaves_in_the_middle_of_the_body_leaves_no_trace_of_a_bug(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(ScriptedEngine())
    caplog.set_level("INFO")
    for kind in (b"application/json", b"multipart/form-data; boundary=x"):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\nContent-Length: 5000\r\n\r\n--x\r\n" % kind
        writer.write(head)
        await writer.drain()
        await until(lambda: is_asked(served))
        writer.close()
        assert not await reader.read()
    assert (await served.ask()).status_code == 200
    assert "Traceback" not in caplog.text
    assert caplog.text.count("499 client_left") == 2


def test_an_image_in_base64_with_a_nul_is_no_bug(demo: httpx2.Client) -> None:
    response = demo.post("/ask", json={"images": [base64.b64encode(bytes(64)).decode()]})
    assert response.status_code == 415


def test_headers_without_an_end_are_refused(demo: httpx2.Client) -> None:
    endless = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000_000
    with socket.create_connection(("127.0.0.1", port_of(demo)), timeout=20) as connection:
        try:
            connection.sendall(endless)
            answer = connection.recv(1000)
        except ConnectionError:  # the server closed it while we were still sending
            answer = b"HTTP/1.1 431 "
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert demo.get("/healthz", headers={"X": "x" * 30_000}).status_code == 200
