"""The description at /openapi.json: complete, true, and with working examples; the page at /docs needs no other server."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from llava_gateway.api.openapi import RED_CIRCLE

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def description(demo: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = demo.get("/openapi.json").json()
    return found


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            yield path, method, operation


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def resolved(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """Replace a reference by the schema itself."""
    found: dict[str, Any] = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def test_it_is_openapi_3_1(description: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", description["openapi"])
    assert description["info"]["title"]
    assert description["info"]["version"]
    identifiers = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(identifiers) == len(set(identifiers))


def test_every_route_of_the_issue_is_there_with_a_summary(description: dict[str, Any]) -> None:
    found = {(method, path) for path, method, _ in operations(description)}
    assert {
        ("post", "/ask"), ("post", "/analyze_image"), ("post", "/images"), ("get", "/images/{image_id}"), ("post", "/sessions"),
        ("get", "/sessions"), ("get", "/sessions/{session_id}"), ("patch", "/sessions/{session_id}"), ("delete", "/sessions/{session_id}"),
        ("post", "/sessions/{session_id}/turns"), ("post", "/sessions/{session_id}/fork"), ("get", "/models"),
        ("post", "/models"), ("post", "/models/pull"), ("delete", "/models/{name}"), ("get", "/models/examples"), ("get", "/setup"),
        ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"),
    } <= found  # fmt: skip
    for path, method, operation in operations(description):
        assert operation["summary"], (method, path)
        assert operation["responses"], (method, path)


def test_the_key_is_described_and_asked_for_where_it_is_needed(description: dict[str, Any]) -> None:
    assert description["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert description["security"] == [{"key": []}]
    open_routes = {path for path, _, operation in operations(description) if operation.get("security") == []}
    assert open_routes == {"/healthz", "/readyz"}


def test_every_answer_has_a_named_schema(description: dict[str, Any]) -> None:
    for path, method, operation in operations(description):
        for status, response in operation["responses"].items():
            for kind, content in response.get("content", {}).items():
                schema = content["schema"]
                assert "$ref" in schema or schema["type"] == "string", (method, path, status, kind)


def test_references_lead_somewhere_and_parameters_are_declared(description: dict[str, Any]) -> None:
    for node in walk(description):
        if isinstance(reference := node.get("$ref"), str):
            target: Any = description
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]
    for path, _, operation in operations(description):
        declared = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_schemas_are_of_known_types(description: dict[str, Any]) -> None:
    for _, _, operation in operations(description):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = resolved(content["schema"], description)
            assert schema["type"] == "object"
            assert set(schema.get("required", ())) <= set(schema["properties"])
            for node in walk(schema["properties"]):
                if isinstance(node.get("type"), str) and "properties" not in node.get("type", ""):
                    assert node["type"] in {"string", "integer", "number", "boolean", "array", "object", "null"}


def test_errors_are_described_as_they_come(demo: httpx2.Client, description: dict[str, Any]) -> None:
    """FastAPI would describe its own error body for every route with a parameter."""
    assert "HTTPValidationError" not in str(description)
    body = demo.get("/nowhere").json()
    for path, method, operation in operations(description):
        schema = resolved(operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"], description)
        assert set(body) == set(schema["properties"]) == set(schema["required"]), (method, path)
        assert set(body["error"]) == set(resolved(schema["properties"]["error"], description)["properties"])


def test_the_examples_work_when_they_are_sent(demo: httpx2.Client, description: dict[str, Any]) -> None:
    session_id = demo.post("/sessions", json={}).json()["id"]
    demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello"})
    image_id = demo.post("/images", files={"image": base64.b64decode(RED_CIRCLE)}).json()["id"]
    sent = 0
    for path, method, operation in operations(description):
        if path.startswith("/models"):  # these need an Ollama and the internet
            continue
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in content.get("examples", {}).items():
            if path.endswith("/continue"):  # which needs an answer that was cut off
                demo.post(f"/sessions/{session_id}/turns", json={"prompt": "Hello", "num_predict": 2})
            response = demo.request(method, path.format(session_id=session_id, image_id=image_id), json=example["value"])
            assert response.status_code in (200, 201), (path, name, response.text)
            if path == "/ask" and "images" in example["value"]:
                assert response.json()["message"]["content"] == "A red circle on a white background."
            sent += 1
    assert sent >= 6


def test_the_example_answer_has_the_members_of_a_real_one(demo: httpx2.Client, description: dict[str, Any], red_circle: bytes) -> None:
    content = description["paths"]["/ask"]["post"]["responses"]["200"]["content"]
    real = demo.post("/ask", files={"image": red_circle}).json()
    example = content["application/json"]["example"]
    assert list(example) == list(real)
    for member in ("message", "usage", "timings"):
        assert set(example[member]) == set(real[member])
    assert set(example["images"][0]) == set(real["images"][0])
    assert {"text/event-stream", "text/plain"} <= set(content)


def test_the_documentation_page_loads_nothing_from_elsewhere(demo: httpx2.Client) -> None:
    page = demo.get("/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 4
    for link in links:
        assert not re.match(r"[a-z]+:|//", link)
        assert demo.get(f"/{link}").status_code == 200, link
    assert "<script>" not in page.text
    assert "'unsafe-inline'" not in re.search(r"script-src[^;]*", page.headers["content-security-policy"])[0]  # type: ignore[index]
    own = demo.get("/static/docs/docs.js").text
    assert not re.search(r"https?://", own)
    assert "validatorUrl: null" in own
