"""The models as Anthropic lists them: in pages. The routes are shared with OpenAI's API, which has the same paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from llava_gateway.api.deps import gateway_of
from llava_gateway.api.response import JSONResponse
from llava_gateway.engines.base import ModelInfo
from llava_gateway.errors import InvalidRequest, ModelNotFound

PAGE = 20
MOST = 1000
UNKNOWN_DATE = "1970-01-01T00:00:00Z"
"""What Anthropic writes for a date that is not known."""


async def list_response(request: Request) -> Response:
    """Return a page of the models of all running engines. Raises InvalidRequest."""
    state = await gateway_of(request).pool.refresh()
    named = {model.name: model for model in reversed(state.models)}  # the first of two with the same name answers
    return JSONResponse(page_json([named[name] for name in dict.fromkeys(model.name for model in state.models)], request))


async def model_response(request: Request, name: str) -> Response:
    """Return one model. Raises ModelNotFound."""
    return JSONResponse(model_json(await gateway_of(request).pool.resolve(name)))


def page_json(models: Sequence[ModelInfo], request: Request) -> dict[str, Any]:
    """Render the models after `after_id`, else those before `before_id`, else the first ones. Raises InvalidRequest, ModelNotFound."""
    query = request.query_params
    limit = _limit(query.get("limit"))
    names = [model.name for model in models]
    if after := query.get("after_id"):
        begin = _place(after, names, "after_id") + 1
        end = begin + limit
        more = end < len(models)
    elif before := query.get("before_id"):
        end = _place(before, names, "before_id")
        begin = max(0, end - limit)
        more = begin > 0
    else:
        begin, end, more = 0, limit, limit < len(models)
    rows = [model_json(model) for model in models[begin:end]]
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"data": rows, "has_more": more, "first_id": first, "last_id": last}


def model_json(model: ModelInfo) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
        "max_input_tokens": model.loaded_context or model.own_context or model.context_length,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST):
        raise InvalidRequest("limit_wrong", values={"most": MOST}, param="limit")
    return int(text)


def _place(name: str, names: Sequence[str], param: str) -> int:
    if name not in names:
        raise ModelNotFound(param=param)
    return names.index(name)
