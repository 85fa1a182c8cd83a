"""The JSON responses of all routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from starlette import responses
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from llava_gateway.api.threads import LARGE, in_thread
from llava_gateway.json_pieces import json_pieces


class JSONResponse(responses.JSONResponse):
    """JSON with a newline at its end, so that a shell's prompt starts on its own line."""

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


class LargeJSON(responses.Response):
    """JSON that a thread makes and writes when the response is sent: the probabilities of an answer's tokens are a hundred times as long as
    the answer.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(media_type="application/json")
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await json_response(await in_thread(self._make))
        await response(scope, receive, send)


async def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> responses.Response:
    """Return content that may be large as JSON: a thread writes it in parts."""
    pieces = chain(json_pieces(content), [b"\n"])
    begun = next(pieces)
    body = begun + b"".join(pieces) if len(begun) <= LARGE else await in_thread(lambda: b"".join(chain([begun], pieces)))
    return responses.Response(body, status, headers, media_type="application/json")


def unless_known(request: Request, headers: Mapping[str, str]) -> responses.Response | None:
    """Return a 304 if the client has the version that the ETag in these headers names, else None."""
    known = request.headers.get("if-none-match") == headers["ETag"]
    return responses.Response(status_code=304, headers=headers) if known else None
