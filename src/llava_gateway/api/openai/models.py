"""The models of all engines, as OpenAI lists them: GET /v1/models and GET /v1/models/{id}."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastapi import Request
from starlette.responses import Response

from llava_gateway.api.deps import gateway_of
from llava_gateway.api.dialects import Dialect, dialect_of
from llava_gateway.api.response import JSONResponse
from llava_gateway.engines.base import ModelInfo

Writer: TypeAlias = Callable[[ModelInfo], dict[str, Any]]
ListWriter: TypeAlias = Callable[[tuple[ModelInfo, ...]], dict[str, Any]]
STARTED = int(time.time())
"""Stands for when a model was created, which no engine reports."""


def model_json(model: ModelInfo) -> dict[str, Any]:
    about = {"vision": model.vision, "context_length": model.context_length, "loaded": model.loaded}
    return {"id": model.name, "object": "model", "created": STARTED, "owned_by": model.engine, "llava_gateway": about}


def list_json(models: tuple[ModelInfo, ...]) -> dict[str, Any]:
    return {"object": "list", "data": [model_json(model) for model in models]}


WRITERS: Mapping[Dialect, tuple[ListWriter, Writer]] = {"openai": (list_json, model_json)}
"""How each API that has these routes writes a list of models, and one model."""


async def list_models(request: Request) -> Response:
    """List the models. Two engines may have one of the same name; the one that would answer is listed."""
    state = await gateway_of(request).pool.refresh()
    models: dict[str, ModelInfo] = {}
    for model in state.models:
        models.setdefault(model.name, model)
    write, _ = WRITERS.get(dialect_of(request.scope), WRITERS["openai"])
    return JSONResponse(write(tuple(models.values())))


async def get_model(request: Request) -> Response:
    """Return one model, by any of its names, which may contain slashes."""
    model = await gateway_of(request).pool.resolve(request.path_params["name"])
    _, write = WRITERS.get(dialect_of(request.scope), WRITERS["openai"])
    return JSONResponse(write(model))
