"""POST /count_tokens: how full the model's context would be, before the question is asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api import openapi
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.forms import read_question
from llava_gateway.api.native_json import dropped_json, notes_json
from llava_gateway.api.read_ahead import placeholder
from llava_gateway.api.response import json_response
from llava_gateway.context.window import ASSUMED_CONTEXT, num_ctx_needed
from llava_gateway.gateway.forecast import Forecast
from llava_gateway.gateway.prompt import Prompt
from llava_gateway.notes import note

router = APIRouter(responses=openapi.ERRORS)


@router.post(
    "/count_tokens", tags=["questions"], summary="Count the tokens of a question before you ask it", openapi_extra=openapi.QUESTION
)
async def count_tokens(request: Request) -> Response:
    """Count the tokens of a request. Takes the same body as /ask, with `prompt` or without. `total` is what the engine will count for
    the request as it would be sent, after the policy has dropped what it may drop. `fits` tells whether that leaves room for the
    answer, `over` by how many tokens it is too long. `turns` lists the tokens of each turn, `next` what would be dropped next. The
    model is not asked.
    """
    gateway = gateway_of(request)
    prompt = await gateway.count_tokens(await read_question(request, gateway, placeholder=placeholder(request)))
    return await json_response(count_json(prompt) | forecast_json(gateway.forecast(prompt)))


def forecast_json(forecast: Forecast) -> dict[str, Any]:
    """Render a forecast. `text_tokens` are always an estimate; items of `next` with the same `together` are dropped at once."""
    return {
        "turns": [asdict(turn) for turn in forecast.turns],
        "next": [dropped_json(item) for item in forecast.next],
        "together": forecast.together,
        "larger": {"num_ctx": forecast.larger, "last_load_ms": forecast.last_load_ms} if forecast.larger else None,
    }


def count_json(prompt: Prompt) -> dict[str, Any]:
    fitted, count = prompt.fitted, prompt.fitted.count
    if count is None:
        raise RuntimeError("count_tokens counts in any case")
    warnings = list(prompt.warnings)
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
        "model": prompt.model.name,
        "policy": prompt.rules.policy,
        "dropped": [dropped_json(item) for item in fitted.dropped],
        "warnings": notes_json(warnings),
    }
