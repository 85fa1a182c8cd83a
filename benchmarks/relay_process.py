"""A bare relay, for comparison: what receiving a request, sending it to a model server and returning the answer costs at least in Python.

uvicorn receives it, the gateway's HTTP client sends it on unread, and each piece of the answer goes back as it arrives. Argument: the
address of the model server (with /v1).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import uvicorn

from benchmarks.children import say, serve_commands
from llava_gateway.engines.upstream import new_client


class Relay:
    """An ASGI application without any framework."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"
        self._client = new_client(connect_timeout=2, max_connections=64)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        response = await self._client.send("POST", self._url, content=b"".join(pieces), headers={"Content-Type": "application/json"})
        try:
            headers = [(b"content-type", response.headers["content-type"].encode("latin-1"))]
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            while piece := await response.read():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            response.close()


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        say({"url": f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", "pid": os.getpid()})


def main() -> None:
    config = uvicorn.Config(
        Relay(sys.argv[1]), port=0, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=600
    )
    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    serve_commands({}, stop)
    server.run()


if __name__ == "__main__":
    main()
