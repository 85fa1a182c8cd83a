"""The native API: questions, images, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.answers import Sent
from llava_gateway.api import openapi
from llava_gateway.api.bodies import ContinueBody, ForkBody, ImagePatch, RotateQuery, SessionBody, SessionPatch, SessionsQuery
from llava_gateway.api.defaults import changed_defaults
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.forms import AskRequest, read_ask, read_file, read_image, read_query
from llava_gateway.api.json_body import has_body, read_body
from llava_gateway.api.native_frames import JSONFrames, frames_for, wanted_output_format
from llava_gateway.api.native_json import changed_response, check_length, found_json, session_response, session_row, stored_image_json
from llava_gateway.api.options import glossary_of, parse_keep_alive, parse_options
from llava_gateway.api.pages import document_json
from llava_gateway.api.response import JSONResponse, json_response, unless_known
from llava_gateway.api.stream import AnswerResponse
from llava_gateway.chat import ChatRequest, Message
from llava_gateway.errors import ImageNotFound, InvalidRequest, TurnNotFound
from llava_gateway.parts import Sight, TextPart
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.search import search
from llava_gateway.sessions.session import Session, SessionDefaults
from llava_gateway.settings import Settings

router = APIRouter(responses=openapi.ERRORS)


@router.post("/ask", tags=["questions"], summary="Ask about images", openapi_extra=openapi.ASK)
async def ask(request: Request) -> Response:
    """Ask a question. Answers with JSON, an event stream or plain text, as the Accept header asks; if it names none of them, as
    `stream` says. Without `session_id` nothing is stored.
    """
    gateway = gateway_of(request)
    return _answer(request, await read_ask(request, gateway))


@router.post("/sessions/{session_id}/turns", tags=["sessions"], summary="Ask in a session", openapi_extra=openapi.ASK)
async def ask_in_session(request: Request, session_id: str) -> Response:
    """Ask a question in a session: the same as /ask with this session_id."""
    gateway = gateway_of(request)
    gateway.sessions.get(session_id)
    return _answer(request, await read_ask(request, gateway, session_id))


@router.post(
    "/sessions/{session_id}/continue", tags=["sessions"], summary="Continue an answer that was cut off", openapi_extra=openapi.CONTINUE
)
async def continue_answer(request: Request, session_id: str) -> Response:
    """Continue the last answer of a session, if it was stopped, broke off or reached its length limit. The turn stays the same, and its
    answer grows: `delta` events have the new words, `done` and the JSON the whole answer. If this fails, the turn keeps what it had.
    """
    gateway = gateway_of(request)
    session = gateway.sessions.get(session_id)
    body = await read_body(request, ContinueBody) if has_body(request) else ContinueBody()
    if body.turn is None and not session.turns:
        raise InvalidRequest("nothing_to_continue")
    question = ChatRequest(
        (),
        session_id=session_id,
        continues=body.turn or session.turns[-1].id,
        options=parse_options(body.options, None, gateway.settings),
        keep_alive=parse_keep_alive(body.keep_alive),
    )
    return _answer(request, AskRequest(question, body.stream, body.on_disconnect or gateway.settings.on_disconnect))


def _answer(request: Request, asked: AskRequest) -> AnswerResponse:
    frames = frames_for(wanted_output_format(request.headers.get("accept", ""), stream=bool(asked.stream)))
    return AnswerResponse(gateway_of(request), asked.question, frames, request_id(request), asked.on_disconnect)


@router.post("/analyze_image", tags=["questions"], summary="Ask about one image, the short way", openapi_extra=openapi.ANALYZE)
async def analyze_image(request: Request) -> Response:
    """Ask about an image. Takes a multipart `image` and `question`; answers `{"response": ...}` and nothing else."""
    gateway = gateway_of(request)
    upload, question = await read_image(request, gateway.settings, beside="question")
    if not question.strip():
        raise InvalidRequest("field_missing", param="question")
    asked = ChatRequest((Message("user", (upload, TextPart(question))),))
    return AnswerResponse(gateway, asked, JSONFrames(lambda answer: {"response": answer.text}), request_id(request))


@router.post("/images", tags=["images"], summary="Store an image", status_code=201, openapi_extra=openapi.UPLOAD)
async def store_image(request: Request) -> Response:
    """Store an image. Questions can then name it by its id. `sent` tells what the model would get."""
    gateway = gateway_of(request)
    upload, model = await read_image(request, gateway.settings, beside="model")
    image_id, image, rendition = await gateway.image_requests.store(upload, model or None)
    return JSONResponse(stored_image_json(image_id, image.info, Sent.of(rendition) if rendition else None), 201)


@router.post("/documents", tags=["images"], summary="List the pages of a document", openapi_extra=openapi.DOCUMENT)
async def list_pages(request: Request) -> Response:
    """List the pages of a PDF or a TIFF, or the frames of an animation that differ most, each with a thumbnail. Nothing is stored: send the
    file with `pages` or `frames` to POST /images or with a question.
    """
    gateway = gateway_of(request)
    upload = await read_file(request, gateway.settings)
    return await json_response(document_json(*await gateway.image_requests.pages(upload)))


@router.post("/images/{image_id}/rotate", tags=["images"], summary="Rotate a stored image", status_code=201, openapi_extra=openapi.ROTATE)
async def rotate_image(request: Request, image_id: str) -> Response:
    """Rotate an image clockwise by 90, 180 or 270 degrees. The result is another image with its own id. Rotate the original each time:
    then a JPEG is encoded again only once.
    """
    query = read_query(request, RotateQuery)
    rotated_id, image, rendition = await gateway_of(request).image_requests.rotated(image_id, query.by, query.model)
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
    session = Session(
        title=body.title,
        model=model.name if model else "",
        engine=model.engine if model else None,
        defaults=defaults,
        temporary=body.temporary,
    )
    return await changed_response(gateway.sessions.create(session), gateway, 201)


@router.get("/sessions", tags=["sessions"], summary="List all sessions, most recently changed first", openapi_extra=openapi.SESSIONS)
async def list_sessions(request: Request) -> Response:
    """List the sessions. With `q`, only those with these words in title, prompts or answers, each with its first `matches`; case is
    ignored.
    """
    gateway = gateway_of(request)
    query = read_query(request, SessionsQuery)
    text = (query.q or "").strip()
    if query.deleted == "true":
        deleted = gateway.sessions.deleted()
        found = await asyncio.to_thread(search, deleted, text) if text else [(session.summary, None) for session in deleted]
    elif text:
        found = await gateway.search(text)
    else:
        tag = f'"{gateway.sessions.revision_of_all()}"'
        if known := unless_known(request, {"ETag": tag}):
            return known
        return await json_response({"sessions": [*map(session_row, gateway.sessions.list())]}, headers={"ETag": tag})
    return await json_response({"sessions": [found_json(summary, matches) for summary, matches in found]})


@router.get(
    "/sessions/{session_id}",
    tags=["sessions"],
    summary="Return a session with the turns of its current branch",
    openapi_extra=openapi.GET_SESSION,
)
async def get_session(request: Request, session_id: str) -> Response:
    """Return a session. Its ETag changes with every change in the session: with `If-None-Match`, polling is cheap."""
    sessions = gateway_of(request).sessions
    tag = f'"{sessions.revision(session_id)}"'
    if known := unless_known(request, {"ETag": tag}):
        return known
    response = await session_response(sessions.get(session_id), gateway_of(request))
    response.headers["ETag"] = tag
    return response


@router.patch(
    "/sessions/{session_id}",
    tags=["sessions"],
    summary="Change the fields of a session, or switch to another branch",
    openapi_extra=openapi.PATCH,
)
async def change_session(request: Request, session_id: str) -> Response:
    """Change a session. While it answers, its branch can't be changed: that gives `session_busy`."""
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
        return await changed_response(session, gateway)

    def changed(now: Session) -> Session:
        branches = replace(now.branches, pins=chosen.pins, sights=chosen.sights)
        return replace(now, title=title, defaults=defaults, branches=branches)

    return await changed_response(gateway.sessions.change(session_id, changed), gateway)


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
    """Change pins and sights of images in the branches. Raises ImageNotFound for an image that is not in them."""
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
    """Delete a session. It is hidden at once, and its running answer ends with `session_deleted`. It can be restored for `session_undo`
    seconds; then, or when its memory is needed, it is removed with its images.
    """
    sessions = gateway_of(request).sessions
    sessions.delete(session_id)
    await sessions.wait_saved(session_id)
    return Response(status_code=204)


@router.delete("/sessions", tags=["sessions"], summary="Delete all sessions", status_code=204)
async def delete_sessions(request: Request) -> Response:
    """Delete all sessions with their images, also those that could be restored. Returns once they are gone from the disk. This can't be
    undone.
    """
    await gateway_of(request).sessions.delete_all()
    return Response(status_code=204)


@router.post("/sessions/{session_id}/restore", tags=["sessions"], summary="Restore a deleted session")
async def restore_session(request: Request, session_id: str) -> Response:
    """Restore a deleted session. Answers `session_not_found` if it is too late."""
    gateway = gateway_of(request)
    return await changed_response(gateway.sessions.restore(session_id), gateway)


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
    return await changed_response(gateway.sessions.fork(session_id, body.at), gateway, 201)
