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
    """Render an error. Anthropic has only the type and the message; the code and the field at fault are ours."""
    status = error_status(error)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    what = {"type": kind, "message": _message(error), "code": error.code, "param": error.param}
    return {"type": "error", "error": what, "request_id": request_id}


def _message(error: GatewayError) -> str:
    """Return what went wrong. Agents recognise a prompt that is too long by Anthropic's words, and shorten their history."""
    tokens, context = error.values.get("n_prompt_tokens"), error.values.get("n_ctx")
    if error.code == "context_length_exceeded" and tokens and context:
        return f"prompt is too long: {tokens} tokens > {context} maximum. {sentence_of(error)}"
    where = error.param or ""
    said = sentence_of(error)
    return said if not where or where in said else f"{where}: {said}"


def error_status(error: GatewayError) -> int:
    """Return the status: 529 stands for a server with too much work."""
    return 529 if error.code == "overloaded" else status_of(error)


def error_response(error: GatewayError, request_id: str) -> Response:
    return JSONResponse(error_body(error, request_id), error_status(error), headers_of(error))
