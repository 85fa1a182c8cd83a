"""JSON as all routes answer it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from starlette import responses
from starlette.requests import Request

from llava_gateway.api.threads import LARGE, in_thread
from llava_gateway.json_pieces import json_pieces


class JSONResponse(responses.JSONResponse):
    """With a newline at its end, so that a shell's prompt stands on a line of its own."""

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


async def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> responses.Response:
    """The same for what may be large: then a thread writes it, part by part."""
    pieces = chain(json_pieces(content), [b"\n"])
    begun = next(pieces)
    body = begun + b"".join(pieces) if len(begun) <= LARGE else await in_thread(lambda: b"".join(chain([begun], pieces)))
    return responses.Response(body, status, headers, media_type="application/json")


def unless_known(request: Request, headers: Mapping[str, str]) -> responses.Response | None:
    """304 where the client has what these headers' ETag names."""
    known = request.headers.get("if-none-match") == headers["ETag"]
    return responses.Response(status_code=304, headers=headers) if known else None
