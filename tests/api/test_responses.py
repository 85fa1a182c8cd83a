"""Every route answers as /openapi.json describes: no missing member, no extra one, and the right types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import ValidationError

from llava_gateway.settings import Settings
from tests.api.described import Described
from tests.ollama_server import RealOllama
from tests.serving import served_in_thread

EVENTS = {"Accept": "text/event-stream"}
OF_OLLAMA = {("post", "/models"), ("post", "/models/pull"), ("delete", "/models/{name}")}
ENDLESS = {("get", "/events")}
"""Described in test_events.py: its response has no end."""


@pytest.fixture(scope="module")
def described(demo_url: str) -> Described:
    return Described(httpx2.get(f"{demo_url}/openapi.json", trust_env=False).json())


@pytest.fixture(scope="module")
def client(demo_url: str, described: Described) -> Iterator[httpx2.Client]:
    """Create a client of the demo that raises an error for every response that is not described."""
    with httpx2.Client(base_url=demo_url, timeout=30, trust_env=False, event_hooks={"response": [described]}) as client:
        yield client


def test_every_route_answers_as_described(client: httpx2.Client, described: Described, red_circle: bytes) -> None:
    image_id = client.post("/images", files={"image": red_circle}).json()["id"]
    client.get(f"/images/{image_id}")
    client.get(f"/images/{image_id}/view")
    client.get(f"/images/{image_id}/view?format=json")
    client.post(f"/images/{image_id}/rotate?by=90")
    client.post(f"/images/{image_id}/read_ahead")
    client.post(f"/images/{image_id}/read_ahead?wait=false")

    client.post("/ask", files={"image": red_circle}, data={"detail": "high", "num_visual_tokens": "9999"})
    client.post("/ask", json={"prompt": "Hello", "options": {"num_predict": 1}})
    client.post("/ask", json={"prompt": "Hello"}, headers={"Accept": "text/plain"})
    client.post("/documents", files={"image": red_circle})
    client.post("/analyze_image", files={"image": red_circle}, data={"question": "What is this?"})
    client.post("/read_ahead", json={"images": [{"image_id": image_id}]})
    client.post("/count_tokens", json={"prompt": "Hello"})

    session = client.post("/sessions", json={"title": "Shapes", "system": "Be brief.", "policy": "pin_images"}).json()["id"]
    client.post(f"/sessions/{session}/turns", json={"prompt": "What is this?", "images": [{"image_id": image_id, "detail": "low"}]})
    client.post(f"/sessions/{session}/turns", files={"image": red_circle}, data={"prompt": "And this?"})
    client.post(f"/sessions/{session}/turns", json={"prompt": "What is this?", "num_predict": 3})
    client.post(f"/sessions/{session}/continue")
    client.post(f"/sessions/{session}/read_ahead", json={"prompt": "Hello"})
    client.post("/count_tokens", json={"prompt": "Hello", "session_id": session, "images": [{"image_id": image_id}]})
    client.patch(f"/sessions/{session}", json={"images": {image_id: {"pinned": True}}, "glossary": ["SKU: stock number"], "format": "json"})
    client.get(f"/sessions/{session}")
    client.get(f"/sessions/{session}/events")
    client.post(f"/sessions/{session}/cancel")
    client.get("/sessions")
    client.get("/sessions?q=shapes")
    client.post(f"/sessions/{session}/fork", json={"at": 1})
    for form in ("html", "markdown", "zip"):
        client.get(f"/sessions/{session}/export?format={form}")
    exported = client.get(f"/sessions/{session}/export?format=json")
    client.post("/sessions/import", content=exported.content, headers={"Content-Type": "application/json"})
    client.delete(f"/sessions/{session}")
    client.get("/sessions?deleted=true")
    client.post(f"/sessions/{session}/restore")
    client.get("/sessions/export")
    client.delete("/sessions")

    candidates = [{"model": name, "engine": "embedded", "answer": "A circle."} for name in ("demo", "other")]
    client.post("/votes", json={"prompt": "What is this?", "images": [image_id], "candidates": candidates, "best": 0})
    client.get("/votes")
    client.delete("/votes")
    for path in ("/models", "/models/examples", "/setup", "/options", "/healthz", "/readyz", "/metrics"):
        client.get(path)

    good = {(method, path) for method, path, status in described.seen if status < 300}
    assert described.operations - good == OF_OLLAMA | ENDLESS


def test_what_a_client_has_already_is_described(client: httpx2.Client, described: Described, red_circle: bytes) -> None:
    image_id = client.post("/images", files={"image": red_circle}).json()["id"]
    session = client.post("/sessions", json={}).json()["id"]
    for path in (f"/images/{image_id}", f"/images/{image_id}/view", f"/sessions/{session}", "/sessions"):
        tag = client.get(path).headers["ETag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_a_gateway_without_engines_answers_as_described() -> None:
    settings = Settings(port=0, engine="ollama", ollama_host="http://127.0.0.1:9")
    with served_in_thread(settings) as url, httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        described = Described(client.get("/openapi.json").json())
        client.event_hooks = {"response": [described]}
        statuses = [client.get(path).status_code for path in ("/readyz", "/setup", "/models", "/healthz")]
        statuses.append(client.post("/ask", json={"prompt": "Hi"}).status_code)
    assert statuses == [503, 200, 200, 200, 503]


def test_the_media_types_are_those_that_are_sent(client: httpx2.Client, described: Described) -> None:
    (kind,) = described.description["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert kind == client.get("/metrics").headers["Content-Type"]
    exports = described.description["paths"]["/sessions/{session_id}/export"]["get"]["responses"]["200"]["content"]
    assert exports["application/json"]["schema"] == {"$ref": "#/components/schemas/ArchiveBody"}


def test_events_come_as_described(client: httpx2.Client, described: Described, red_circle: bytes) -> None:
    client.post("/ask", files={"image": red_circle}, headers=EVENTS)
    client.post("/ask", files={"image": red_circle}, data={"prompt": "Hello"}, headers=EVENTS)
    assert {("/ask", "delta"), ("/ask", "done")} <= described.events


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("POST", "/ask", {"json": {"prompt": "Hi", "model": "nowhere"}}),
        ("POST", "/ask", {"json": {"prompt": "Hi", "options": {"top_k": -1}}}),
        ("POST", "/ask", {"json": {"prompt": "word " * 9000, "policy": "strict"}}),
        ("POST", "/images", {"files": {"image": b"\xff\xd8\xff"}}),
        ("GET", "/sessions/nowhere", {}),
        ("GET", "/models", {"headers": {"Host": "evil.example"}}),
        ("DELETE", "/models/demo", {}),
    ],
)
def test_errors_come_as_described(client: httpx2.Client, method: str, path: str, what: dict[str, Any]) -> None:
    assert client.request(method, path, **what).status_code >= 400


def test_models_come_and_go_as_described(real_ollama: RealOllama) -> None:
    settings = Settings(port=0, engine="ollama", ollama_host=real_ollama.url)
    with served_in_thread(settings) as url, httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        described = Described(client.get("/openapi.json").json())
        client.event_hooks = {"response": [described]}
        for model, headers in (("brief", {}), ("brief-events", EVENTS)):
            client.post("/models", json={"model": model, "modelfile": "FROM demo\nSYSTEM Be brief.\n"}, headers=headers)
            client.get("/models")
            client.delete(f"/models/{model}")
        client.get("/setup")
        client.get("/readyz")
        client.post("/ask", json={"prompt": "Hello"}, headers=EVENTS)
    assert {("/models", "progress"), ("/models", "done")} <= described.events
    assert {("post", "/models", 200), ("delete", "/models/{name}", 204)} <= described.seen


@pytest.mark.parametrize(
    "wrong", [{"event": "delta", "data": {"text": "x", "more": 1}}, {"event": "delta", "data": {}}, {"event": "word", "data": {}}]
)
def test_what_is_not_described_is_noticed(described: Described, wrong: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/AnswerEvent"}
    described.validate({"event": "delta", "data": {"text": "x"}}, schema)
    with pytest.raises(ValidationError):
        described.validate(wrong, schema)
