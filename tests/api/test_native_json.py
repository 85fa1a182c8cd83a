"""Glossaries, schemas and texts in requests: valid ones are accepted, and the others get an error."""

from __future__ import annotations

from typing import Any, assert_type

import pytest
from starlette.requests import Request

from llava_gateway.api.app import create_app
from llava_gateway.api.bodies import AskBody, Body, ForkBody, SessionsQuery, parse_body
from llava_gateway.api.documents import MAX_DEPTH
from llava_gateway.api.forms import read_query
from llava_gateway.api.native_json import chat_request
from llava_gateway.chat import ChatRequest
from llava_gateway.errors import InvalidFormat, InvalidOption, InvalidRequest
from llava_gateway.options import Options
from llava_gateway.settings import Settings

PRESETS = {"receipts": {"temperature": 0.0, "glossary": ["SKU:  stock number", " ", "TTL: total"]}}


def parsed_request(settings: Settings, session_id: str | None = None, **body: Any) -> ChatRequest:
    return chat_request(parse_body(AskBody, {"prompt": "Hi", **body}), settings, session_id=session_id)


def test_a_glossary_comes_from_the_question_or_from_its_preset() -> None:
    settings = Settings(presets=PRESETS)
    assert parsed_request(settings).glossary is None
    assert parsed_request(settings, preset="receipts").glossary == ("SKU: stock number", "TTL: total")
    assert parsed_request(settings, preset="receipts").options == Options(temperature=0.0)
    assert parsed_request(settings, preset="receipts", glossary=["VAT"]).glossary == ("VAT",)
    assert parsed_request(settings, preset="receipts", glossary=[]).glossary == ()
    assert parsed_request(settings, preset="factual").glossary is None


def test_the_glossary_of_the_preset_of_the_settings_does_not_replace_that_of_a_session() -> None:
    settings = Settings(preset="receipts", presets=PRESETS)
    assert parsed_request(settings).glossary == ("SKU: stock number", "TTL: total")
    assert parsed_request(settings, session_id="1").glossary is None
    assert parsed_request(settings, session_id="1", preset="receipts").glossary == ("SKU: stock number", "TTL: total")


@pytest.mark.parametrize("glossary", ["one line", [1], ["x" * 301], ["x"] * 201])
def test_a_glossary_that_is_no_list_of_lines_is_refused_at_the_start(glossary: Any) -> None:
    with pytest.raises(InvalidOption) as refused:
        create_app(Settings(presets={"mine": {"glossary": glossary}}))
    assert (refused.value.values["preset"], refused.value.values["why"]) == ("mine", "glossary_wrong")


@pytest.mark.parametrize("glossary", [["x" * 301], ["x"] * 201])
def test_too_much_of_a_glossary_is_refused(glossary: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed_request(Settings(), glossary=glossary)
    assert refused.value.param == "glossary"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"total": {"type": ["number", "null"]}}, "required": ["total"]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
    ],
)
def test_json_schemas_are_taken_as_they_are(schema: dict[str, Any]) -> None:
    assert parsed_request(Settings(), format=schema).format == schema


@pytest.mark.parametrize(
    ("schema", "reason", "where"),
    [
        ({"type": "objekt"}, "schema_wrong", "format.type"),
        ({"type": "object", "properties": {"total": {"type": "nummer"}}}, "schema_wrong", "format.properties.total.type"),
        ({"required": "total"}, "schema_wrong", "format.required"),
        ({"pattern": "("}, "schema_wrong", "format.pattern"),
        ({"$schema": 5}, "schema_name_wrong", None),
        ({"enum": ["x" * 40_000]}, "schema_too_long", None),
    ],
)
def test_a_schema_that_an_engine_would_pass_over_is_refused(schema: dict[str, Any], reason: str, where: str | None) -> None:
    with pytest.raises(InvalidFormat) as refused:
        parsed_request(Settings(), format=schema)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_format", "format")
    assert (refused.value.reason, refused.value.values.get("where")) == (reason, where)
    assert len(str(refused.value.values)) < 400


def test_the_deepest_schema_that_json_may_have_is_checked() -> None:
    schema: dict[str, Any] = {"type": "nothing"}
    for _ in range(MAX_DEPTH - 2):
        schema = {"items": schema}
    with pytest.raises(InvalidFormat):
        parsed_request(Settings(), format=schema)


def test_what_is_parsed_is_of_the_class_that_was_asked_for() -> None:
    """The type checker guarantees the ignored line: if the assignment were no error, there would be nothing to ignore."""
    request = Request({"type": "http", "query_string": b"deleted=true"})
    assert assert_type(read_query(request, SessionsQuery), SessionsQuery).deleted == "true"
    assert assert_type(parse_body(ForkBody, {"at": 1}), ForkBody).at == 1
    wrong: ForkBody = parse_body(SessionsQuery, {})  # type: ignore[assignment]
    assert isinstance(wrong, Body)
