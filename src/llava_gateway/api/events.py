"""One event stream for everything that changes in the gateway, so that no client has to ask again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api import openapi
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.native_frames import EventFrames, sse
from llava_gateway.api.ops import ready_json
from llava_gateway.api.stream import Sender, WatchedResponse
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.news import Changes

router = APIRouter(responses=openapi.ERRORS)
LEAST_PAUSE = 0.1
"""Seconds between the events of one burst and the next: changes in between are reported together."""


@router.get("/events", tags=["health"], summary="Follow what changes in the gateway", openapi_extra=openapi.NEWS)
async def events(request: Request) -> Response:
    """Follow the engines, the models, the sessions and the running answers. The event stream begins with the current state, and then has
    an event for each change. Several changes in a row may be reported together. It ends with `error` when the gateway stops.
    """
    return NewsResponse(gateway_of(request), request_id(request))


class NewsResponse(WatchedResponse):
    """The event stream of a gateway's changes."""

    def __init__(self, gateway: Gateway, request_id: str) -> None:
        super().__init__(gateway.settings, EventFrames(), request_id)
        self._gateway = gateway

    async def send_all(self, out: Sender) -> None:
        with self._gateway.news.reader() as reader:
            while True:
                changes = await reader.next()
                frames = b"".join(sse(name, data) for name, data in _events(changes, self._gateway))
                await out.write(frames, EventFrames.media_type)
                await asyncio.sleep(LEAST_PAUSE)


def _events(changes: Changes, gateway: Gateway) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (event, data) for each topic that has changed, as it is now."""
    if "engines" in changes.topics:
        yield "ready", ready_json(gateway.pool.state, ready=gateway.pool.state.ready)
        yield "models", {"revision": f"{gateway.news.run}-{gateway.pool.revision}"}
    if "running" in changes.topics:
        yield "running", {"sessions": list(gateway.answers.session_ids)}
    if "sessions" in changes.topics:
        changed = None if changes.sessions is None else sorted(changes.sessions)
        yield "sessions", {"etag": f'"{gateway.sessions.revision_of_all()}"', "changed": changed}
