"""Pull, create, copy and delete models and upload their files, in Ollama's API: only from this machine, and only in Ollama."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from llava_gateway.answers import Answer, AnswerEvent
from llava_gateway.api.bodies import parse_body
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.ollama.bodies import CopyBody, CreateBody, NamedBody, PullBody
from llava_gateway.api.ollama.frames import LineFrames, line
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.security import only_from_this_machine
from llava_gateway.api.stream import Sender, WatchedResponse
from llava_gateway.chat import JSON
from llava_gateway.engines.base import same_name
from llava_gateway.engines.installer import Installing
from llava_gateway.engines.ollama_library import Progress
from llava_gateway.engines.ollama_names import parse_name
from llava_gateway.errors import InvalidRequest, ModelNotFound, NotFound, Refused
from llava_gateway.gateway.gateway import Gateway

router = APIRouter(dependencies=[Depends(only_from_this_machine)])

DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})", re.ASCII)
AT_ONCE = 1024 * 1024
"""Bytes of a file that are passed on together: one piece costs more than its bytes."""


@router.post("/api/pull", include_in_schema=False)
async def pull(request: Request) -> Response:
    """Download a model."""
    gateway = gateway_of(request)
    body = await read_any_json(request, partial(parse_body, PullBody))
    return InstallResponse(gateway, gateway.installer.pull(body.asked_for), InstallFrames(stream=body.stream), request_id(request))


@router.post("/api/create", include_in_schema=False)
async def create(request: Request) -> Response:
    """Create a model, or replace it."""
    gateway = gateway_of(request)
    body = await read_any_json(request, partial(parse_body, CreateBody))
    work = gateway.installer.create_with(body.asked_for, _base(body), body.passed_on)
    return InstallResponse(gateway, work, InstallFrames(stream=body.stream), request_id(request))


@router.post("/api/copy", include_in_schema=False)
async def copy(request: Request) -> Response:
    """Copy a model under another name."""
    gateway = gateway_of(request)
    body = await read_any_json(request, partial(parse_body, CopyBody))
    _check_is_ollamas(gateway, body.source)
    try:
        await gateway.installer.copy(body.source, body.destination)
    except ModelNotFound:
        raise _missing(body.source) from None
    return Response()


@router.delete("/api/delete", include_in_schema=False)
async def delete(request: Request) -> Response:
    """Delete a model."""
    gateway = gateway_of(request)
    name = (await read_any_json(request, partial(parse_body, NamedBody))).asked_for
    _check_is_ollamas(gateway, name)
    try:
        await gateway.installer.delete(name)
    except ModelNotFound:
        raise _missing(name) from None
    return Response()


@router.post("/api/push", include_in_schema=False)
async def push(request: Request) -> Response:
    """Refuse to publish a model."""
    raise Refused("push_refused")


@router.get("/api/blobs/{digest}", include_in_schema=False)
async def has_blob(request: Request, digest: str) -> Response:
    """Say whether Ollama has a file, for HEAD: 200 or 404."""
    name = _digest(digest)
    if not await gateway_of(request).installer.has_blob(name):
        raise NotFound("blob_missing", values={"digest": name})
    return Response()


@router.post("/api/blobs/{digest}", include_in_schema=False)
async def add_blob(request: Request, digest: str) -> Response:
    """Upload a file of a model. 200 if Ollama has it already, else 201."""
    installer, name = gateway_of(request).installer, _digest(digest)
    if await installer.has_blob(name):
        return Response()
    await installer.add_blob(name, _pieces(request))
    return Response(status_code=201)


class InstallFrames(LineFrames):
    """The format of /api/pull and /api/create."""

    def event(self, event: AnswerEvent) -> bytes:
        return b""

    def whole(self, answer: Answer) -> Response:
        return JSONResponse({"status": "success"})


class InstallResponse(WatchedResponse):
    """The response of a pull or a create that is in progress. Its last line is `{"status": "success"}`, which Ollama itself sends."""

    def __init__(self, gateway: Gateway, work: AbstractAsyncContextManager[Installing], frames: InstallFrames, request_id: str) -> None:
        super().__init__(gateway.settings, frames, request_id)
        self._job = work

    async def send_all(self, out: Sender) -> None:
        media_type = self._frames.media_type
        async with self._job as installing:
            async for progress in installing.steps():
                if media_type is not None:
                    await out.write(line(progress_json(progress)), media_type)
        if media_type is None:
            await out.respond(JSONResponse({"status": "success"}))
        else:
            await out.end()


def progress_json(progress: Progress) -> JSON:
    """Render progress; what is unknown or 0 is left out, as Ollama does it."""
    fields = {"status": progress.status, "digest": progress.digest, "total": progress.total, "completed": progress.completed}
    return {name: value for name, value in fields.items() if value or name == "status"}


def _base(body: CreateBody) -> str | None:
    """Return the model that the new one is made from; None if it is made from files. Raises InvalidRequest, InvalidModelName,
    CloudModelRefused.
    """
    if body.remote_host:
        raise InvalidRequest("create_elsewhere", param="remote_host")
    for name in ("modelfile", "path"):
        if getattr(body, name):
            raise InvalidRequest("field_unsupported", param=name)
    if not (body.source or body.files):
        raise InvalidRequest("create_from_nothing")
    for digest in (*body.files.values(), *body.draft_files.values(), *body.adapters.values()):
        _digest(digest)
    if body.source:
        parse_name(body.source)
    return body.source or None


def _digest(text: str) -> str:
    """Return a digest in its usual spelling. It becomes part of an address and of a file's name, so nothing else is let through."""
    found = DIGEST.fullmatch(text)
    if found is None:
        raise InvalidRequest("digest_wrong", param="digest")
    return f"sha256:{found[1]}"


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces that are not too small."""
    held: list[bytes] = []
    size = 0
    async for part in request.stream():
        held.append(part)
        size += len(part)
        if size >= AT_ONCE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _check_is_ollamas(gateway: Gateway, name: str) -> None:
    """Reject the name of a model that only another engine has. Ollama itself says which models it has not."""
    engines = {model.engine for model in gateway.pool.state.models if same_name(model.name, name)}
    if engines and "ollama" not in engines:
        raise InvalidRequest("model_of_other_engine", values={"model": name[:100]}, param="model")


def _missing(name: str) -> ModelNotFound:
    return ModelNotFound("model_not_found_named", values={"model": name[:100]})
