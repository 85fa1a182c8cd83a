"""POST /mcp: the tools over streamable HTTP, under the same rules as all routes. It keeps nothing between requests."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llava_gateway.api.bodies import AskBody, parse_body
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.json_body import parse_whole, read_whole
from llava_gateway.api.mcp.tools import Ask
from llava_gateway.api.native_json import answer_json, chat_request
from llava_gateway.api.threads import in_thread
from llava_gateway.chat import JSON
from llava_gateway.errors import NotFound
from llava_gateway.gateway.gateway import Gateway

router = APIRouter()


def is_installed() -> bool:
    """Return whether the extra `mcp` is there, in a version that we know."""
    try:
        return int(version("mcp").partition(".")[0]) >= 2
    except (PackageNotFoundError, ValueError):
        return False


async def mcp(request: Request) -> Response:
    """Answer one message of a client. Raises NotFound, InvalidJSON, InvalidEncoding, BodyTooLarge."""
    if not is_installed():
        raise NotFound("mcp_missing")
    gateway, body = gateway_of(request), await read_whole(request)
    # The protocol's own package parses the body again: on the event loop, and with no bounds on its values.
    await parse_whole(request, body, lambda _: None)
    # The import takes a second, and only those who use it should wait for it.
    manager, server = await asyncio.to_thread(_modules)
    tools, most = server.build_server(_asking(gateway)), gateway.settings.body_max_bytes
    return _Exchange(manager.StreamableHTTPSessionManager(tools, stateless=True, max_request_body_size=most), body)


def _modules() -> tuple[Any, Any]:
    """Import what needs the extra `mcp`."""
    return import_module("mcp.server.streamable_http_manager"), import_module(f"{__package__}.server")


class _Exchange(Response):
    """The response to one message, which the protocol's own package writes. `message` is the body, which was read before."""

    def __init__(self, manager: Any, message: bytes) -> None:
        super().__init__()
        self._manager = manager
        self._message = message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        unread: list[Message] = [{"type": "http.request", "body": self._message, "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        async with self._manager.run():
            await self._manager.handle_request(scope, receive_again, send)


def _asking(gateway: Gateway) -> Ask:
    async def ask(body: JSON) -> JSON:
        question = await in_thread(lambda: chat_request(parse_body(AskBody, body), gateway.settings))
        return answer_json(await gateway.answer(question))

    return ask


# Streams that a client opens with GET would only carry messages that this server never sends.
router.add_route("/mcp", mcp, methods=["POST"], include_in_schema=False)
