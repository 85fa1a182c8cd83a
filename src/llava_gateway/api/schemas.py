"""The `format` of an answer: a JSON schema, checked where it comes in."""

from __future__ import annotations

import json
from typing import Any, Literal

from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for

from llava_gateway.chat import JSON
from llava_gateway.errors import InvalidFormat

FORMAT_MAX_CHARS = 32 * 1024
"""Checking a schema of this length takes up to a second, and every engine makes a grammar of it."""
MOST_OBJECTS = 2500
LONG_LIST = 200
"""Items from which on a list is of one kind: those of several kinds are compared each with each."""


def parse_format(value: Literal["json"] | JSON | None) -> Literal["json"] | JSON | None:
    """A schema is checked here: Ollama passes over one that is broken in silence. Raises InvalidFormat."""
    if value is None or value == "json":
        return value
    if _least_chars(value) > FORMAT_MAX_CHARS or len(json.dumps(value)) > FORMAT_MAX_CHARS:
        raise InvalidFormat("schema_too_long", values={"most": FORMAT_MAX_CHARS}, param="format")
    if not isinstance(value.get("$schema", ""), str):
        raise InvalidFormat("schema_name_wrong", param="format")
    if _objects(value) > MOST_OBJECTS:
        raise InvalidFormat("schema_too_large", values={"most": MOST_OBJECTS}, param="format")
    try:
        validator_for(value, default=Draft202012Validator).check_schema(value)
    except SchemaError as error:
        where = ".".join(["format", *map(str, error.absolute_path)])[:100]
        raise InvalidFormat("schema_wrong", values={"where": where, "detail": error.message[:200]}, param="format") from None
    except RecursionError:
        raise InvalidFormat("schema_too_deep", param="format") from None
    return value


def _least_chars(value: Any) -> int:
    """How long it is as JSON, at least: cheap, where writing it is not."""
    match value:
        case str():
            return len(value)
        case dict():
            return sum(map(len, value)) + sum(map(_least_chars, value.values()))
        case list():
            return sum(map(_least_chars, value))
    return 1


def _objects(value: Any) -> int:
    """How many there are. Raises InvalidFormat for a long list of several kinds."""
    match value:
        case dict():
            return 1 + sum(map(_objects, value.values()))
        case list():
            if len(value) > LONG_LIST and {*map(type, value)} not in ({str}, {int}):
                raise InvalidFormat("schema_mixed_list", values={"most": LONG_LIST}, param="format")
            return sum(map(_objects, value))
    return 0
