"""The files of the page, and how long a browser may cache them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from starlette.datastructures import QueryParams
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOREVER = "public, max-age=31536000, immutable"
ASK_FIRST = "no-cache"
DIGITS = 12
"""Characters of the digest in an address, as scripts/page/build.js writes it into index.html."""


class PageFiles(StaticFiles):
    """Lets browsers cache a file forever if its address contains the digest of its content (`?v=`). Browsers must revalidate other
    files before each use, so that an upgrade never mixes old and new files.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        version = QueryParams(scope["query_string"]).get("v")
        kept = version is not None and isinstance(response, FileResponse) and version == digest(Path(response.path))
        response.headers["Cache-Control"] = FOREVER if kept else ASK_FIRST
        return response


def digest(path: Path) -> str:
    return _digest(path, path.stat().st_mtime_ns)


@cache
def _digest(path: Path, changed_at: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
