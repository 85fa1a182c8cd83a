"""Checks responses and events against /openapi.json: no missing members and no extra ones."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2
from jsonschema import Draft202012Validator


class Described:
    """The description of a service, and which of its operations have answered so far.

    As a response hook of a client it checks every response and raises ValidationError for anything that is not described.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.seen: set[tuple[str, str, int]] = set()
        self.events: set[tuple[str, str]] = set()
        self._components = {"schemas": {name: _closed(schema) for name, schema in description["components"]["schemas"].items()}}

    @property
    def operations(self) -> set[tuple[str, str]]:
        return {(method, path) for path, item in self.description["paths"].items() for method in item}

    def __call__(self, response: httpx2.Response) -> None:
        response.read()
        method, path = response.request.method.lower(), self._path(response)
        described = self.description["paths"][path][method]["responses"]
        status = str(response.status_code)
        found = described.get(status) or described[f"{status[0]}XX"]
        self.seen.add((method, path, response.status_code))
        if not response.content:
            assert not found.get("content"), (method, path, status)
            return
        kind = response.headers["content-type"]
        schema = found["content"][kind if kind in found["content"] else kind.removesuffix("; charset=utf-8")]["schema"]
        kind = kind.partition(";")[0]
        if kind == "text/event-stream":
            for name, data in events_in(response.text):
                self.events.add((path, name))
                self.validate({"event": name, "data": data}, schema)
        elif kind.endswith("json"):
            self.validate(response.json(), schema)
        else:
            assert schema["type"] == "string"

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        validator = Draft202012Validator({**schema, "components": self._components}, format_checker=Draft202012Validator.FORMAT_CHECKER)
        validator.validate(value)

    def _path(self, response: httpx2.Response) -> str:
        asked = str(response.request.url.path)
        plain: list[str] = [path for path in self.description["paths"] if path == asked]
        templates: list[str] = [path for path in self.description["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), asked)]
        return (plain or templates)[0]


def events_in(text: str) -> list[tuple[str, Any]]:
    return [(name, json.loads(data)) for name, data in re.findall(r"^event: (\w+)\ndata: (.*)$", text, re.MULTILINE)]


def _closed(schema: Any) -> Any:
    """Return the schema without room for other members: the description leaves room for those of newer gateways."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed
