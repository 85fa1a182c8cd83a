"""JSON as all routes answer it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette import responses
from starlette.requests import Request


class JSONResponse(responses.JSONResponse):
    """With a newline at its end, so that a shell's prompt stands on a line of its own."""

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


def unless_known(request: Request, headers: Mapping[str, str]) -> responses.Response | None:
    """304 where the client has what these headers' ETag names."""
    known = request.headers.get("if-none-match") == headers["ETag"]
    return responses.Response(status_code=304, headers=headers) if known else None
