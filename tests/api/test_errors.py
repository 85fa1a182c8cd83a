"""The one error body: its members, its headers, and no secrets in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway import errors
from llava_gateway.api.errors import error_body, error_headers, field_of
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.errors import GatewayError, Place
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.engines.fake_upstream import Exchange, fake_upstream
from tests.scripted_engine import ScriptedEngine
from tests.serving import serving

MEMBERS = ["type", "title", "status", "detail", "instance", "error", "retryable"]
SECRETS = re.compile(
    r"(/(etc|home|root|usr|tmp|work|var)/|[A-Z]:\\|\b\d{1,3}(\.\d{1,3}){3}\b|localhost|Traceback|\.py\b|\.gguf\b|0x[0-9a-f]{6,})"
)


def kinds(of: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    subclasses = [sub for sub in of.__subclasses__() if sub.__module__ == errors.__name__]
    return [of] + [kind for sub in subclasses for kind in kinds(sub)]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_has_a_body_for_both_kinds_of_clients(kind: type[GatewayError]) -> None:
    error = kind()
    body = error_body(error, "req_1")
    assert list(body) == MEMBERS
    assert (body["status"], body["detail"], body["instance"]) == (error.status, body["error"]["message"], "req_1")
    assert list(body["error"]) == ["message", "type", "code", "reason", "param", "hint", "values"]
    assert body["type"].endswith(body["error"]["code"])
    assert body["error"]["hint"]
    assert 400 <= error.status < 600
    assert ("Retry-After" in error_headers(error)) == (error.status == 503)
    json.dumps(body)


def test_codes_are_stable_and_each_class_has_its_own() -> None:
    codes = [kind.code for kind in kinds()]
    assert len(codes) == len(set(codes))


def drawn(of: type[GatewayError] = GatewayError, before: str = "    ") -> list[str]:
    lines = []
    *_, last = subclasses = [kind for kind in kinds(of) if kind.__base__ is of] or [of]
    for kind in subclasses if last is not of else []:
        lines.append(f"{before}+- {kind.__name__:<{30 - len(before)}}{kind.status}")
        lines += drawn(kind, before + ("   " if kind is last else "|  "))
    return lines


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    assert errors.__doc__
    assert [line for line in errors.__doc__.splitlines() if "+- " in line] == drawn()


def test_figures_stand_beside_the_code() -> None:
    error = errors.ContextLengthExceeded(values={"n_prompt_tokens": 9, "n_ctx": 8})
    assert error_body(error, "req_1")["error"]["values"] == {"n_prompt_tokens": 9, "n_ctx": 8}


REFUSALS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/nowhere", {}, 404, "not_found"),
    ("GET", "/static/nothing.js", {}, 404, "not_found"),
    ("PUT", "/ask", {}, 405, "method_not_allowed"),
    ("GET", "/ask", {}, 405, "method_not_allowed"),
    ("POST", "/ask", {"content": b"x"}, 415, "unsupported_media_type"),
    ("POST", "/ask", {"json": {"prompt": 5}}, 422, "invalid_request"),
    ("POST", "/ask", {"json": {"oops": 5}}, 422, "unknown_field"),
    ("POST", "/ask", {"json": {"prompt": "Hi", "model": "../../etc/passwd"}}, 404, "model_not_found"),
    ("POST", "/ask", {"json": {"prompt": "Hi", "session_id": "x"}}, 404, "session_not_found"),
    ("POST", "/ask", {"json": {"images": [{"image_id": "a" * 64}]}}, 404, "image_file_not_found"),
    ("POST", "/ask", {"json": {"images": ["aGVsbG8="]}}, 415, "unsupported_image_media_type"),
    ("POST", "/ask", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "invalid_json"),
    ("GET", "/models", {"headers": {"Host": "evil"}}, 403, "host_not_allowed"),
    ("GET", "/models", {"headers": {"Origin": "http://evil"}}, 403, "origin_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "request_", "status", "code"), REFUSALS)
def test_every_refusal_is_told_in_the_same_form(
    demo: httpx2.Client, method: str, path: str, request_: dict[str, Any], status: int, code: str
) -> None:
    response = demo.request(method, path, **request_)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body = response.json()
    assert list(body) == MEMBERS
    # It may repeat the client's own input and our own default address.
    assert (body["status"], body["error"]["code"]) == (status, code)
    assert body["instance"] == response.headers["x-request-id"]
    assert not SECRETS.search(response.text.replace("../../etc/passwd", "").replace("Use http://127.0.0.1", ""))


def test_a_wrong_method_says_which_are_right(demo: httpx2.Client) -> None:
    assert demo.put("/ask").headers["allow"] == "POST"


async def test_retry_after_is_on_every_503(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    for error in (errors.UpstreamUnavailable(), errors.Overloaded(retry_after=4.2), errors.ShuttingDown()):
        engine.refusal = error
        response = await served.ask()
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) == (5 if error.retry_after == 4.2 else 2)


LEAKY = "open /root/.ollama/models/blobs/sha256-1: dial tcp 10.1.2.3:11434: /usr/lib/ollama/llama-server 0x7f3a5c exit"
UPSTREAM: dict[str, tuple[int, str, bytes, int, str]] = {
    "no memory": (500, "application/json", b'{"error":"model requires more system memory (9 GiB) %s"}', 502, "model_out_of_memory"),
    "a crash": (500, "application/json", b'{"error":"llama runner process has terminated: %s"}', 502, "model_load_failed"),
    "whatever": (500, "application/json", b'{"error":"%s"}', 502, "upstream_error"),
    "gone": (404, "application/json", b'{"error":"model not found %s"}', 404, "model_not_found"),
    "busy": (503, "application/json", b'{"error":"server busy %s"}', 503, "overloaded"),
    "a page": (200, "text/html", b"<html>%s</html>", 502, "upstream_protocol_error"),
    "an error line": (200, "application/x-ndjson", b'{"error":"%s"}\n', 502, "upstream_error"),
    "no JSON": (200, "application/x-ndjson", b"%s\n", 502, "upstream_protocol_error"),
    "no end": (200, "application/x-ndjson", b"", 502, "upstream_incomplete"),
    "a redirect": (302, "text/plain", b"", 502, "upstream_protocol_error"),
}


@pytest.mark.parametrize("name", UPSTREAM)
async def test_what_the_engine_says_never_reaches_the_client(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real Ollama engine, with a server whose errors contain private details."""
    status, kind, body, seen, code = UPSTREAM[name]
    monkeypatch.setattr("llava_gateway.engines.ollama.BUSY_PAUSE", (0, 0))

    async def script(exchange: Exchange) -> None:
        replies: dict[str, Any] = {
            "/api/version": {"version": "0.34.2"},
            "/api/tags": {"models": [{"name": "llava:7b", "digest": "1", "size": 1}]},
            "/api/ps": {"models": []},
            "/api/show": {"capabilities": ["completion", "vision"], "model_info": {}, "template": "{{ .Prompt }}"},
        }
        if (reply := replies.get(exchange.request.path)) is not None:
            await exchange.reply(200, reply)
        else:
            await exchange.reply(status, body.replace(b"%s", LEAKY.encode()), kind)

    async with fake_upstream(script) as upstream:
        settings = Settings(port=0, ollama_host=upstream.url)
        async with serving(settings, [OllamaEngine(settings)]) as served:
            for accept in ("application/json", "text/event-stream", "text/plain"):
                response = await served.client.post("/ask", json={"prompt": "Hi"}, headers={"Accept": accept})
                if response.status_code == 200:
                    assert accept == "text/event-stream"
                    assert response.text.count("event: error") == 1  # after `loading`
                    assert f'"code":"{code}"' in response.text
                else:
                    assert (response.status_code, response.json()["error"]["code"]) == (seen, code)
                assert not SECRETS.search(response.text)
            ready = await served.client.get("/readyz")
            assert not SECRETS.search(ready.text)


async def test_an_engine_that_is_nowhere_is_not_told_by_its_address() -> None:
    settings = Settings(port=0, engine="ollama", ollama_host="http://127.0.0.1:9")
    async with serving(settings) as served:
        for response in (await served.ask(), await served.client.get("/readyz"), await served.client.get("/models")):
            assert not SECRETS.search(response.text)
        assert (await served.ask()).json()["error"]["code"] == "upstream_unavailable"


def test_the_core_says_where_an_error_belongs_in_words_of_no_api() -> None:
    """`param` is how one API spells a field; the core uses only `at`."""
    source = Path(errors.__file__).parent
    core = [path for path in source.rglob("*.py") if path.relative_to(source).parts[0] not in ("api", "cli", "errors.py")]
    assert len(core) > 80
    assert [path.name for path in core if re.search(r"\bparam\b", path.read_text())] == []


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ((), None),
        (("model",), "model"),
        (("image",), "image"),
        (("image", 1), "images[1]"),
        (("image", "ab"), "images.ab"),
        (("turn",), "after"),
        (("turn_count",), "at"),
        (("member", "session.json"), "session.json"),
    ],
)
def test_each_part_of_a_request_has_its_name_in_our_api(place: Place, field: str | None) -> None:
    assert field_of(place) == field
