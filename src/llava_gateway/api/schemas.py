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
        raise InvalidFormat(f"The JSON schema has more than {FORMAT_MAX_CHARS:,} characters.", param="format", hint="Describe less of it.")
    if not isinstance(value.get("$schema", ""), str):
        raise InvalidFormat("$schema must be a text.", param="format")
    if _objects(value) > MOST_OBJECTS:
        raise InvalidFormat(f"The JSON schema has more than {MOST_OBJECTS:,} objects.", param="format", hint="Describe less of it.")
    try:
        validator_for(value, default=Draft202012Validator).check_schema(value)
    except SchemaError as error:
        where = ".".join(["format", *map(str, error.absolute_path)])[:100]
        raise InvalidFormat(f"{where}: {error.message[:200]}.", param="format") from None
    except RecursionError:
        raise InvalidFormat("The JSON schema is nested too deep.", param="format", hint="Describe less of it.") from None
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
                raise InvalidFormat(f"A list of more than {LONG_LIST} items must have texts or whole numbers alone.", param="format")
            return sum(map(_objects, value))
    return 0
