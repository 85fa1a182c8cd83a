"""One error body for all routes: valid as RFC 9457 problem details and for clients written for OpenAI's API."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response
from starlette.exceptions import HTTPException

from llava_gateway.api.response import JSONResponse
from llava_gateway.errors import BodyTimeout, BodyTooLarge, GatewayError, InvalidRequest, NotFound, Overloaded, Place

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
OTHER_APIS = {
    "/v1/messages": "Anthropic",
    "/v1beta/": "Gemini",
    "/v1/": "OpenAI",
    "/chat/completions": "OpenAI",
    "/responses": "OpenAI",
    "/embeddings": "OpenAI",
    "/api/": "Ollama",
    "/completion": "llama.cpp",
}
"""Path prefixes of other APIs, and the names of those APIs."""
OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def field_of(place: Place) -> str | None:
    """Return our API's name of a part of a request."""
    if not place:
        return None
    kind, *which = place
    if kind == "member":  # a member of a zip is identified by its name alone
        return str(which[0])
    name = {"image": "images" if which else "image", "turn": "after", "turn_count": "at"}.get(str(kind), str(kind))
    return name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in which)


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Render an error. The body contains no engine text, path or address, since GatewayErrors have none."""
    return {
        "type": f"urn:llava-gateway:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "instance": request_id,
        "error": {
            "message": error.message,
            "type": OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error"),
            "code": error.code,
            "reason": error.reason,
            "param": error.param or field_of(error.place),
            "hint": error.hint,
            "values": error.values,
        },
        "retryable": error.retryable,
    }


def error_headers(error: GatewayError) -> dict[str, str]:
    """Return the headers of an error: Retry-After if the same request may succeed later, the challenge of a 401, and Connection: close
    if the rest of the request's body was not read.
    """
    headers = {}
    if isinstance(error, BodyTooLarge | BodyTimeout):
        headers["Connection"] = "close"
    if error.status in (429, 503):
        headers["Retry-After"] = str(math.ceil(error.retry_after or 2))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_response(error: GatewayError, request_id: str) -> Response:
    return JSONResponse(error_body(error, request_id), error.status, error_headers(error), media_type=PROBLEM)


def internal_error(error: Exception, instance: str) -> GatewayError:
    """Log a bug with its traceback, and return an error for the client without it. A file that can't be opened is no bug."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return Overloaded("out_of_files")
    log.error("internal error in %s", instance, exc_info=error)
    return GatewayError()


def from_http(error: HTTPException, headers: Mapping[str, str], path: str) -> GatewayError:
    """Convert an error of the framework: an unknown route, a wrong method, a broken multipart body."""
    if error.status_code == 404:
        return _of_another_api(path) or NotFound("unknown_route")
    if error.status_code == 405:
        allowed = tuple(headers["Allow"].split(", "))
        return InvalidRequest(code="method_not_allowed", values={"allowed": allowed}, status=405)
    return InvalidRequest(status=error.status_code, code="invalid_body")


def _of_another_api(path: str) -> NotFound | None:
    """Return the hint for clients of other popular APIs."""
    api = next((name for start, name in OTHER_APIS.items() if path.startswith(start)), None)
    return None if api is None else NotFound("unknown_route_of_api", values={"api": api})


def from_validation(errors: Any, within: str = "") -> InvalidRequest:
    """Describe the first error in a body, or in the field `within` of a body."""
    first = errors[0]
    where = ".".join([*filter(None, [within]), *map(str, first["loc"])])[:100]
    if first["type"] == "extra_forbidden":
        return InvalidRequest("no_field", code="unknown_field", param=where)
    detail = first["msg"].removeprefix("Value error, ")  # what Pydantic puts before the words of a ValueError
    return InvalidRequest("field_wrong" if where else "body_wrong", values={"detail": detail}, param=where or None)
