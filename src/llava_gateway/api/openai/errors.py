"""Errors as OpenAI writes them: the message, its type and a code, and the field at fault as OpenAI's API spells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from llava_gateway.api.dialects import headers_of, sentence_of, status_of
from llava_gateway.api.errors import OPENAI_TYPES, field_of
from llava_gateway.errors import ContextLengthExceeded, GatewayError, Place


@dataclass(frozen=True, slots=True)
class Spelling:
    """The names that a client gave to the parts of its request.

    Attributes:
        images: for each message, the fields that its images came in.
        options: the fields that options came in, by `options.` and our name.
        others: other fields, by our name.
    """

    images: tuple[tuple[str, ...], ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    def field_of(self, place: Place) -> str | None:
        """Return the field of a place in the request."""
        match place:
            case ("image", int(number)):
                return _at(self.images[-1] if self.images else (), number)
            case ("message", int(message), "image", int(number)):
                return _at(self.images[message] if message < len(self.images) else (), number)
            case ("options", str(name)):
                return self.options.get(f"options.{name}", name)
            case (str(name),):
                return self.others.get(name, name)
        return field_of(place)


def _at(names: tuple[str, ...], number: int) -> str | None:
    return names[number] if number < len(names) else None


UNSPELT = Spelling()


def error_body(error: GatewayError, spelling: Spelling = UNSPELT) -> dict[str, Any]:
    """Render an error. If a conversation is too long, the counts are included, as llama.cpp does."""
    if error.param is None and error.place:
        error.param = spelling.field_of(error.place)
    usual = "invalid_request_error" if error.status < 500 else "server_error"
    kind = OPENAI_TYPES.get(error.status, usual)
    body: dict[str, Any] = {"message": sentence_of(error), "type": kind, "param": error.param, "code": error.code}
    if isinstance(error, ContextLengthExceeded):
        body |= {name: error.values[name] for name in ("n_prompt_tokens", "n_ctx") if name in error.values}
    return {"error": body}


def error_response(error: GatewayError, _: str = "", spelling: Spelling = UNSPELT) -> Response:
    return JSONResponse(error_body(error, spelling), status_of(error), headers_of(error))
