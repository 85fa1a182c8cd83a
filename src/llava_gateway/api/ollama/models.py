"""GET /api/tags, /api/ps and /api/version, POST /api/show: the models of all engines, as Ollama describes its own."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api.bodies import parse_body
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.ollama.bodies import ShowBody
from llava_gateway.api.ollama.frames import go_time
from llava_gateway.api.ollama.names import find_model, listed, listed_name
from llava_gateway.api.response import JSONResponse, json_response
from llava_gateway.api.security import may_change_models
from llava_gateway.chat import JSON
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.ollama_catalogue import OllamaCatalogue
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.gateway import Gateway

router = APIRouter()

FOLLOWED = "0.34.2"
"""The version of Ollama whose API this is. Clients compare it with the version that they need."""
UNKNOWN_TIME = "0001-01-01T00:00:00Z"
"""Go's zero time, which the `ollama` command shows as "Never"."""
NEVER = 100 * 365 * 24 * 3600
"""Seconds until a model is unloaded that stays loaded; the `ollama` command shows this as "Forever"."""
_FILE_OF_MODEL = re.compile(r"^FROM (?:/|[A-Za-z]:\\|\\\\).*$", re.MULTILINE)


@router.get("/api/version", include_in_schema=False)
async def version(request: Request) -> Response:
    """Return the version of Ollama, or of the API if there is none."""
    engines = gateway_of(request).pool.state.engines
    running = next((engine.health.version for engine in engines if engine.name == "ollama" and engine.health.ok), "")
    return JSONResponse({"version": running if running[:1].isdigit() and running != "0.0.0" else FOLLOWED})


@router.get("/api/tags", include_in_schema=False)
async def tags(request: Request) -> Response:
    """List the models of all engines that answer."""
    gateway = gateway_of(request)
    state = await gateway.pool.refresh()
    rows = await _rows_of_ollama(gateway, OllamaCatalogue.installed)
    return await json_response({"models": [_row(model, rows) or tag_json(model) for model in listed(state.models)]})


@router.get("/api/ps", include_in_schema=False)
async def ps(request: Request) -> Response:
    """List the models that are loaded."""
    gateway = gateway_of(request)
    state = await gateway.pool.refresh()
    rows = await _rows_of_ollama(gateway, OllamaCatalogue.loaded)
    loaded = [model for model in listed(state.models) if model.loaded]
    return JSONResponse({"models": [_row(model, rows) or loaded_json(model) for model in loaded]})


@router.post("/api/show", include_in_schema=False)
async def show(request: Request) -> Response:
    """Describe a model."""
    gateway = gateway_of(request)
    body = await read_any_json(request, partial(parse_body, ShowBody))
    model = await find_model(gateway, body.asked_for)
    if model.engine != "ollama":
        return JSONResponse(shown_json(model))
    async with OllamaCatalogue(gateway.settings) as catalogue:
        shown = await catalogue.show(model.name, verbose=body.verbose)
    if not may_change_models(request) and isinstance(file := shown.get("modelfile"), str):
        shown["modelfile"] = _FILE_OF_MODEL.sub(f"FROM {model.name}", file)
    return await json_response(shown)


async def _rows_of_ollama(gateway: Gateway, ask: Callable[[OllamaCatalogue], Awaitable[Mapping[str, JSON]]]) -> Mapping[str, JSON]:
    """Return Ollama's own rows by name; none if it does not run."""
    if any(engine.name == "ollama" and engine.health.ok for engine in gateway.pool.state.engines):
        with suppress(GatewayError):
            async with OllamaCatalogue(gateway.settings) as catalogue:
                return await ask(catalogue)
    return {}


def _row(model: ModelInfo, rows: Mapping[str, JSON]) -> JSON | None:
    return rows.get(model.name) if model.engine == "ollama" else None


def tag_json(model: ModelInfo) -> JSON:
    """Render a model as a row of /api/tags."""
    length = {"context_length": model.context_length} if model.context_length else {}
    return {
        **_name_json(model),
        "modified_at": _modified(model),
        "size": model.size_bytes or 0,
        "digest": digest_of(model),
        "details": {**details_json(model), **length},
        "capabilities": capabilities(model),
    }


def loaded_json(model: ModelInfo) -> JSON:
    """Render a loaded model as a row of /api/ps. Engines other than Ollama never unload a model by themselves."""
    return {
        **_name_json(model),
        "size": model.memory_bytes or model.size_bytes or 0,
        "digest": digest_of(model),
        "details": details_json(model),
        "expires_at": go_time(time.time_ns() + NEVER * 1_000_000_000),
        "size_vram": model.gpu_bytes or 0,
        "context_length": model.loaded_context or model.context_length or 0,
    }


def shown_json(model: ModelInfo) -> JSON:
    """Render a model as the answer of /api/show. Of a template and parameters we know nothing."""
    family = model.family or "unknown"
    length = {f"{family}.context_length": model.context_length} if model.context_length else {}
    return {
        "modelfile": f"FROM {listed_name(model)}\n",
        "details": details_json(model),
        "model_info": {"general.architecture": family, **length},
        "capabilities": capabilities(model),
        "modified_at": _modified(model),
    }


def details_json(model: ModelInfo) -> JSON:
    return {
        "parent_model": "",
        "format": "gguf" if model.engine == "embedded" else "",
        "family": model.family,
        "families": [model.family] if model.family else None,
        "parameter_size": model.parameters,
        "quantization_level": model.quantization,
    }


def capabilities(model: ModelInfo) -> list[str]:
    if model.embeds:
        return ["embedding"]
    return ["completion", *(name for name, has in (("vision", model.vision), ("tools", model.tools)) if has)]


def digest_of(model: ModelInfo) -> str:
    """Return a digest that is the same as long as the model is, and differs from that of any other: clients group models by it."""
    known = (model.engine, model.name, model.size_bytes, model.family, model.parameters, model.quantization, model.modified)
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _name_json(model: ModelInfo) -> JSON:
    name = listed_name(model)
    return {"name": name, "model": name}


def _modified(model: ModelInfo) -> str:
    return UNKNOWN_TIME if model.modified is None else go_time(int(model.modified * 1e9))
