"""POST /api/embed and, in its old shape, /api/embeddings: texts as vectors."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api.bodies import parse_body
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.native_json import check_length
from llava_gateway.api.ollama.bodies import EmbedBody, OldEmbedBody
from llava_gateway.api.ollama.frames import ns_json
from llava_gateway.api.ollama.names import find_model
from llava_gateway.api.ollama.options import keep_alive_of
from llava_gateway.api.response import json_response
from llava_gateway.api.threads import in_thread

router = APIRouter()


@router.post("/api/embed", include_in_schema=False)
async def embed(request: Request) -> Response:
    """Embed one text or several. A text that is too long is rejected, and never cut."""
    gateway = gateway_of(request)
    started = time.monotonic()
    body = await read_any_json(request, partial(parse_body, EmbedBody))
    for index, text in enumerate(body.texts):
        check_length(f"input[{index}]", text, gateway.settings)
    model, keep_alive = await find_model(gateway, body.asked_for), keep_alive_of(body.keep_alive)
    if not body.texts:
        await gateway.load(model.name, keep_alive=keep_alive)
        return await json_response({"model": body.asked_for, "embeddings": []})
    _, found = await gateway.embed(body.texts, model.name, keep_alive=keep_alive)
    vectors = await in_thread(shortened, found.vectors, body.dimensions) if body.dimensions else found.vectors
    counted = {"prompt_eval_count": found.prompt_tokens} if found.prompt_tokens else {}
    took = ns_json(total_duration=(time.monotonic() - started) * 1000)
    return await json_response({"model": body.asked_for, "embeddings": vectors, **took, **counted})


@router.post("/api/embeddings", include_in_schema=False)
async def embed_one(request: Request) -> Response:
    """Embed one text, for clients from before /api/embed."""
    gateway = gateway_of(request)
    body = await read_any_json(request, partial(parse_body, OldEmbedBody))
    check_length("prompt", body.prompt, gateway.settings)
    model, keep_alive = await find_model(gateway, body.asked_for), keep_alive_of(body.keep_alive)
    if not body.prompt:
        await gateway.load(model.name, keep_alive=keep_alive)
        return await json_response({"embedding": []})
    _, found = await gateway.embed((body.prompt,), model.name, keep_alive=keep_alive)
    return await json_response({"embedding": found.vectors[0]})


def shortened(vectors: Sequence[Sequence[float]], dimensions: int) -> list[list[float]]:
    """Return the first components of each vector, scaled to length 1 again."""
    return [[value / (math.hypot(*vector[:dimensions]) or 1) for value in vector[:dimensions]] for vector in vectors]
