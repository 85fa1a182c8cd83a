"""Errors as OpenAI writes them: the message, its type and a code."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from llava_gateway.api.dialects import headers_of, sentence_of, status_of
from llava_gateway.api.errors import OPENAI_TYPES
from llava_gateway.errors import GatewayError


def error_body(error: GatewayError) -> dict[str, Any]:
    usual = "invalid_request_error" if error.status < 500 else "server_error"
    kind = OPENAI_TYPES.get(error.status, usual)
    return {"error": {"message": sentence_of(error), "type": kind, "param": error.param, "code": error.code}}


def error_response(error: GatewayError, _: str) -> Response:
    return JSONResponse(error_body(error), status_of(error), headers_of(error))
