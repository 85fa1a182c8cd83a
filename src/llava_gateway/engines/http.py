"""An HTTP/1.1 client for model servers: each request has its own connection, and the response is read as it arrives.

A general client spends more time on each request and on each chunk of an answer than the rest of the gateway together. This client has only
what model servers need: no redirects, no cookies, no proxies, no compression, no connection reuse. The parser is llhttp, which Node.js and
aiohttp use.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, TypeAlias, cast
from urllib.parse import quote, unquote, urlsplit

import httptools

MAX_HEAD = 64 * 1024
"""Most bytes of a response before its body."""
_AHEAD = 256 * 1024
"""Unread bytes that are buffered before reading from the connection pauses."""
_IN_A_PATH = "/:=&?~#+!$,;'@()*[]%"
Resolve: TypeAlias = Callable[[str, int], Awaitable[tuple[str, int]]]
"""Returns the IP address and port to dial for a host and port."""


async def _by_the_system(host: str, port: int) -> tuple[str, int]:
    """Leave a name to asyncio, which tries all IP addresses that it has."""
    return host, port


class HTTPError(Exception):
    """A failed request; the subclasses tell the reason."""


class CannotConnect(HTTPError):
    """No server accepts connections at the address, or the address is invalid."""


class OutOfFiles(HTTPError):
    """This process may open no more files, so it could not even try to connect."""


class HungUp(HTTPError):
    """The connection ended before the response did."""


class NotHTTP(HTTPError):
    """The server sent something that is not an HTTP response."""


@dataclass(frozen=True, slots=True)
class _Address:
    """The address of a request, and the parts of the request's head that follow from it."""

    host: str
    port: int
    tls: bool
    target: str
    fields: str


@lru_cache(256)
def _address(url: str) -> _Address:
    """Parse an http or https address. Raises CannotConnect for any other."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise CannotConnect
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError:
        raise CannotConnect from None
    if not host.isprintable() or " " in host:
        raise CannotConnect
    shown = f"[{host}]" if ":" in host else host
    tls = parts.scheme == "https"
    fields = f"Host: {shown}{f':{port}' if port else ''}\r\n"
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        fields += f"Authorization: Basic {base64.b64encode(login.encode()).decode()}\r\n"
    target = quote(parts.path or "/", safe=_IN_A_PATH) + (f"?{quote(parts.query, safe=_IN_A_PATH)}" if parts.query else "")
    return _Address(host, port or (443 if tls else 80), tls, target, fields)


class Client:
    """A client that opens a connection for each request.

    Args:
        connect_timeout: in seconds, including the TLS handshake.
        max_connections: how many requests may run at once; further ones wait.
        headers: sent with every request.
        tls: creates the context for https addresses when one is needed.
        resolve: decides what is dialled. TLS and the field Host have the address's own host in any case.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        max_connections: int,
        headers: Mapping[str, str] | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        resolve: Resolve = _by_the_system,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._room = asyncio.Semaphore(max_connections)
        fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "llava-gateway", "Connection": "close", **(headers or {})}
        self._fields = _fields(fields)
        self._tls = tls
        self._resolve = resolve
        self._open: set[Response] = set()

    async def send(self, method: str, url: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        """Send a request. Returns the response when its head has arrived; the caller must `close` it. Raises HTTPError, TimeoutError
        for a slow connect.
        """
        address = _address(url)
        length = f"Content-Length: {len(content)}\r\n" if content or method in ("POST", "PUT", "PATCH") else ""
        head = f"{method} {address.target} HTTP/1.1\r\n{address.fields}{self._fields}{_fields(headers or {})}{length}\r\n".encode("latin-1")
        await self._room.acquire()
        response = Response(self._closed, bodiless=method == "HEAD")
        self._open.add(response)
        try:
            await self._connect(response, address)
            response.ask(head, content)
            await response.begun()
        except BaseException:
            response.close()
            raise
        return response

    async def _connect(self, response: Response, address: _Address) -> None:
        loop = asyncio.get_running_loop()
        # In a thread: the first time, it reads the certificates.
        tls, name = (await asyncio.to_thread(self._tls), address.host) if address.tls else (None, None)
        try:
            async with asyncio.timeout(self._connect_timeout):
                host, port = await self._resolve(address.host, address.port)
                await loop.create_connection(lambda: response, host, port, ssl=tls, server_hostname=name)
        except (OSError, UnicodeError) as error:
            if out_of_files(error):
                raise OutOfFiles from error
            # TimeoutError is an OSError: a server that does not accept a connection is unavailable.
            raise CannotConnect from error

    def _closed(self, response: Response) -> None:
        self._open.discard(response)
        self._room.release()

    async def aclose(self) -> None:
        """Close every connection."""
        for response in tuple(self._open):
            response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Response(asyncio.Protocol):
    """A connection with its one request and the response to it.

    Attributes:
        status_code: the status of the response.
        headers: its header fields; the names are in lower case.
    """

    def __init__(self, closed: Callable[[Response], None], *, bodiless: bool) -> None:
        self.status_code = 0
        self.headers: dict[str, str] = {}
        self._on_close: Callable[[Response], None] | None = closed
        self._bodiless = bodiless
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._head_size = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._paused = False
        self._begun = False
        self._whole = False
        self._error: HTTPError | None = None

    @property
    def is_redirect(self) -> bool:
        return 300 <= self.status_code < 400

    def ask(self, head: bytes, content: bytes) -> None:
        if self._transport is not None:
            self._transport.writelines((head, content))

    async def begun(self) -> None:
        """Wait until the head has arrived. Raises HTTPError."""
        while not self._begun:
            await self._more()

    async def read(self) -> bytes:
        """Return at least one byte: all that has arrived of the body since the last call; b"" at its end. Raises HTTPError."""
        while not self._pieces:
            if self._whole:
                return b""
            await self._more()
        pieces = self._pieces
        self._pieces, self._size = [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close the connection at once, even in the middle of the response."""
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(self)
        self._fail(HungUp())
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        """Wait until data arrives or the state changes."""
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: HTTPError) -> None:
        if not self._whole and self._error is None:
            self._error = error
            self._wake()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass of it

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(NotHTTP())
        if not self._begun and self._head_size > MAX_HEAD:
            self._fail(NotHTTP())
        if self._error is not None:
            self.close()
        elif self._size > _AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        fields = self.headers
        if self._begun and "content-length" not in fields and "transfer-encoding" not in fields:
            self._whole = True  # such a body ends with its connection
        self._fail(HungUp())
        self._wake()

    # httptools calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim response; the final one follows
            self.headers.clear()
            return
        self.status_code, self._begun = status, True
        if self._bodiless:
            self._whole = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        if self._begun:
            self._whole = True


def out_of_files(error: BaseException) -> bool:
    """Return whether an error means that this process, or the system, may open no more files. Looking up a name then fails in ways of its
    own.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    if not isinstance(error, socket.gaierror):
        return False
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False


def _fields(headers: Mapping[str, str]) -> str:
    """Format the header fields. A line break in a value would start another field."""
    if any("\r" in text or "\n" in text for pair in headers.items() for text in pair):
        raise ValueError("a header with a line break")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
