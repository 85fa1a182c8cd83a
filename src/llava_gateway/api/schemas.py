"""The `format` of an answer: a JSON schema, checked when the request arrives."""

from __future__ import annotations

import json
from typing import Any, Literal

from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for

from llava_gateway.chat import JSON
from llava_gateway.errors import InvalidFormat

FORMAT_MAX_CHARS = 32 * 1024
"""The longest schema in characters. Checking one of this length takes up to a second, and every engine turns it into a grammar."""
MOST_OBJECTS = 2500
LONG_LIST = 200
"""A longer list must contain only strings or only integers: a mixed list is compared item by item with every other item."""


def parse_format(value: Literal["json"] | JSON | None, *, field: str = "format") -> Literal["json"] | JSON | None:
    """Check the schema in a field, since Ollama silently ignores a broken one. Raises InvalidFormat."""
    if value is None or value == "json":
        return value
    if least_chars(value) > FORMAT_MAX_CHARS or len(json.dumps(value)) > FORMAT_MAX_CHARS:
        raise InvalidFormat("schema_too_long", values={"most": FORMAT_MAX_CHARS}, param=field)
    if not isinstance(value.get("$schema", ""), str):
        raise InvalidFormat("schema_name_wrong", param=field)
    if _objects(value, field) > MOST_OBJECTS:
        raise InvalidFormat("schema_too_large", values={"most": MOST_OBJECTS}, param=field)
    try:
        validator_for(value, default=Draft202012Validator).check_schema(value)
    except SchemaError as error:
        where = ".".join([field, *map(str, error.absolute_path)])[:100]
        raise InvalidFormat("schema_wrong", values={"where": where, "detail": error.message[:200]}, param=field) from None
    except RecursionError:
        raise InvalidFormat("schema_too_deep", param=field) from None
    return value


def least_chars(value: Any) -> int:
    """Return a lower bound of a value's length as JSON, which costs less than writing the JSON."""
    match value:
        case str():
            return len(value)
        case dict():
            return sum(map(len, value)) + sum(map(least_chars, value.values()))
        case list():
            return sum(map(least_chars, value))
    return 1


def _objects(value: Any, field: str) -> int:
    """Count the objects in a schema. Raises InvalidFormat for a long list of mixed types."""
    match value:
        case dict():
            return 1 + sum(_objects(inner, field) for inner in value.values())
        case list():
            if len(value) > LONG_LIST and {*map(type, value)} not in ({str}, {int}):
                raise InvalidFormat("schema_mixed_list", values={"most": LONG_LIST}, param=field)
            return sum(_objects(inner, field) for inner in value)
    return 0
