"""POST /read_ahead and its kin: reading ahead of a question that is still being typed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from llava_gateway.api import openapi
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.forms import read_question
from llava_gateway.api.response import JSONResponse
from llava_gateway.chat import ChatRequest
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.read_ahead import ReadAheadResult

router = APIRouter(responses=openapi.ERRORS)


def unasked(request: Request) -> str:
    """What stands for a question that is still to be typed. Templates put text after an image anyway, and a prompt that ends with one
    would end llama.cpp's server. It has no letters: images get the numbers before them in the language of the conversation so far, and
    where nothing was said yet in that of the one who asks."""
    return "。" if request.headers.get("accept-language", "").lower().startswith("zh") else "."


@router.post("/read_ahead", tags=["questions"], summary="Read ahead of a question", openapi_extra=openapi.READ_AHEAD)
async def read_ahead(request: Request, wait: bool = True) -> JSONResponse:
    """The same body as /ask, with `prompt` or without. Lets an idle engine read what such a question begins with: system prompt,
    conversation, images. The question itself then waits for its own words only. Real questions go first."""
    gateway = gateway_of(request)
    return await _warm(gateway, await read_question(request, gateway, unasked=unasked(request), query=("wait",)), wait=wait)


@router.post("/sessions/{session_id}/read_ahead", tags=["sessions"], summary="Read ahead in a session", openapi_extra=openapi.READ_AHEAD)
async def read_session_ahead(request: Request, session_id: str, wait: bool = True) -> JSONResponse:
    """The same as /read_ahead with this session_id; without a body, the conversation so far."""
    gateway = gateway_of(request)
    gateway.sessions.get(session_id)
    question = await read_question(request, gateway, session_id, unasked=unasked(request), query=("wait",))
    return await _warm(gateway, question, wait=wait)


@router.post("/images/{image_id}/read_ahead", tags=["images"], summary="Read a stored image ahead", openapi_extra=openapi.READ_IMAGE_AHEAD)
async def read_image_ahead(request: Request, image_id: str, model: str | None = None, wait: bool = True) -> JSONResponse:
    """The same as /read_ahead with this image, before those of the body if it has any. Without a body it is read as a question about this
    image alone would have it."""
    gateway = gateway_of(request)
    question = await read_question(request, gateway, unasked=unasked(request), image_id=image_id, query=("model", "wait"))
    return await _warm(gateway, replace(question, model=question.model or model), wait=wait)


async def _warm(gateway: Gateway, asked: ChatRequest, *, wait: bool) -> JSONResponse:
    result = await gateway.read_ahead(asked, wait=wait)
    return JSONResponse(read_ahead_json(result), 202 if result.status == "reading" else 200)


def read_ahead_json(result: ReadAheadResult) -> dict[str, Any]:
    return {
        "status": result.status,
        "reason": result.reason or None,
        "message": result.message or None,
        "model": result.model or None,
        "engine": result.engine or None,
        "prompt_tokens": result.usage.prompt_tokens,
        "cached_tokens": result.usage.cached_tokens,
        "ms": result.ms,
    }
