"""Texts as vectors: POST /v1/embeddings."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import Request
from pybase64 import b64encode
from pydantic import Field
from starlette.responses import Response

from llava_gateway.api.bodies import parse_body
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.native_json import check_length
from llava_gateway.api.openai.common import OpenBody
from llava_gateway.api.options import parse_keep_alive
from llava_gateway.api.response import json_response
from llava_gateway.api.threads import in_thread
from llava_gateway.errors import InvalidRequest
from llava_gateway.settings import Settings

MOST_TEXTS = 2048


class EmbeddingsBody(OpenBody):
    model: str | None = Field(None, max_length=256)
    input: Any
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    keep_alive: Any = None


async def embeddings(request: Request) -> Response:
    """Return a vector for each text."""
    gateway = gateway_of(request)
    body = await read_any_json(request, lambda given: parse_body(EmbeddingsBody, given))
    if body.dimensions is not None:
        raise InvalidRequest("dimensions_fixed", param="dimensions")
    texts = texts_of(body.input, gateway.settings)
    model, made = await gateway.embed(texts, body.model or None, keep_alive=parse_keep_alive(body.keep_alive))
    rows: list[Any] = list(made.vectors)
    if body.encoding_format == "base64":
        rows = await in_thread(lambda: [encoded(vector) for vector in made.vectors])
    tokens = made.prompt_tokens or 0
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return await json_response({"object": "list", "data": data, "model": model.name, "usage": usage})


def texts_of(given: Any, settings: Settings) -> tuple[str, ...]:
    """Return the texts of `input`: one, or a list. Raises InvalidRequest; also for token ids, which no engine here takes."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_TEXTS or not all(isinstance(text, str) and text for text in texts):
        raise InvalidRequest("embed_input_wrong", values={"most": MOST_TEXTS}, param="input")
    for text in texts:
        check_length("input", text, settings)
    return tuple(texts)


def encoded(vector: Sequence[float]) -> str:
    """Return a vector as OpenAI's clients like it: little-endian 32-bit floats in base64."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode("ascii")
