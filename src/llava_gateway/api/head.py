"""HEAD on every route that takes GET: its status and its headers, without a body."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Answers HEAD with the status and headers of GET. The body is not sent, and a streamed body is not even produced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        scope["state"]["head"] = True
        try:
            async with asyncio.timeout(None) as answering:

                async def send_head(message: Message) -> None:
                    await send(message)
                    await send({"type": "http.response.body"})
                    answering.reschedule(0)  # the body would come next
                    await asyncio.Event().wait()

                await self._app({**scope, "method": "GET"}, receive, send_head)
        except TimeoutError:
            if not answering.expired():
                raise


def wants_head_only(request: Request) -> bool:
    """Return whether the response's body will be dropped; for routes whose body takes time to produce."""
    return bool(request.scope["state"].get("head"))
