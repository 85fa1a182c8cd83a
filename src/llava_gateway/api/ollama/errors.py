"""Errors as Ollama writes them: one sentence. Clients look for a few of Ollama's own."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from llava_gateway.api.dialects import headers_of, sentence_of, status_of
from llava_gateway.api.ollama.bodies import NO_MODEL
from llava_gateway.errors import GatewayError, ModelNotFound


def said(error: GatewayError) -> str:
    """Return the sentence of an error: Ollama's, if clients look for it. The `ollama` command pulls a model that is "not found"."""
    if isinstance(error, ModelNotFound) and error.reason == "model_not_found_named":
        return f"model '{error.values['model']}' not found"
    if error.reason == NO_MODEL and error.param == "model":
        return "model is required"
    return sentence_of(error)


def error_response(error: GatewayError, _: str) -> Response:
    return JSONResponse({"error": said(error)}, status_of(error), headers_of(error))
