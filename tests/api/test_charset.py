"""Texts that are not UTF-8: decoded by their charset, and rejected with a hint if none is named."""

from __future__ import annotations

import encodings
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.api.charset import charset_of, decode
from llava_gateway.errors import InvalidEncoding
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

ASKED = "描述这张图片。"
FORM = "multipart/form-data; boundary=x"


def part(name: str, value: bytes, kind: str = "", file: bytes | None = None) -> bytes:
    named = b'; filename="%b"' % file if file is not None else b""
    typed = f"Content-Type: {kind}\r\n".encode() if kind else b""
    return b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n%b\r\n%b\r\n' % (name.encode(), named, typed, value)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


async def heard(serve: Serve, content: bytes, kind: str) -> tuple[int, Any, str]:
    """Ask this question in a turn. Returns status, body, and the recorded prompt."""
    served = await serve(ScriptedEngine())
    session = (await served.client.post("/sessions", json={})).json()["id"]
    response = await served.client.post(f"/sessions/{session}/turns", content=content, headers={"Content-Type": kind})
    turns = (await served.client.get(f"/sessions/{session}")).json()["turns"]
    return response.status_code, response.json(), turns[0]["prompt"] if turns else ""


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (FORM, form(part("prompt", ASKED.encode("gbk"), "text/plain; charset=gbk"))),
        (FORM, form(part("prompt", ASKED.encode("gbk"), 'text/plain;charset="GB2312"'))),
        (FORM, form(part("prompt", ASKED.encode("utf-16"), "text/plain; charset=utf-16"))),
        (FORM, form(part("prompt", ASKED.encode(), "text/plain; charset=utf-8"))),
        (FORM, form(part("prompt", b"\xef\xbb\xbf" + ASKED.encode()))),
        (FORM, form(part("prompt", ASKED.encode("gbk")), part("_charset_", b"gbk"))),
        (FORM, form(part("_charset_", b"GBK"), part("prompt", ASKED.encode(), "text/plain; charset=utf-8"))),
        (f"{FORM}; charset=gb18030", form(part("prompt", ASKED.encode("gb18030")))),
        ("application/json; charset=gbk", json.dumps({"prompt": ASKED}, ensure_ascii=False).encode("gbk")),
        ("application/json; charset=utf-16", json.dumps({"prompt": ASKED}, ensure_ascii=False).encode("utf-16")),
        ("application/json; charset=UTF-8", json.dumps({"prompt": ASKED}, ensure_ascii=False).encode()),
        ("application/json", b"\xef\xbb\xbf" + json.dumps({"prompt": ASKED}, ensure_ascii=False).encode()),
    ],
)
async def test_a_question_is_read_in_the_charset_it_names(serve: Serve, kind: str, content: bytes) -> None:
    status, body, prompt = await heard(serve, content, kind)
    assert (status, prompt) == (200, ASKED), body


@pytest.mark.parametrize(
    ("kind", "content", "code", "param"),
    [
        (FORM, form(part("prompt", ASKED.encode("gbk"))), "invalid_encoding", "prompt"),
        (FORM, form(part("prompt", ASKED.encode("utf-16"))), "invalid_encoding", "prompt"),
        (FORM, form(part("system", b"caf\xe9"), part("prompt", b"Hi")), "invalid_encoding", "system"),
        (FORM, form(part("prompt", ASKED.encode("gbk"), "text/plain; charset=utf-8")), "invalid_encoding", "prompt"),
        (FORM, form(part("prompt", b"\xff\xff", "text/plain; charset=gbk")), "invalid_encoding", "prompt"),
        (FORM, form(part("prompt", b"Hi", "text/plain; charset=klingon")), "invalid_encoding", "prompt"),
        (FORM, form(part("prompt", b"Hi", "text/plain; charset=zlib")), "invalid_encoding", "prompt"),
        (FORM, form(part("prompt", b"Hi-", "text/plain; charset=punycode")), "invalid_encoding", "prompt"),
        (FORM, form(part("_charset_", b"nonsense"), part("prompt", b"Hi")), "invalid_encoding", None),
        ("application/json", json.dumps({"prompt": ASKED}, ensure_ascii=False).encode("gbk"), "invalid_json", None),
        ("application/json; charset=klingon", b'{"prompt": "Hi"}', "invalid_encoding", None),
        ("application/json; charset=big5", b'{"prompt": "\xff"}', "invalid_encoding", None),
    ],
)
async def test_what_is_neither_utf8_nor_as_named_is_refused(serve: Serve, kind: str, content: bytes, code: str, param: str | None) -> None:
    status, body, prompt = await heard(serve, content, kind)
    assert (status, body["error"]["code"], body["error"]["param"], prompt) == (400, code, param, "")


