"""The list of models, read by the official client."""

from __future__ import annotations

import pytest
from anthropic import AsyncAnthropic, BadRequestError, NotFoundError
from anthropic.types import ModelInfo
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from llava_gateway.api.anthropic.models import list_response, model_response
from llava_gateway.settings import Settings
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving

NAMES = tuple(f"m{number}" for number in range(25))
HEADERS = {"anthropic-version": "2026-10-21"}

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> Response:
    return await list_response(request)


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    return await model_response(request, name)


def names(page: dict[str, object]) -> list[str]:
    rows = page["data"]
    assert isinstance(rows, list)
    return [row["id"] for row in rows]


async def listed(served: Served, **query: str) -> dict[str, object]:
    response = await served.client.get("/v1/models", params=query, headers=HEADERS)
    page: dict[str, object] = response.json()
    TypeAdapter(list[ModelInfo]).validate_python(page["data"])
    assert (page["first_id"], page["last_id"]) == (names(page)[0], names(page)[-1]) if names(page) else (None, None)
    return page


async def test_models_are_listed_in_pages() -> None:
    async with serving(Settings(port=0, image_workers=1), [ScriptedEngine(model_names=NAMES)], routers=[router]) as served:
        first = await listed(served)
        assert (names(first), first["has_more"]) == ([*NAMES[:20]], True)
        second = await listed(served, after_id="m19")
        assert (names(second), second["has_more"]) == ([*NAMES[20:]], False)
        third = await listed(served, before_id="m5", limit="2")
        assert (names(third), third["has_more"]) == (["m3", "m4"], True)
        assert (await listed(served, before_id="m0"))["first_id"] is None
        async with AsyncAnthropic(base_url=served.url, api_key="unused", max_retries=0) as client:
            assert [each.id async for each in client.models.list(limit=10)] == [*NAMES]
            assert (await client.models.retrieve("m7")).display_name == "m7"
            with pytest.raises(NotFoundError):
                await client.models.retrieve("nope")
            with pytest.raises(NotFoundError):
                await client.models.list(after_id="nope")
            for wrong in (0, 1001):
                with pytest.raises(BadRequestError):
                    await client.models.list(limit=wrong)


async def test_a_name_that_two_engines_have_is_listed_once() -> None:
    engines = [ScriptedEngine(model_names=("a", "b")), ScriptedEngine(name="openai", model_names=("b", "c"))]
    async with serving(Settings(port=0, image_workers=1), engines, routers=[router]) as served:
        assert names(await listed(served)) == ["a", "b", "c"]
