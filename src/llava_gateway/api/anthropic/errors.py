"""Errors as Anthropic writes them: a type that stands for a status, and the message."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from llava_gateway.api.dialects import headers_of, sentence_of, status_of
from llava_gateway.errors import GatewayError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    status = error_status(error)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": sentence_of(error)}, "request_id": request_id}


def error_status(error: GatewayError) -> int:
    """Return the status: 529 stands for a server with too much work."""
    return 529 if error.code == "overloaded" else status_of(error)


def error_response(error: GatewayError, request_id: str) -> Response:
    return JSONResponse(error_body(error, request_id), error_status(error), headers_of(error))
