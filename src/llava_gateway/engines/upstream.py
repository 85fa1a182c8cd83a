"""The HTTP every engine shares: one client, its errors turned into ours, and lines out of a byte stream.

The client is httpx2 over aiohttp's transport: a pool that does not leak when streams are cancelled, and half the CPU per chunk of
httpx's own transport (benchmarks/overhead.py measures it against the direct path).
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from typing import Any

import aiohttp
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport, Httpx2AiohttpClient

from llava_gateway.chat import JSON
from llava_gateway.errors import (
    GatewayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llava_gateway.settings import MiB

log = logging.getLogger(__name__)

MAX_LINE = MiB
"""Longest line of a stream in bytes; a longer one is not of any protocol we speak."""
MAX_ERROR_BODY = 64 * 1024
"""How much of an error's body is read, in bytes."""
MAX_JSON_BODY = 32 * MiB
"""Longest answer to a small request, in bytes: a vocabulary of 250,000 words, as /api/show may list it, takes about 8 MB."""


def new_client(*, connect_timeout: float, max_connections: int, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    """A client that follows no redirect, heeds no proxy variable and waits for ever once connected (the gateway has its own timers).

    Each request has a connection of its own: a kept one may have gone stale, and a request that failed on it could not be told from
    one that crashed the engine, which must not be sent twice. (`Connection: close` would not do: aiohttp still sends such a request on
    a kept connection.)
    """

    transport = AiohttpTransport(verify=tls_context())
    transport.client = lambda: aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=max_connections, force_close=True, ssl=transport.ssl_context)
    )
    return Httpx2AiohttpClient(
        transport=transport,
        timeout=httpx2.Timeout(None, connect=connect_timeout),
        # Nothing is compressed on the way from next door, and lines are read as they come, not unpacked.
        headers={"Accept-Encoding": "identity", **(headers or {})},
        follow_redirects=False,
        trust_env=False,
    )


@cache
def tls_context() -> ssl.SSLContext:
    """Reading the certificates takes 30 ms: once is enough."""
    return httpx2.create_ssl_context(trust_env=False)


@contextmanager
def upstream_errors() -> Iterator[None]:
    """Turns what the HTTP client raises into a GatewayError; no text of the exception goes on."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> GatewayError:
    """The transport maps aiohttp's errors coarsely (a server that hangs up becomes ConnectTimeout), so the cause decides."""
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError | OSError) else error
    match cause:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return UpstreamUnavailable()
        case httpx2.ConnectError() | httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
            return UpstreamUnavailable()
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientOSError() | ConnectionError():
            return UpstreamDisconnected()
        case aiohttp.ServerTimeoutError() | httpx2.TimeoutException() | TimeoutError():
            return UpstreamTimeout()
        case httpx2.ReadError() | httpx2.WriteError():
            return UpstreamDisconnected()
        case OSError():
            return UpstreamUnavailable()
        case _:
            return UpstreamProtocolError()


@asynccontextmanager
async def stream(client: httpx2.AsyncClient, method: str, url: str, **kwargs: Any) -> AsyncIterator[httpx2.Response]:
    """A response whose body is still to be read; leaving closes the connection at once."""
    with upstream_errors():
        response = await client.send(client.build_request(method, url, **kwargs), stream=True)
    try:
        if response.is_redirect:
            raise UpstreamProtocolError
        yield response
    finally:
        # What goes wrong while hanging up is no news, and must not take the place of what is being raised already.
        with suppress(GatewayError), upstream_errors():
            await response.aclose()


async def lines(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
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


def json_object(line: bytes) -> JSON:
    """The JSON object of one line of a stream. Raises UpstreamProtocolError; of a line that is none, 200 bytes are logged.

    Lone surrogates are refused: JSON can spell them (`"\\ud83d"`), but no answer of ours could be written in UTF-8 with one inside.
    """
    try:
        value = jsonlib.loads(line.decode())
        if b"\\ud" in line or b"\\uD" in line:
            jsonlib.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        log.warning("not a JSON object from upstream: %.200r", line[:200])
        raise UpstreamProtocolError
    return value


async def error_body(response: httpx2.Response) -> bytes:
    """The start of an error's body."""
    return await _body(response, MAX_ERROR_BODY)


async def get_json(
    client: httpx2.AsyncClient, method: str, url: str, *, within: float, json: Any = None, content: bytes | None = None
) -> Any:
    """The JSON a small request answers with, `within` that many seconds in all. `content` is JSON already.

    Raises UpstreamError (any 4xx or 5xx; its status is 404 where the upstream said so) and its kin.
    """
    with upstream_errors():
        headers = {"Content-Type": "application/json"} if content else None
        async with asyncio.timeout(within), client.stream(method, url, json=json, content=content, headers=headers) as response:
            if response.status_code >= 400:
                raise UpstreamError(status=404 if response.status_code == 404 else None)
            body = await _body(response, MAX_JSON_BODY + 1)
            if response.status_code >= 300 or len(body) > MAX_JSON_BODY:
                raise UpstreamProtocolError
            return jsonlib.loads(body)


async def post_json(client: httpx2.AsyncClient, url: str, body: JSON, *, refused: Callable[[int, bytes], GatewayError]) -> JSON:
    """The JSON object that a request is answered with, however long that takes; it is parsed beside the event loop.

    Raises what `refused` makes of a status and the start of the error's body, and UpstreamProtocolError and its kin.
    """
    async with stream(client, "POST", url, json=body) as response:
        if response.status_code != 200:
            raise refused(response.status_code, await error_body(response))
        data = await _body(response, MAX_JSON_BODY + 1)
        if len(data) > MAX_JSON_BODY:
            raise UpstreamProtocolError
    with upstream_errors():
        value = await asyncio.to_thread(jsonlib.loads, data)
    if not isinstance(value, dict):
        raise UpstreamProtocolError
    return value


async def _body(response: httpx2.Response, limit: int) -> bytes:
    """Up to `limit` bytes of a body."""
    pieces, size = [], 0
    with upstream_errors():
        async for chunk in response.aiter_raw():
            pieces.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
    return b"".join(pieces)[:limit]
