"""The outermost layer: request ids, Host and Origin, the API key, and bodies that are too large or never come.

Localhost is not a boundary: any web page can reach it, so all of this is checked on every route.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_gateway.api.errors import error_response, internal_error
from llava_gateway.engines.ollama_names import is_loopback
from llava_gateway.errors import (
    BodyTimeout,
    BodyTooLarge,
    GatewayError,
    HeadersTooLarge,
    HostNotAllowed,
    InvalidApiKey,
    LocalOnly,
    OriginNotAllowed,
)
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

OWN_FILES_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; font-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_CSP = f"{OWN_FILES_CSP}; require-trusted-types-for 'script'; trusted-types dompurify"
"""Nothing but the page's own files, and markup from strings only through its sanitiser."""
HEADERS = {
    "Content-Security-Policy": PAGE_CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HEADERS_MAX_BYTES = 64 * 1024
HEADERS_MAX_COUNT = 200
"""Each look at a header goes through all of them."""
OPEN_PATHS = ("/", "/healthz")
"""Reached without a key: the page itself (it asks for the key), its files under /static/, and the sign of life."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers of a proxy that stands before us: who is behind it is not on this machine."""


def may_change_models(request: Request) -> bool:
    """Whether a client is on this machine and speaks to us by a name of this machine. A proxy here would make everyone look so:
    most give themselves away by the Host they pass on or by their headers; one that does neither can't be told from such a client."""
    client = request.client
    host = _hostname(request.headers.get("host", "")).strip("[]")
    return (
        client is not None
        and is_loopback(client.host)
        and (host == "localhost" or is_loopback(host))
        and not any(name in request.headers for name in FORWARDED)
    )


async def only_from_this_machine(request: Request) -> None:
    """For routes that change what is installed; the same origin is checked for all routes. Raises LocalOnly."""
    if not may_change_models(request):
        raise LocalOnly


class SecurityMiddleware:
    """Refuses what must not reach a route, and puts its headers on every response."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = {host.lower() for host in (*settings.allowed_hosts, settings.host, _bracketed(settings.host))}
        self._key = settings.api_key.get_secret_value() if settings.api_key else None
        self._body_max_bytes = settings.body_max_bytes
        self._body_gap_timeout = settings.body_gap_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope, Headers(scope=scope))
        except GatewayError as error:
            if isinstance(error, BodyTooLarge) and "expect" not in Headers(scope=scope):
                await self._discard(receive)
            await error_response(error, request_id)(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, self._bounded(receive), send_with_headers)
        except ClientDisconnect:
            log.info("%s 499 client_left", request_id)
        except Exception as error:  # a bug: this request is told, the others go on
            refusal = internal_error(error, request_id)
            if not started:
                await error_response(refusal, request_id)(scope, receive, send_with_headers)

    def _check(self, scope: Scope, headers: Headers) -> None:
        size = len(scope["path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in scope["headers"])
        if size > HEADERS_MAX_BYTES or len(scope["headers"]) > HEADERS_MAX_COUNT:
            raise HeadersTooLarge
        host = headers.get("host", "")
        if ("*" not in self._hosts and _hostname(host) not in self._hosts) or len(headers.getlist("host")) > 1:
            raise HostNotAllowed
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{scope['scheme']}://{host}".lower():
            raise OriginNotAllowed
        # A link to the page from elsewhere may be followed; nothing else may come from another site.
        followed = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed:
            raise OriginNotAllowed
        if self._key is not None and not _is_open(scope["path"]):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key.encode()):
                raise InvalidApiKey
        if int(headers.get("content-length") or 0) > self._body_max_bytes:
            raise BodyTooLarge("body_bytes", values={"most_bytes": self._body_max_bytes})

    def _bounded(self, receive: Receive) -> Receive:
        """The body, counted and timed while it comes in; after its end, the wait for the client to leave has no limit."""
        taken = 0
        whole = False

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(self._body_gap_timeout):
                    message = await receive()
            except TimeoutError:
                raise BodyTimeout from None
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self._body_max_bytes:
                if not whole:
                    await self._discard(receive)
                raise BodyTooLarge("body_bytes", values={"most_bytes": self._body_max_bytes})
            return message

        return bounded

    async def _discard(self, receive: Receive) -> None:
        """Reads what is left of a body, for a while: a connection that is closed with unread data in it loses the response too."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._body_gap_timeout):
                while (await receive()).get("more_body", False):
                    pass


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith("/static/")


def _hostname(host: str) -> str:
    """Host header without its port, lower case; brackets of an IPv6 address stay."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
