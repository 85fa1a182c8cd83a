"""What `llava-gateway mcp` runs: the tools, the files that an agent may name, and the connection to a gateway."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from llava_gateway.api.mcp.server import build_server, serve_stdio
from llava_gateway.api.mcp.tools import Read, Refused
from llava_gateway.cli.client import GatewayClient, connect
from llava_gateway.cli.console import Failure
from llava_gateway.cli.image_paths import local_path
from llava_gateway.errors import InvalidRequest

MOST_BYTES = 96 * 1024**2
"""In base64, this is the largest body that a gateway takes by default."""


def serve(own: Sequence[Path], url: str | None, api_key: str | None, config: Path | None) -> None:
    """Serve an agent on stdin and stdout until it closes them. It may name files in the folders `own`; the rest is as in `connect`."""
    with ExitStack() as stack:
        connection = Connection(stack, url, api_key, config)
        asyncio.run(serve_stdio(build_server(connection.ask, lambda roots: reader(folders(roots, own)))))


class Connection:
    """The connection to a gateway, made for the first question: a client waits for this program to start, but not for a model."""

    def __init__(self, stack: ExitStack, *where: Any) -> None:
        self._stack = stack
        self._where = where
        self._client: GatewayClient | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the gateway. Raises Refused."""
        try:
            async with self._connecting:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._stack.enter_context, connect(*self._where))
            return await self._client.ask_once(body)
        except Failure as failure:
            raise Refused(f"{failure.message} {failure.hint}".strip()) from failure


def folders(roots: tuple[str, ...] | None, own: Sequence[Path]) -> tuple[Path, ...]:
    """Return the folders in which an agent may name files.

    Args:
        roots: file:// addresses of the client's roots; None if it has none.
        own: those of --root.
    """
    if roots is None and not own:
        here = Path.cwd()
        return () if here.parent == here else (here,)  # programs with windows start their servers in /
    return tuple(path.expanduser().resolve() for path in (*map(local_path, roots or ()), *own))


def reader(allowed: tuple[Path, ...]) -> Read:
    async def read(name: str, param: str) -> str:
        return await asyncio.to_thread(read_file, name, param, allowed)

    return read


def read_file(name: str, param: str, allowed: tuple[Path, ...]) -> str:
    """Return a file inside the `allowed` folders in base64. A relative name is looked for in each of them. Raises InvalidRequest."""
    try:
        path = local_path(name.strip())
        places = [path] if path.is_absolute() else [folder / path for folder in allowed]
        inside = [place for place in (one.resolve() for one in places) if any(place.is_relative_to(folder.resolve()) for folder in allowed)]
        if not inside:
            raise InvalidRequest("path_outside", param=param)
        found = next((place for place in inside if place.is_file()), None)
        if found is None:
            raise InvalidRequest("path_missing", param=param)
        if found.stat().st_size > MOST_BYTES:
            raise InvalidRequest("path_too_large", values={"most_bytes": MOST_BYTES}, param=param)
        return b64encode(found.read_bytes()).decode()
    except (OSError, RuntimeError, ValueError):  # a name that no file can have, a loop of links, no permission
        raise InvalidRequest("path_unreadable", param=param) from None
