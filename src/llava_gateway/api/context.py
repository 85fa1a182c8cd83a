"""POST /count_tokens: how full the model's context would be, before anything is spent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from llava_gateway.api import openapi
from llava_gateway.api.forms import read_question
from llava_gateway.api.native_json import dropped_json, notes_json
from llava_gateway.api.read_ahead import unasked
from llava_gateway.api.response import JSONResponse
from llava_gateway.context.window import ASSUMED_CONTEXT, num_ctx_needed
from llava_gateway.gateway.forecast import Outlook
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.prompt import Prepared
from llava_gateway.notes import note

router = APIRouter(responses=openapi.ERRORS)


@router.post("/count_tokens", tags=["questions"], summary="Count a question's tokens before asking it", openapi_extra=openapi.ASK)
async def count_tokens(request: Request) -> JSONResponse:
    """The same body as /ask, with `prompt` or without. `total` is what the engine will count for that request, as it would be sent: after
    the policy has dropped what it may. `fits` tells whether that leaves room for the answer, `over` how many tokens are too many. `turns`
    tells what it is spent on, `next` what would go next. Nothing is asked of the model."""
    gateway: Gateway = request.app.state.gateway
    prepared = await gateway.count_tokens(await read_question(request, gateway, unasked=unasked(request)))
    return JSONResponse(count_json(prepared) | outlook_json(gateway.outlook(prepared)))


def outlook_json(outlook: Outlook) -> dict[str, Any]:
    """`text_tokens` are reckoned in any case; `together` of the items of `next` go at once."""
    return {
        "turns": [asdict(turn) for turn in outlook.turns],
        "next": [dropped_json(item) for item in outlook.next],
        "together": outlook.together,
        "larger": {"num_ctx": outlook.larger, "last_load_ms": outlook.last_load_ms} if outlook.larger else None,
    }


def count_json(prepared: Prepared) -> dict[str, Any]:
    fitted, count = prepared.fitted, prepared.fitted.count
    if count is None:
        raise RuntimeError("count_tokens counts in any case")
    warnings = list(prepared.warnings)
    if fitted.limit is None:
        warnings.append(note("limit_assumed", limit=ASSUMED_CONTEXT))
    return {
        "total": count.total,
        "limit": fitted.limit or ASSUMED_CONTEXT,
        "fits": not fitted.over,
        "over": fitted.over,
        "parts": {"system": count.system, "text": count.text, "images": list(count.images)},
        "answer_room": fitted.room,
        "num_ctx_needed": num_ctx_needed(count.total + fitted.room),
        "label": count.label,
        "model": prepared.model.name,
        "policy": prepared.rules.policy,
        "dropped": [dropped_json(item) for item in fitted.dropped],
        "warnings": notes_json(warnings),
    }
