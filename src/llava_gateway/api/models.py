"""Model routes: which models there are and whether they fit, installing and deleting them, and what is missing if no model can see."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from llava_gateway.api import openapi
from llava_gateway.api.bodies import CreateBody, PullBody
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.json_body import read_body
from llava_gateway.api.native_frames import OutputFormat, frames_for, sse, wanted_output_format
from llava_gateway.api.native_json import check_length, note_json
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.security import may_change_models, only_from_this_machine
from llava_gateway.api.stream import Sender, WatchedResponse
from llava_gateway.api.threads import off_loop
from llava_gateway.engines import memory, setup
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.installer import Installing, examples
from llava_gateway.engines.modelfile import Modelfile, ModelfileError, parse_modelfile
from llava_gateway.engines.ollama_library import Progress
from llava_gateway.engines.pool import Default, PoolState
from llava_gateway.errors import InvalidModelfile
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import INSTALL_EMBEDDED

router = APIRouter(responses=openapi.ERRORS)
_LOCAL = [Depends(only_from_this_machine)]


@router.get("/models", tags=["models"], summary="List the models of all running engines")
async def list_models(request: Request) -> Response:
    """List the models with the memory that each needs, the installs in progress, and whether this client may change models."""
    gateway = gateway_of(request)
    state, machine = await asyncio.gather(gateway.pool.refresh(), asyncio.to_thread(memory.machine))
    return JSONResponse(
        {
            "models": [model_json(model, gateway, state, machine) for model in state.models],
            "default": default_json(state.default),
            "installing": [installing_json(installing) for installing in gateway.installer.running],
            "memory": asdict(machine),
            "may_change": may_change_models(request),
        }
    )


@router.get("/models/examples", tags=["models"], summary="List Modelfiles to start from")
async def list_examples() -> Response:
    return JSONResponse({"examples": [asdict(example) for example in examples()]})


@router.post("/models/pull", tags=["models"], summary="Download a model with Ollama", dependencies=_LOCAL, openapi_extra=openapi.PULL)
async def pull_model(request: Request) -> Response:
    """Pull a model. Answers with JSON at the end, an event stream or plain text, as the Accept header asks. Closing the connection
    stops the pull, unless another request pulls the same model; the next pull continues where it stopped.
    """
    body = await read_body(request, PullBody)
    return InstallResponse(gateway_of(request), body, None, wanted_output_format(request.headers.get("accept", "")), request_id(request))


@router.post("/models", tags=["models"], summary="Create a model from a Modelfile", dependencies=_LOCAL, openapi_extra=openapi.CREATE)
async def create_model(request: Request) -> Response:
    """Create a model. Answers like /models/pull. A missing model in FROM is pulled first."""
    gateway = gateway_of(request)
    body = await read_body(request, CreateBody)
    check_length("modelfile", body.modelfile, gateway.settings)
    modelfile = await off_loop(len(body.modelfile), _parse, body.modelfile)
    return InstallResponse(gateway, body, modelfile, wanted_output_format(request.headers.get("accept", "")), request_id(request))


@router.delete("/models/{name:path}", tags=["models"], summary="Delete a model from Ollama", status_code=204, dependencies=_LOCAL)
async def delete_model(request: Request, name: str) -> Response:
    """Delete a model. Names with slashes and colons need no escaping."""
    await gateway_of(request).installer.delete(name)
    return Response(status_code=204)


@router.get("/setup", tags=["health"], summary="Report what is missing before you can ask about an image, in codes")
async def get_setup(request: Request) -> Response:
    gateway = gateway_of(request)
    state, machine, installed = await asyncio.gather(
        gateway.pool.refresh(), asyncio.to_thread(memory.machine), asyncio.to_thread(setup.ollama_installed, gateway.settings)
    )
    found = setup.advise(state, gateway.settings, installed, setup.this_platform())
    return JSONResponse(
        {
            "state": found.state,
            "missing": found.missing,
            "next": setup.NEXT[found.missing] if found.missing else None,
            "model": default_json(state.default),
            "chosen_model": gateway.settings.model,
            "platform": found.platform,
            "ollama": {"installed": found.installed, "running": found.running, "version": found.version},
            "install": {"page": setup.DOWNLOAD_PAGE, "command": setup.INSTALL_COMMANDS[found.platform]},
            "embedded": {"installed": found.embedded_installed, "command": INSTALL_EMBEDDED},
            "start": {"command": setup.START_COMMANDS[found.platform]},
            "suggested": [suggestion_json(suggestion, state, machine) for suggestion in setup.SUGGESTIONS],
            "may_change": may_change_models(request),
        }
    )


def _parse(text: str) -> Modelfile:
    try:
        return parse_modelfile(text)
    except ModelfileError as error:
        raise InvalidModelfile(error.reason, values=error.values, param="modelfile") from error


class InstallResponse(WatchedResponse):
    """The response of a pull or (with a `modelfile`) a create that is in progress."""

    def __init__(
        self, gateway: Gateway, body: PullBody | CreateBody, modelfile: Modelfile | None, output: OutputFormat, request_id: str
    ) -> None:
        super().__init__(gateway.settings, frames_for(output), request_id)
        self._output = output
        self._gateway = gateway
        self._body = body
        self._modelfile = modelfile

    async def send_all(self, out: Sender) -> None:
        installer, name = self._gateway.installer, self._body.model
        if isinstance(self._body, CreateBody) and self._modelfile is not None:
            work = installer.create(name, self._modelfile, replace=self._body.replace)
        else:
            work = installer.pull(name)
        async with work as installing:
            said = ""
            async for progress in installing.steps():
                if self._output == "sse":
                    await out.write(sse("progress", progress_json(progress)), self._frames.media_type or "")
                elif self._output == "text" and (line := progress_line(progress)) != said:
                    said = line
                    await out.write(f"{line}\n".encode(), self._frames.media_type or "")
        done = self._done()
        if self._output == "json":
            await out.respond(JSONResponse(done))
            return
        if self._output == "sse":
            await out.write(sse("done", done), self._frames.media_type or "")
        await out.end()

    def _done(self) -> dict[str, Any]:
        """Return the result; `model` is null in the rare case that Ollama does not list the new model."""
        state = self._gateway.pool.state
        model = self._gateway.installer.find(self._body.model)
        return {
            "model": model_json(model, self._gateway, state, memory.machine()) if model else None,
            "default": default_json(state.default),
        }


def model_json(model: ModelInfo, gateway: Gateway, state: PoolState, machine: memory.Machine) -> dict[str, Any]:
    num_ctx = gateway.prompt_builder.pins(model.name).num_ctx
    fit = memory.fit(model, machine, gpu_bytes=memory.gpu_in_use(state.models), num_ctx=num_ctx)
    return {
        "name": model.name,
        "engine": model.engine,
        "vision": model.vision,
        "context_length": model.context_length,
        "loaded": model.loaded,
        "loaded_context": model.loaded_context,
        "size_bytes": model.size_bytes,
        "family": model.family,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "memory": asdict(fit) if fit else None,
    }


def suggestion_json(suggestion: setup.Suggestion, state: PoolState, machine: memory.Machine) -> dict[str, Any]:
    stand_in = ModelInfo(
        suggestion.name,
        "ollama",
        vision=True,
        context_length=memory.USUAL_CONTEXT,
        size_bytes=suggestion.download_bytes,
        cache_bytes_per_token=suggestion.cache_bytes_per_token,
    )
    fit = memory.fit(stand_in, machine, gpu_bytes=memory.gpu_in_use(state.models))
    return {"model": suggestion.name, "download_bytes": suggestion.download_bytes, "memory": asdict(fit) if fit else None}


def default_json(default: Default) -> dict[str, Any] | None:
    if default.model is None:
        return None
    return {"model": default.model.name, "engine": default.model.engine, "reason": note_json(default.reason)}


def installing_json(installing: Installing) -> dict[str, Any]:
    latest = installing.latest
    return {"model": installing.name, "kind": installing.kind, "progress": progress_json(latest) if latest else None}


def progress_json(progress: Progress) -> dict[str, Any]:
    """Render a progress event. `completed` and `total` are bytes of the file with `digest`; the files of a model come one after the
    other.
    """
    return {
        "step": progress.step,
        "status": progress.status,
        "digest": progress.digest,
        "completed": progress.completed,
        "total": progress.total,
    }


def progress_line(progress: Progress) -> str:
    """Render progress as a line for people, which changes with each step and each tenth of a file."""
    if not progress.total or progress.completed is None:
        return progress.status
    return f"{progress.status} {10 * (10 * progress.completed // progress.total)} %"
