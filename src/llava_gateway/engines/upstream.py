"""HTTP for all engines: one client (`http.py`), its errors converted to ours, and lines from a byte stream."""

from __future__ import annotations

import asyncio
import json as jsonlib
import logging
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

from pydantic_core import from_json

from llava_gateway.chat import JSON
from llava_gateway.engines.http import CannotConnect, Client, HTTPError, HungUp, OutOfFiles, Response
from llava_gateway.errors import (
    GatewayError,
    Overloaded,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llava_gateway.settings import MiB

log = logging.getLogger(__name__)

MAX_LINE = MiB
"""The longest line of a stream, in bytes. No protocol of our engines has longer ones."""
MAX_ERROR_BODY = 64 * 1024
"""How much of an error's body is read, in bytes."""
MAX_JSON_BODY = 32 * MiB
"""The longest response to a small request, in bytes: a vocabulary of 250,000 words in /api/show takes about 8 MB."""
FILES_RETRY_AFTER = 2.0
FROM_US = {"X-Llava-Gateway": secrets.token_hex(8)}
"""A header for an engine whose API the gateway speaks too: it lets the gateway notice that it asks itself."""
_JSON = {"Content-Type": "application/json"}


def new_client(*, connect_timeout: float, max_connections: int, headers: dict[str, str] | None = None) -> Client:
    """Create a client that waits forever once connected (the gateway has its own timers)."""
    return Client(connect_timeout=connect_timeout, max_connections=max_connections, headers=headers, tls=tls_context)


@cache
def tls_context() -> ssl.SSLContext:
    """Create the TLS context once, since reading the certificates takes 30 ms."""
    import httpx2  # only for https addresses

    return httpx2.create_ssl_context(trust_env=False)


@contextmanager
def upstream_errors() -> Iterator[None]:
    """Convert the HTTP client's exceptions to GatewayErrors, without the text of the exception."""
    try:
        yield
    except (HTTPError, OSError, ValueError, RecursionError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> GatewayError:
    match error:
        case OutOfFiles():
            return Overloaded("out_of_files", retry_after=FILES_RETRY_AFTER)
        case CannotConnect():
            return UpstreamUnavailable()
        case HungUp() | ConnectionError():
            return UpstreamDisconnected()
        case TimeoutError():
            return UpstreamTimeout()
        case OSError():
            return UpstreamUnavailable()
        case _:
            return UpstreamProtocolError()


@asynccontextmanager
async def stream(
    client: Client, method: str, url: str, *, content: bytes = b"", headers: dict[str, str] | None = None
) -> AsyncIterator[Response]:
    """Send a request and yield the response before its body is read; leaving closes the connection at once."""
    with upstream_errors():
        response = await client.send(method, url, content=content, headers=headers)
    try:
        if response.is_redirect:
            raise UpstreamProtocolError
        yield response
    finally:
        response.close()


async def lines(response: Response) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a streamed body without line ends (LF or CRLF), except empty ones; the text after the last LF is a line too.

    Raises UpstreamProtocolError for a line over MAX_LINE, UpstreamDisconnected if the body breaks off.
    """
    rest = b""
    with upstream_errors():
        while chunk := await response.read():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line := line.rstrip(b"\r"):
                    yield line
            if len(rest) > MAX_LINE:
                raise UpstreamProtocolError
    if rest := rest.rstrip(b"\r"):
        yield rest


def json_object(line: bytes) -> JSON:
    """Parse one line of a stream as a JSON object. Raises UpstreamProtocolError, and logs 200 bytes of the line.

    The parser rejects lone surrogates: JSON can spell them (`"\\ud83d"`), but no answer with one could be written as UTF-8. It takes half
    the time of Python's, and there is a line for each token.
    """
    try:
        value = from_json(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        log.warning("not a JSON object from upstream: %.200r", line[:200])
        raise UpstreamProtocolError
    return value


async def whole_body(response: Response) -> bytes:
    """Read the body of a small response."""
    return await _body(response, MAX_JSON_BODY)


async def error_body(response: Response) -> bytes:
    """Read the beginning of an error's body."""
    return await _body(response, MAX_ERROR_BODY)


async def get_json(client: Client, method: str, url: str, *, within: float, json: Any = None, content: bytes | None = None) -> Any:
    """Send a small request that takes at most `within` seconds in all, and parse the JSON response. `content` is already JSON.

    Raises UpstreamError for any 4xx or 5xx (with status 404 if the server returned 404), and its subclasses.
    """
    with upstream_errors():
        if json is not None:
            content = jsonlib.dumps(json).encode()
        headers = _JSON if content else None
        async with asyncio.timeout(within), stream(client, method, url, content=content or b"", headers=headers) as response:
            if response.status_code >= 400:
                raise UpstreamError(status=404 if response.status_code == 404 else None)
            body = await _body(response, MAX_JSON_BODY + 1)
            if len(body) > MAX_JSON_BODY:
                raise UpstreamProtocolError
            return jsonlib.loads(body)


async def post_json(client: Client, url: str, body: JSON, *, refused: Callable[[int, bytes], GatewayError]) -> JSON:
    """Post JSON and return the JSON object in the response, without a time limit; a thread parses it.

    Raises the error that `refused` returns for a status and the beginning of the error's body, UpstreamProtocolError, and other
    UpstreamErrors.
    """
    async with stream(client, "POST", url, content=jsonlib.dumps(body).encode(), headers=_JSON) as response:
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


async def _body(response: Response, limit: int) -> bytes:
    """Read up to `limit` bytes of a body."""
    pieces, size = [], 0
    with upstream_errors():
        while chunk := await response.read():
            pieces.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
    return b"".join(pieces)[:limit]
