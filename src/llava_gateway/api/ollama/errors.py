"""Errors as Ollama writes them: one sentence."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from llava_gateway.api.dialects import headers_of, sentence_of, status_of
from llava_gateway.errors import GatewayError


def error_response(error: GatewayError, _: str) -> Response:
    return JSONResponse({"error": sentence_of(error)}, status_of(error), headers_of(error))