def test_curl_does_what_the_hint_says(demo_url: str, tmp_path: Path) -> None:
    """On a Chinese Windows, the arguments of curl.exe arrive as GBK, whatever chcp says."""

    def ask(field: bytes) -> Any:
        done = subprocess.run([b"curl", b"-sS", b"-F", field, f"{demo_url}/ask".encode()], capture_output=True, check=True)
        return json.loads(done.stdout)

    said = ask(b"prompt=" + "你好".encode("gbk"))["error"]
    assert (said["reason"], said["values"]) == ("charset_unnamed", {"what": "prompt"})
    assert "message" in ask(b"prompt=" + "你好".encode("gbk") + b";type=text/plain;charset=gbk")
    words = tmp_path / "prompt.txt"
    words.write_text("你好", "utf-8")
    assert "message" in ask(b"prompt=<" + bytes(words))


def test_the_name_of_a_file_may_be_in_any_encoding(demo: httpx2.Client, red_circle: bytes) -> None:
    content = form(part("image", red_circle, "image/png", "照片.png".encode("gbk")))
    for path in ("/ask", "/images"):
        assert demo.post(path, content=content, headers={"Content-Type": FORM}).status_code in (200, 201)


def test_fields_beside_an_image_are_read_alike(demo: httpx2.Client, red_circle: bytes) -> None:
    image = part("image", red_circle, "image/png", b"a.png")
    for path, name, status in (("/images", "model", 404), ("/analyze_image", "question", 200)):
        named = form(image, part(name, ASKED.encode("gbk"), "text/plain; charset=gbk"))
        assert demo.post(path, content=named, headers={"Content-Type": FORM}).status_code == status
        error = demo.post(path, content=form(image, part(name, ASKED.encode("gbk"))), headers={"Content-Type": FORM}).json()["error"]
        assert (error["code"], error["param"]) == ("invalid_encoding", name)


def test_a_query_in_another_encoding_is_refused(demo: httpx2.Client) -> None:
    """Otherwise the search would find nothing and report no error."""
    demo.post("/sessions", json={"title": "红色的圆"})
    assert demo.get("/sessions?q=%E7%BA%A2").json()["sessions"]
    assert demo.get("/sessions?q=%BA%EC").json()["error"]["code"] == "invalid_encoding"


def test_a_saved_chat_may_begin_with_a_byte_order_mark(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={"title": "Marked"}).json()["id"]
    saved = demo.get(f"/sessions/{session}/export?format=json").content
    response = demo.post("/sessions/import", content=b"\xef\xbb\xbf" + saved, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["title"]) == (201, "Marked")


def test_a_form_without_a_boundary_is_told_whose_it_is_to_set(demo: httpx2.Client) -> None:
    error = demo.post("/ask", content=b"--x", headers={"Content-Type": "multipart/form-data"}).json()["error"]
    assert error["code"] == "invalid_body"
    assert error["reason"] == "invalid_body_boundary"


def test_names_of_charsets_are_taken_as_windows_means_them() -> None:
    assert decode("€䶮".encode("gb18030"), "gb2312") == "€䶮"
    assert decode("①".encode("cp932"), "Shift_JIS") == "①"
    assert decode("“smart”".encode("cp1252"), "ISO-8859-1") == "“smart”"
    assert charset_of("text/plain") is None
    assert charset_of("text/plain; charset=\xe9") is None


def test_names_that_nobody_knows_are_not_remembered() -> None:
    """Python remembers every name that it looks up."""
    for name in ("x" * 10_000, "../etc", "nobody-knows-this"):
        with pytest.raises(InvalidEncoding) as refused:
            decode(b"", name)
        assert (refused.value.reason, refused.value.values) == ("charset_unknown", {"charset": name[:40]})
    assert "nobody_knows_this" not in encodings._cache


def test_texts_without_a_mark_have_their_lower_byte_first() -> None:
    for name in ("utf-16", "utf-32"):
        assert decode(ASKED.encode(f"{name}-le"), name, "it") == ASKED
        assert decode(ASKED.encode(name), name, "it") == ASKED


def test_a_text_that_is_cut_off_is_not_in_its_charset() -> None:
    for name, raw in (("gbk", ASKED.encode("gbk")[:-1]), ("utf-16", ASKED.encode("utf-16")[:-1]), (None, ASKED.encode()[:-1])):
        with pytest.raises(InvalidEncoding):
            decode(raw, name, "it")
