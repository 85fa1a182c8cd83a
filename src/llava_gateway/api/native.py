"""Our own dialect: questions, images, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.answers import Sent
from llava_gateway.api import openapi
from llava_gateway.api.bodies import ForkBody, ImagePatch, RotateQuery, SessionBody, SessionPatch, SessionsQuery
from llava_gateway.api.defaults import changed_defaults
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.forms import has_body, read_ask, read_body, read_image, read_query
from llava_gateway.api.native_frames import JSONFrames, frames_for, wanted_output_format
from llava_gateway.api.native_json import check_length, match_json, session_json, session_row, stored_image_json
from llava_gateway.api.options import glossary_of
from llava_gateway.api.response import JSONResponse, json_response, unless_known
from llava_gateway.api.stream import AnswerResponse
from llava_gateway.chat import ChatRequest, Message, Sight, TextPart
from llava_gateway.errors import ImageNotFound, InvalidRequest, TurnNotFound
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.search import search
from llava_gateway.sessions.session import Session, SessionDefaults
from llava_gateway.settings import Settings

router = APIRouter(responses=openapi.ERRORS)


@router.post("/ask", tags=["questions"], summary="Ask about images", openapi_extra=openapi.ASK)
async def ask(request: Request) -> Response:
    """JSON, an event stream or plain text, as the Accept header asks, and where it names none of them as `stream` says. Without
    `session_id` nothing is kept."""
    gateway = gateway_of(request)
    return _answer(request, *await read_ask(request, gateway))


@router.post("/sessions/{session_id}/turns", tags=["sessions"], summary="Ask in a session", openapi_extra=openapi.ASK)
async def ask_in_session(request: Request, session_id: str) -> Response:
    """The same as /ask with this session_id."""
    gateway = gateway_of(request)
    gateway.sessions.get(session_id)
    return _answer(request, *await read_ask(request, gateway, session_id))


def _answer(request: Request, question: ChatRequest, stream: bool | None) -> AnswerResponse:
    frames = frames_for(wanted_output_format(request.headers.get("accept", ""), stream=bool(stream)))
    return AnswerResponse(gateway_of(request), question, frames, request_id(request))


@router.post("/analyze_image", tags=["questions"], summary="Ask about one image, the short way", openapi_extra=openapi.ANALYZE)
async def analyze_image(request: Request) -> Response:
    """Multipart `image` and `question`; answers `{"response": ...}` and nothing else."""
    gateway = gateway_of(request)
    upload, question = await read_image(request, gateway.settings, beside="question")
    if not question.strip():
        raise InvalidRequest("field_missing", param="question")
    asked = ChatRequest((Message("user", (upload, TextPart(question))),))
    return AnswerResponse(gateway, asked, JSONFrames(lambda answer: {"response": answer.text}), request_id(request))


@router.post("/images", tags=["images"], summary="Store an image", openapi_extra=openapi.UPLOAD)
async def store_image(request: Request) -> Response:
    """Prepares an image once; its id can then stand for it in questions. `sent` tells what the model would get."""
    gateway = gateway_of(request)
    upload, model = await read_image(request, gateway.settings, beside="model")
    image_id, image, rendition = await gateway.store(upload, model or None)
    return JSONResponse(stored_image_json(image_id, image.info, Sent.of(rendition) if rendition else None), 201)


@router.post("/images/{image_id}/rotate", tags=["images"], summary="Rotate a stored image", status_code=201, openapi_extra=openapi.ROTATE)
async def rotate_image(request: Request, image_id: str) -> Response:
    """Makes another image of it, rotated clockwise by 90, 180 or 270 degrees; it has an id of its own. Rotate the first one each time:
    a JPEG is then encoded again only once."""
    query = read_query(request, RotateQuery)
    rotated_id, image, rendition = await gateway_of(request).rotated(image_id, query.by, query.model)
    return JSONResponse(stored_image_json(rotated_id, image.info, Sent.of(rendition) if rendition else None), 201)


@router.post("/sessions", tags=["sessions"], summary="Start a session", status_code=201, openapi_extra=openapi.SESSION)
async def create_session(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await read_body(request, SessionBody)
    check_length("system", body.system, gateway.settings)
    model = await gateway.pool.resolve(body.model) if body.model else None
    settings = gateway.settings
    defaults = replace(
        changed_defaults(body, SessionDefaults(), settings),
        system=body.system,
        policy=body.policy,
        glossary=glossary_of(body.glossary, body.preset or settings.preset, settings) or (),
    )
    session = Session(title=body.title, model=model.name if model else "", engine=model.engine if model else None, defaults=defaults)
    return await json_response(session_json(gateway.sessions.create(session), gateway.images, running=False), 201)


@router.get("/sessions", tags=["sessions"], summary="All sessions, most recently changed first", openapi_extra=openapi.SESSIONS)
async def list_sessions(request: Request) -> Response:
    """With `q`, those with these words in title, prompts or answers, each with its first `matches`; upper and lower case are the same."""
    store = gateway_of(request).sessions
    query = read_query(request, SessionsQuery)
    wanted = store.deleted() if query.deleted == "true" else store.list()
    if query.q is None or not query.q.strip():
        if query.deleted == "true":
            return await json_response({"sessions": [*map(session_row, wanted)]})
        tag = f'"{store.revision_of_all()}"'
        if known := unless_known(request, {"ETag": tag}):
            return known
        return await json_response({"sessions": [*map(session_row, wanted)]}, headers={"ETag": tag})
    found = await asyncio.to_thread(search, wanted, query.q)
    return await json_response(
        {"sessions": [{**session_row(session), "matches": [*map(match_json, matches)]} for session, matches in found]}
    )


@router.get("/sessions/{session_id}", tags=["sessions"], summary="A session with the turns of its current branch")
async def get_session(request: Request, session_id: str) -> Response:
    """Its ETag changes with anything in it: asked with `If-None-Match`, it costs nothing to look whether there is news."""
    sessions = gateway_of(request).sessions
    tag = f'"{sessions.revision(session_id)}"'
    if known := unless_known(request, {"ETag": tag}):
        return known
    response = await _session(request, sessions.get(session_id))
    response.headers["ETag"] = tag
    return response


@router.patch(
    "/sessions/{session_id}",
    tags=["sessions"],
    summary="Change what a session says of all its turns, or go to another branch",
    openapi_extra=openapi.PATCH,
)
async def change_session(request: Request, session_id: str) -> Response:
    """While it answers, it stays on its branch: that gives `session_busy`."""
    gateway = gateway_of(request)
    body = await read_body(request, SessionPatch)
    check_length("system", body.system, gateway.settings)
    session = gateway.sessions.get(session_id)
    title = session.title if body.title is None else body.title
    defaults = _defaults(session.defaults, body, gateway.settings)
    chosen = _chosen(session.branches, body.images or {})
    if body.branch is not None:
        try:
            session = gateway.sessions.switch(session_id, body.branch)
        except TurnNotFound as error:
            error.param = "branch"
            raise
    if body.model_fields_set == {"branch"}:
        return await _session(request, session)

    def changed(now: Session) -> Session:
        branches = replace(now.branches, pins=chosen.pins, sights=chosen.sights)
        return replace(now, title=title, defaults=defaults, branches=branches)

    return await _session(request, gateway.sessions.change(session_id, changed))


def _defaults(before: SessionDefaults, body: SessionPatch, settings: Settings) -> SessionDefaults:
    changed = changed_defaults(body, before, settings)
    own = None if body.glossary is None else glossary_of(body.glossary, None, settings)
    return replace(
        changed,
        system=before.system if body.system is None else body.system,
        policy=body.policy if "policy" in body.model_fields_set else before.policy,
        glossary=changed.glossary if own is None else own,
    )


def _chosen(branches: Branches, patches: Mapping[str, ImagePatch]) -> Branches:
    """The branches with other pins and sights. Raises ImageNotFound for an image that is not in them."""
    pins, sights, shown = dict(branches.pins), dict(branches.sights), set(branches.every_image_id) if patches else set()
    for image_id, patch in patches.items():
        if image_id not in shown:
            raise ImageNotFound("session_without_image", param=f"images.{image_id[:64]}")
        if "pinned" in patch.model_fields_set:
            pins.pop(image_id, None)
            if patch.pinned is not None:
                pins[image_id] = patch.pinned
        if "detail" in patch.model_fields_set:
            sights.pop(image_id, None)
            if patch.detail is not None:
                sights[image_id] = Sight(detail=patch.detail)
    return replace(branches, pins=pins, sights=sights)


@router.delete("/sessions/{session_id}", tags=["sessions"], summary="Delete a session", status_code=204)
async def delete_session(request: Request, session_id: str) -> Response:
    """Nobody finds it any more, and an answer that is running in it ends with `session_deleted`. For `session_undo` seconds it can be
    brought back; then, or when its room is needed, it is gone with its images."""
    gateway_of(request).sessions.delete(session_id)
    return Response(status_code=204)


@router.post("/sessions/{session_id}/restore", tags=["sessions"], summary="Take a deletion back")
async def restore_session(request: Request, session_id: str) -> Response:
    """`session_not_found` when it is too late."""
    return await _session(request, gateway_of(request).sessions.restore(session_id))


@router.post(
    "/sessions/{session_id}/fork",
    tags=["sessions"],
    summary="Copy the first turns of a session",
    status_code=201,
    openapi_extra=openapi.FORK,
)
async def fork_session(request: Request, session_id: str) -> Response:
    gateway = gateway_of(request)
    body = await read_body(request, ForkBody) if has_body(request) else ForkBody()
    forked = gateway.sessions.fork(session_id, body.at)
    return await json_response(session_json(forked, gateway.images, running=False), 201)


async def _session(request: Request, session: Session) -> Response:
    gateway = gateway_of(request)
    return await json_response(session_json(session, gateway.images, running=gateway.sessions.is_running(session.id)))
