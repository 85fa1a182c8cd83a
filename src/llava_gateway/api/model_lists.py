"""GET /v1/models and /v1/models/{id}: paths that OpenAI's and Anthropic's APIs share."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from llava_gateway.api.anthropic import models as anthropic
from llava_gateway.api.dialects import dialect_of
from llava_gateway.api.openai import models as openai


async def list_models(request: Request) -> Response:
    """List the models as the API that the request speaks does."""
    return await (anthropic.list_response if dialect_of(request.scope) == "anthropic" else openai.list_response)(request)


async def get_model(request: Request) -> Response:
    """Return one model, by any of its names, which may contain slashes."""
    name = request.path_params["name"]
    return await (anthropic.model_response if dialect_of(request.scope) == "anthropic" else openai.model_response)(request, name)
