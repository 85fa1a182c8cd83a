"""The running answer of a session: read it from another connection, or stop it."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api import openapi
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.native_frames import EventFrames, sse
from llava_gateway.api.native_json import stored_image_json
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.stream import AttachedResponse
from llava_gateway.chat import ChatRequest, Message
from llava_gateway.errors import ImageNotFound
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.running import RunningAnswer
from llava_gateway.parts import ImagePart

router = APIRouter(responses=openapi.ERRORS)
_EVENT_ID = re.compile(r"([0-9a-f]{8})-(\d{1,9})")


@router.get("/sessions/{session_id}/events", tags=["sessions"], summary="Follow the running answer", openapi_extra=openapi.EVENTS)
async def follow(request: Request, session_id: str) -> Response:
    """Follow the answer that the session is writing. The event stream begins with `question`, which contains the question, followed by
    all events of the answer; with `Last-Event-ID`, by those after that event. Any number of clients may follow it. Answers 204 if no
    answer is running.
    """
    gateway = gateway_of(request)
    gateway.sessions.get(session_id)
    running = gateway.answers.get(session_id)
    if running is None:
        return Response(status_code=204)
    begin = _next(running, request.headers.get("last-event-id", ""))
    question = b"" if begin else sse("question", _question(running.request, gateway))
    return AttachedResponse(running, begin, question, gateway.settings, EventFrames(), request_id(request))


@router.post("/sessions/{session_id}/cancel", tags=["sessions"], summary="Stop the running answer", openapi_extra=openapi.CANCEL)
async def cancel(request: Request, session_id: str) -> Response:
    """Stop the running answer. Responds once the engine has stopped and the session has stored the text so far. All readers of the
    answer get the error `answer_cancelled`. `cancelled` is false if no answer was running.
    """
    gateway = gateway_of(request)
    gateway.sessions.get(session_id)
    running = gateway.answers.get(session_id)
    if running is not None:
        await running.cancel("answer_cancelled")
    return JSONResponse({"cancelled": running is not None and running.reason == "answer_cancelled"})


def _question(request: ChatRequest, gateway: Gateway) -> dict[str, Any]:
    """Render the question of a running answer with its stored images; an upload may still be in preparation."""
    if request.continues is None or request.session_id is None:
        question, after, model = request.question, request.after, request.model
    else:
        turn = gateway.sessions.get(request.session_id).turns[-1]
        question, after, model = Message("user", turn.parts), turn.parent or None, turn.model
    images = []
    for part in question.parts:
        if isinstance(part, ImagePart):
            with suppress(ImageNotFound):
                images.append(stored_image_json(part.image_id, gateway.images.get(part.image_id).info, None))
    return {"prompt": question.text_without_notes, "after": after, "model": model, "continues": request.continues, "images": images}


def _next(running: RunningAnswer, last_event_id: str) -> int:
    """Return the number of the event to continue with; 0 if the id belongs to another answer, or if there is none."""
    named = _EVENT_ID.fullmatch(last_event_id)
    return int(named[2]) + 1 if named and named[1] == running.key else 0
