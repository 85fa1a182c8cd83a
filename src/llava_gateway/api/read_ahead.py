"""POST /warm and its kin: reading ahead of a question that is still being typed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from llava_gateway.api import openapi
from llava_gateway.api.forms import read_question
from llava_gateway.api.response import JSONResponse
from llava_gateway.chat import ChatRequest
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.read_ahead import Warmed

router = APIRouter(responses=openapi.ERRORS)


def unasked(request: Request) -> str:
    """What stands for a question that is still to be typed. Templates put text after an image anyway, and a prompt that ends with one
    would end llama.cpp's server. It has no letters: images get the numbers before them in the language of the conversation so far, and
    where nothing was said yet in that of the one who asks."""
    return "。" if request.headers.get("accept-language", "").lower().startswith("zh") else "."


@router.post("/warm", tags=["questions"], summary="Read ahead of a question", openapi_extra=openapi.WARM)
async def warm(request: Request, wait: bool = True) -> JSONResponse:
    """The same body as /ask, with `prompt` or without. Lets an idle engine read what such a question begins with: system prompt,
    conversation, images. The question itself then waits for its own words only. Real questions go first."""
    gateway: Gateway = request.app.state.gateway
    return await _warm(gateway, await read_question(request, gateway, unasked=unasked(request), query=("wait",)), wait=wait)


@router.post("/sessions/{session_id}/warm", tags=["sessions"], summary="Read ahead in a session", openapi_extra=openapi.WARM)
async def warm_session(request: Request, session_id: str, wait: bool = True) -> JSONResponse:
    """The same as /warm with this session_id; without a body, the conversation so far."""
    gateway: Gateway = request.app.state.gateway
    gateway.sessions.get(session_id)
    question = await read_question(request, gateway, session_id, unasked=unasked(request), query=("wait",))
    return await _warm(gateway, question, wait=wait)


@router.post("/images/{image_id}/warm", tags=["images"], summary="Read a stored image ahead", openapi_extra=openapi.WARM_IMAGE)
async def warm_image(request: Request, image_id: str, model: str | None = None, wait: bool = True) -> JSONResponse:
    """The same as /warm with this image, before those of the body if it has any. Without a body it is read as a question about this
    image alone would have it."""
    gateway: Gateway = request.app.state.gateway
    question = await read_question(request, gateway, unasked=unasked(request), image_id=image_id, query=("model", "wait"))
    return await _warm(gateway, replace(question, model=question.model or model), wait=wait)


async def _warm(gateway: Gateway, asked: ChatRequest, *, wait: bool) -> JSONResponse:
    warmed = await gateway.warm(asked, wait=wait)
    return JSONResponse(warmed_json(warmed), 202 if warmed.status == "reading" else 200)


def warmed_json(warmed: Warmed) -> dict[str, Any]:
    return {
        "status": warmed.status,
        "reason": warmed.reason or None,
        "message": warmed.message or None,
        "model": warmed.model or None,
        "engine": warmed.engine or None,
        "prompt_tokens": warmed.usage.prompt_tokens,
        "cached_tokens": warmed.usage.cached_tokens,
        "ms": warmed.ms,
    }
