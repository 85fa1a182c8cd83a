"""The models of all engines, as OpenAI lists them: GET /v1/models and GET /v1/models/{id}."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request
from starlette.responses import Response

from llava_gateway.api.deps import gateway_of
from llava_gateway.api.response import JSONResponse
from llava_gateway.engines.base import ModelInfo

STARTED = int(time.time())
"""Stands for when a model was created, which no engine reports."""


def model_json(model: ModelInfo) -> dict[str, Any]:
    about = {"vision": model.vision, "context_length": model.context_length, "loaded": model.loaded}
    return {"id": model.name, "object": "model", "created": STARTED, "owned_by": model.engine, "llava_gateway": about}


def list_json(models: tuple[ModelInfo, ...]) -> dict[str, Any]:
    return {"object": "list", "data": [model_json(model) for model in models]}


async def list_response(request: Request) -> Response:
    """List the models. Two engines may have one of the same name; the one that would answer is listed."""
    state = await gateway_of(request).pool.refresh()
    models: dict[str, ModelInfo] = {}
    for model in state.models:
        models.setdefault(model.name, model)
    return JSONResponse(list_json(tuple(models.values())))


async def model_response(request: Request, name: str) -> Response:
    """Return one model. Raises ModelNotFound."""
    return JSONResponse(model_json(await gateway_of(request).pool.resolve(name)))
