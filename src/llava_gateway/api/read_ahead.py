"""POST /read_ahead and its variants: read ahead of a question while the user types it."""

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


def placeholder(request: Request) -> str:
    """Return the placeholder for a question that is not typed yet. Templates put text after an image anyway, and a prompt that ends
    with an image would crash llama.cpp's server. It has no letters, so the image numbers are in the language of the conversation so far
    or, if there is none, of the client.
    """
    return "。" if request.headers.get("accept-language", "").lower().startswith("zh") else "."


@router.post("/read_ahead", tags=["questions"], summary="Read ahead for a question", openapi_extra=openapi.READ_AHEAD)
async def read_ahead(request: Request, wait: bool = True) -> JSONResponse:
    """Read ahead of a question. Takes the same body as /ask, with `prompt` or without. Lets an idle engine read what such a question
    begins with: system prompt, conversation, images. Then only the question's own words are left to read. Real questions take
    precedence.
    """
    gateway = gateway_of(request)
    return await _read_ahead(gateway, await read_question(request, gateway, placeholder=placeholder(request), query=("wait",)), wait=wait)


@router.post("/sessions/{session_id}/read_ahead", tags=["sessions"], summary="Read ahead in a session", openapi_extra=openapi.READ_AHEAD)
async def read_session_ahead(request: Request, session_id: str, wait: bool = True) -> JSONResponse:
    """Read ahead in a session: the same as /read_ahead with this session_id; without a body, reads the conversation so far."""
    gateway = gateway_of(request)
    gateway.sessions.get(session_id)
    question = await read_question(request, gateway, session_id, placeholder=placeholder(request), query=("wait",))
    return await _read_ahead(gateway, question, wait=wait)


@router.post(
    "/images/{image_id}/read_ahead", tags=["images"], summary="Read ahead for a stored image", openapi_extra=openapi.READ_IMAGE_AHEAD
)
async def read_image_ahead(request: Request, image_id: str, model: str | None = None, wait: bool = True) -> JSONResponse:
    """Read ahead of a question about this image, which comes before any images of the body. Otherwise the same as /read_ahead. Without
    a body, reads the prompt of a question about this image alone.
    """
    gateway = gateway_of(request)
    question = await read_question(request, gateway, placeholder=placeholder(request), image_id=image_id, query=("model", "wait"))
    return await _read_ahead(gateway, replace(question, model=question.model or model), wait=wait)


async def _read_ahead(gateway: Gateway, asked: ChatRequest, *, wait: bool) -> JSONResponse:
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
