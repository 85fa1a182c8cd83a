"""The complete /openapi.json: FastAPI's description of the routes, plus the API key, addresses, and a named schema for each body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from llava_gateway.api import model_results as models
from llava_gateway.api import results
from llava_gateway.api import session_results as sessions
from llava_gateway.api.archive_body import ArchiveBody
from llava_gateway.api.openapi import REQUESTS, ref
from llava_gateway.api.results import Result

KEY = "key"
KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "The setting `api_key`. A gateway without one accepts every request without a key.",
}
OPEN = ("/healthz", "/readyz")
"""Routes that need no key."""
RESULTS: dict[tuple[str, str], type[Result]] = {
    ("post", "/ask"): results.Answer,
    ("post", "/sessions/{session_id}/turns"): results.Answer,
    ("post", "/sessions/{session_id}/continue"): results.Answer,
    ("post", "/sessions/{session_id}/cancel"): results.Cancelled,
    ("post", "/analyze_image"): results.ShortAnswer,
    ("post", "/count_tokens"): results.TokenCount,
    ("post", "/read_ahead"): results.ReadAhead,
    ("post", "/sessions/{session_id}/read_ahead"): results.ReadAhead,
    ("post", "/images/{image_id}/read_ahead"): results.ReadAhead,
    ("post", "/images"): results.StoredImage,
    ("post", "/documents"): results.PageList,
    ("post", "/images/{image_id}/rotate"): results.StoredImage,
    ("get", "/images/{image_id}/view"): results.ImageView,
    ("get", "/sessions"): sessions.Sessions,
    ("post", "/sessions"): sessions.Session,
    ("get", "/sessions/{session_id}"): sessions.Session,
    ("patch", "/sessions/{session_id}"): sessions.Session,
    ("post", "/sessions/{session_id}/fork"): sessions.Session,
    ("post", "/sessions/{session_id}/restore"): sessions.Session,
    ("post", "/sessions/import"): sessions.Session,
    ("get", "/models"): models.Models,
    ("post", "/models"): models.Installed,
    ("post", "/models/pull"): models.Installed,
    ("get", "/models/examples"): models.ModelfileExamples,
    ("get", "/setup"): models.Setup,
    ("get", "/options"): results.Options,
    ("get", "/healthz"): results.Health,
    ("get", "/readyz"): results.Readiness,
    ("post", "/votes"): results.Vote,
    ("get", "/votes"): results.Votes,
}
"""The JSON that routes return on success."""
ANSWER_EVENTS: tuple[type[Result], ...] = (
    results.QueuedEvent,
    results.LoadingEvent,
    results.ProgressEvent,
    results.DeltaEvent,
    results.ReasoningEvent,
    results.ToolCallEvent,
    results.DoneEvent,
    results.ErrorEvent,
)
EVENTS: dict[str, tuple[type[Result], ...]] = {
    "AnswerEvent": ANSWER_EVENTS,
    "FollowedEvent": (results.QuestionEvent, *ANSWER_EVENTS),
    "NewsEvent": (results.ReadyEvent, results.ModelsEvent, results.SessionsEvent, results.RunningEvent, results.ErrorEvent),
    "InstallEvent": (models.InstallProgressEvent, models.InstalledEvent, results.ErrorEvent),
}
"""The events of a stream: `event:` is the name, `data:` the JSON."""


class DescribedApp(FastAPI):
    """An app with a complete description."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def _completed(described: dict[str, Any]) -> dict[str, Any]:
    # Relative to the address of the description itself, so that it is right behind a proxy and under a path prefix.
    described["servers"] = [{"url": "."}]
    described["security"] = [{KEY: []}]
    described["components"] = {"schemas": _schemas(), "securitySchemes": {KEY: KEY_SCHEME}}
    for method, path, operation in _operations(described):
        if path in OPEN:
            operation["security"] = []
        for status, response in operation["responses"].items():
            if status.startswith("2") and "content" in response:
                _name_body(response["content"], RESULTS.get((method, path)))
    return described


def _operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in described["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _name_body(content: dict[str, Any], result: type[Result] | None) -> None:
    """Set the schema of a JSON response; FastAPI assumes JSON for every route that declares nothing else."""
    if result is not None:
        content.setdefault("application/json", {})["schema"] = ref(result.__name__)
    elif not content.get("application/json", {"schema": True})["schema"]:
        del content["application/json"]


def _schemas() -> dict[str, Any]:
    named: set[type[Result]] = {*RESULTS.values(), *(event for events in EVENTS.values() for event in events), results.Problem}
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ArchiveBody, "validation")]
    inputs += [(result, "serialization") for result in sorted(named, key=lambda result: result.__name__)]
    found: dict[str, Any] = models_json_schema(inputs, ref_template="#/components/schemas/{model}")[1]["$defs"]
    for schema in found.values():
        schema.pop("title", None)
        for member in schema["properties"].values():
            member.pop("title", None)  # repeats the name
            if not member.get("default", True):
                del member["default"]  # otherwise generators would make the member required
    unions = {name: _union(events, found) for name, events in EVENTS.items()}
    return {**REQUESTS, **dict(sorted({**found, **unions}.items()))}


def _union(events: tuple[type[Result], ...], schemas: dict[str, Any]) -> dict[str, Any]:
    names = {schemas[event.__name__]["properties"]["event"]["const"]: ref(event.__name__) for event in events}
    mapping = {name: one["$ref"] for name, one in names.items()}
    return {"oneOf": [*names.values()], "discriminator": {"propertyName": "event", "mapping": mapping}}
