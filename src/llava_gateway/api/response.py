"""JSON as all routes answer it."""

from __future__ import annotations

from typing import Any

from starlette import responses


class JSONResponse(responses.JSONResponse):
    """With a newline at its end, so that a shell's prompt stands on a line of its own."""

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"
