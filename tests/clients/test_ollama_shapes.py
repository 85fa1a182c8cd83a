"""The same calls to a real Ollama and to the gateway: status, content type, fields, their order and their types are the same.

Every difference that is meant is in `ALLOWED`, with its reason, and in docs/compatibility.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.settings import Settings
from tests.clients.conftest import soon
from tests.ollama_server import RealOllama
from tests.sample_images import encoded, shape
from tests.serving import served_in_thread

RED = base64.b64encode(encoded(shape("circle", "red"))).decode()
ASKED = [{"role": "user", "content": "What color is the circle?", "images": [RED]}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CHAT, GENERATE = {"model": "demo", "messages": ASKED}, {"model": "demo", "prompt": "What color is the circle?", "images": [RED]}
SHORT = {"num_predict": 3}
EVERYTHING = ("status", "type", "shape")

# name: (method, path, body)
CALLS: dict[str, tuple[str, str, Any]] = {
    "root": ("GET", "/", None),
    "version": ("GET", "/api/version", None),
    "tags": ("GET", "/api/tags", None),
    "show": ("POST", "/api/show", {"model": "demo"}),
    "show by name": ("POST", "/api/show", {"name": "Demo:latest", "verbose": True}),
    "show none": ("POST", "/api/show", {"model": "nope"}),
    "show nothing": ("POST", "/api/show", {}),
    "chat": ("POST", "/api/chat", {**CHAT, "options": SHORT}),
    "chat, whole": ("POST", "/api/chat", {**CHAT, "stream": False}),
    "chat, upper case": ("POST", "/api/chat", {**CHAT, "model": "DEMO:latest", "options": SHORT}),
    "chat, text": ("POST", "/api/chat", {"model": "demo", "messages": [{"role": "User", "content": "Hi"}], "options": SHORT, "tools": []}),
    "chat, nulls": ("POST", "/api/chat", {**CHAT, "options": None, "format": None, "keep_alive": None, "tools": None, "stream": False}),
    "chat, schema": ("POST", "/api/chat", {**CHAT, "format": SCHEMA, "options": {"num_predict": 60}}),
    "chat, logprobs": ("POST", "/api/chat", {**CHAT, "logprobs": True, "top_logprobs": 2, "options": SHORT, "stream": False}),
    "chat, stream of logprobs": ("POST", "/api/chat", {**CHAT, "logprobs": True, "top_logprobs": 2, "options": SHORT}),
    "chat, unknown option": ("POST", "/api/chat", {**CHAT, "options": {"num_predict": 3, "mirostat_tau": 5}}),
    "chat, load": ("POST", "/api/chat", {"model": "demo", "messages": []}),
    "ps": ("GET", "/api/ps", None),
    "chat, unload": ("POST", "/api/chat", {"model": "demo", "messages": [], "keep_alive": 0}),
    "ps of nothing": ("GET", "/api/ps", None),
    "chat, no model": ("POST", "/api/chat", {"messages": ASKED}),
    "chat, missing model": ("POST", "/api/chat", {**CHAT, "model": "nope"}),
    "chat, bad image": ("POST", "/api/chat", {"model": "demo", "messages": [{"role": "user", "content": "?", "images": ["AAAA"]}]}),
    "chat, no base64": ("POST", "/api/chat", {"model": "demo", "messages": [{"role": "user", "content": "?", "images": ["!"]}]}),
    "chat, tools": ("POST", "/api/chat", {**CHAT, "tools": [TOOL]}),
    "chat, keep_alive": ("POST", "/api/chat", {**CHAT, "keep_alive": "soon"}),
    "chat, too long": ("POST", "/api/chat", {"model": "demo", "messages": [{"role": "user", "content": "a " * 9000, "images": [RED]}]}),
    "chat, thinking": ("POST", "/api/chat", {**CHAT, "think": True, "options": SHORT}),
    "chat, no JSON": ("POST", "/api/chat", "{"),
    "chat, data URL": ("POST", "/api/chat", {"model": "demo", "messages": [{**ASKED[0], "images": [f"data:image/png;base64,{RED}"]}]}),
    "chat, wrong option": ("POST", "/api/chat", {**CHAT, "options": {"temperature": "hot"}}),
    "chat, typical_p": ("POST", "/api/chat", {**CHAT, "options": {"typical_p": 0.5}}),
    "chat, wrong format": ("POST", "/api/chat", {**CHAT, "format": "xml"}),
    "chat, unknown role": ("POST", "/api/chat", {"model": "demo", "messages": [{"role": "wizard", "content": "Hi"}], "options": SHORT}),
    "generate": ("POST", "/api/generate", {**GENERATE, "options": SHORT}),
    "generate, whole": ("POST", "/api/generate", {**GENERATE, "stream": False}),
    "generate, as the command": ("POST", "/api/generate", {**GENERATE, "suffix": "", "system": "", "template": "", "options": None}),
    "generate, logprobs": ("POST", "/api/generate", {**GENERATE, "logprobs": True, "options": SHORT, "stream": False}),
    "generate, raw": ("POST", "/api/generate", {"model": "demo", "prompt": "USER: Hi ASSISTANT:", "raw": True, "options": SHORT}),
    "generate, raw image": ("POST", "/api/generate", {**GENERATE, "prompt": "USER: [img-0] Hi ASSISTANT:", "raw": True, "stream": False}),
    "generate, raw with template": ("POST", "/api/generate", {**GENERATE, "raw": True, "template": "{{ .Prompt }}"}),
    "generate, template": ("POST", "/api/generate", {"model": "demo", "prompt": "Hi", "template": "{{ .Prompt }}", "options": SHORT}),
    "generate, suffix": ("POST", "/api/generate", {"model": "demo", "prompt": "def f():", "suffix": "return x"}),
    "generate, load": ("POST", "/api/generate", {"model": "demo"}),
    "generate, unload": ("POST", "/api/generate", {"model": "demo", "keep_alive": "0s"}),
    "generate, missing model": ("POST", "/api/generate", {**GENERATE, "model": "nope"}),
    "generate, no model": ("POST", "/api/generate", {"prompt": "Hi"}),
    "embed": ("POST", "/api/embed", {"model": "demo", "input": "Hi"}),
    "embed nothing": ("POST", "/api/embed", {"model": "demo", "input": []}),
    "embed, missing model": ("POST", "/api/embed", {"model": "nope", "input": "Hi"}),
    "embeddings": ("POST", "/api/embeddings", {"model": "demo", "prompt": "Hi"}),
    "copy": ("POST", "/api/copy", {"source": "demo", "destination": "shapes"}),
    "create": ("POST", "/api/create", {"model": "shapes", "from": "demo", "system": "Be kind."}),
    "create, whole": ("POST", "/api/create", {"model": "shapes", "from": "demo", "stream": False}),
    "create from nothing": ("POST", "/api/create", {"model": "shapes"}),
    "delete": ("DELETE", "/api/delete", {"model": "shapes"}),
    "delete none": ("DELETE", "/api/delete", {"model": "shapes"}),
    "copy none": ("POST", "/api/copy", {"source": "shapes", "destination": "other"}),
    "blob": ("HEAD", f"/api/blobs/sha256:{'0' * 64}", None),
    "blob of another digest": ("POST", f"/api/blobs/sha256:{'0' * 64}", {}),
    "blob without a digest": ("POST", "/api/blobs/abc", {}),
    "pull nothing": ("POST", "/api/pull", {}),
    "pull": ("POST", "/api/pull", {"model": "a b"}),
    "push nothing": ("POST", "/api/push", {}),
    "unknown route": ("GET", "/api/nope", None),
    "wrong method": ("GET", "/api/chat", None),
}
# name: (what may differ, why)
ALLOWED: dict[str, tuple[tuple[str, ...], str]] = {
    "generate, template": (("shape",), "no `context`, because the conversation is the client's own"),
    "chat, data URL": (EVERYTHING, "data: URLs are accepted"),
    "chat, thinking": (EVERYTHING, "a model that can't think answers without it, with a warning"),
    "chat, unknown role": (EVERYTHING, "a message would be ignored in silence, so it is rejected"),
    "chat, wrong option": (("status",), "400 instead of 500: it is a fault of the request"),
    "chat, wrong format": (("status",), "400 instead of 500: it is a fault of the request"),
    "generate, no model": (("status",), "400 as in /api/chat, instead of 404"),
    "embed": (("status",), "400 instead of 501: the model is no embedding model"),
    "embeddings": (("status",), "400 instead of 500: the model is no embedding model"),
    "push nothing": (("status",), "403: the gateway publishes no models"),
    "unknown route": (("type", "shape"), "a JSON error, like all others, instead of plain text"),
    "wrong method": (("type", "shape"), "a JSON error, like all others, instead of plain text"),
}
OURS_ONLY = {"llava_gateway"}
"""Fields that only we have: in bodies that are not streamed."""


def shape_of(value: Any) -> Any:
    """Return the fields of a JSON value in their order, with the types of their values."""
    match value:
        case dict():
            return [(name, shape_of(inner)) for name, inner in value.items() if name not in OURS_ONLY]
        case list():
            shapes = [shape_of(inner) for inner in value]
            return ["list", *(one for index, one in enumerate(shapes) if one not in shapes[:index])]
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "text"


def seen(response: httpx2.Response) -> dict[str, Any]:
    """Return what a client sees of a response. Lines that look alike are seen once."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    shape: Any = response.text
    if kind == "application/x-ndjson":
        shapes = [shape_of(json.loads(line)) for line in response.text.splitlines()]
        shape = [one for index, one in enumerate(shapes) if one not in shapes[:index]]
    elif kind == "application/json" and response.content:
        shape = shape_of(response.json())
    return {"status": response.status_code, "type": kind, "shape": shape}


