"""The HTTP every engine shares: one client, its errors turned into ours, and lines out of a byte stream.

The client is httpx2 over aiohttp's transport: a pool that does not leak when streams are cancelled, and half the CPU per chunk of
httpx's own transport (benchmarks/overhead.py measures it against the direct path).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import httpx2
from httpx_aiohttp.httpx2 import Httpx2AiohttpClient

from llava_gateway.errors import (
    GatewayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llava_gateway.settings import MiB

MAX_LINE = MiB
"""Longest line of a stream in bytes; a longer one is not of any protocol we speak."""
MAX_ERROR_BODY = 64 * 1024
"""How much of an error's body is read, in bytes."""


def new_client(*, connect_timeout: float, max_connections: int, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    """A client that follows no redirect, heeds no proxy variable and waits for ever once connected (the gateway has its own timers)."""
    return Httpx2AiohttpClient(
        timeout=httpx2.Timeout(None, connect=connect_timeout),
        limits=httpx2.Limits(max_connections=max_connections),
        headers=headers,
        follow_redirects=False,
        trust_env=False,
    )


@contextmanager
def upstream_errors() -> Iterator[None]:
    """Turns what the HTTP client raises into a GatewayError; no text of the exception goes on."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError, ValueError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> GatewayError:
    """The transport maps aiohttp's errors coarsely (a server that hangs up becomes ConnectTimeout), so the cause decides."""
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError | OSError) else error
    match cause:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | httpx2.ConnectError():
            return UpstreamUnavailable()
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError() | ConnectionError():
            return UpstreamDisconnected()
        case aiohttp.ServerTimeoutError() | httpx2.TimeoutException():
            return UpstreamTimeout()
        case httpx2.ReadError() | httpx2.WriteError():
            return UpstreamDisconnected()
        case OSError():
            return UpstreamUnavailable()
        case _:
            return UpstreamProtocolError()


@asynccontextmanager
async def stream(client: httpx2.AsyncClient, method: str, url: str, **kwargs: Any) -> AsyncIterator[httpx2.Response]:
    """A response whose body is still to be read; leaving closes the connection at once.

    Each chat has a connection of its own (`Connection: close`): a kept one may have gone stale, and a request that failed on it
    could not be told from one that crashed the engine, which must not be sent twice.
    """
    headers = {**kwargs.pop("headers", {}), "Connection": "close"}
    with upstream_errors():
        response = await client.send(client.build_request(method, url, headers=headers, **kwargs), stream=True)
    try:
        if response.is_redirect:
            raise UpstreamProtocolError
        yield response
    finally:
        with upstream_errors():
            await response.aclose()


async def lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The lines of a streamed body without their ends (LF or CRLF), empty ones left out; what follows the last LF is a line too.

    Raises UpstreamProtocolError for a line over MAX_LINE, UpstreamDisconnected when the body is cut.
    """
    rest = b""
    with upstream_errors():
        async for chunk in response.aiter_raw():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line := line.rstrip(b"\r"):
                    yield line
            if len(rest) > MAX_LINE:
                raise UpstreamProtocolError
    if rest := rest.rstrip(b"\r"):
        yield rest


async def error_body(response: httpx2.Response) -> bytes:
    """The start of an error's body."""
    body = b""
    with upstream_errors():
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ERROR_BODY:
                break
    return body[:MAX_ERROR_BODY]


async def get_json(client: httpx2.AsyncClient, method: str, url: str, *, within: float, json: Any = None) -> Any:
    """The JSON a small request answers with, `within` that many seconds. A 4xx or 5xx is an UpstreamError."""
    with upstream_errors():
        response = await client.request(method, url, json=json, timeout=httpx2.Timeout(within))
        if response.status_code >= 400:
            raise UpstreamError(status=response.status_code if response.status_code == 404 else None)
        if response.status_code >= 300:
            raise UpstreamProtocolError
        return response.json()