@pytest.fixture(scope="module")
def both(real_ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Make every call to both, one after the other; the Ollama is one that nobody else uses."""
    server = RealOllama.start(real_ollama.binary, tmp_path_factory.mktemp("shapes"), models=real_ollama.models)
    try:
        with served_in_thread(Settings(port=0, engine="ollama", ollama_host=server.url, image_workers=1)) as url:
            yield _called(server.url, url)
    finally:
        server.stop()


def _called(*urls: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CALLS}
    for url in urls:
        with httpx2.Client(base_url=url, timeout=120, trust_env=False) as client:
            for name, (method, path, body) in CALLS.items():
                content = body if isinstance(body, str) else None if body is None else json.dumps(body)
                if name == "ps of nothing":
                    assert soon(lambda: not client.get("/api/ps").json()["models"])
                found[name].append(seen(client.request(method, path, content=content)))
    return found


@pytest.mark.parametrize("name", CALLS)
def test_ollama_and_the_gateway_look_alike(both: dict[str, list[dict[str, Any]]], name: str) -> None:
    ollama, ours = both[name]
    may_differ, _ = ALLOWED.get(name, ((), ""))
    for what in EVERYTHING:
        if what not in may_differ:
            assert ours[what] == ollama[what], what
    if may_differ:
        assert ours != ollama, "this difference is gone"


def test_every_difference_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text("utf-8")
    assert set(ALLOWED) <= set(CALLS)
    assert [why for _, why in ALLOWED.values() if why not in page] == []
