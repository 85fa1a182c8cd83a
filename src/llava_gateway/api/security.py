"""The outermost layer: request ids, trusted proxies, Host and Origin, the API key, and the limits on bodies (`body_limits.py`).

Localhost is not a boundary: any web page can reach it, so all of this is checked on every route.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llava_gateway.api.body_limits import BodyBudget, IncomingBody
from llava_gateway.api.dialects import dialect_of
from llava_gateway.api.errors import internal_error
from llava_gateway.api.origins import AllowedOrigins, is_from_program, is_private_name, origin_headers, preflight_headers
from llava_gateway.api.proxies import PROXY_HEADERS, ClientRequest, TrustedProxies, beside
from llava_gateway.api.refusals import refusal
from llava_gateway.engines.ollama_names import is_loopback
from llava_gateway.errors import (
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
"""Allows only the page's own files, and HTML from strings only through the page's sanitiser."""
HEADERS = {
    "Content-Security-Policy": PAGE_CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
HEADERS_MAX_BYTES = 64 * 1024
HEADERS_MAX_COUNT = 200
"""There is a limit because each lookup of an ASGI header scans all headers."""
OPEN_PATHS = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
"""Open without a key: the page and the documentation (both ask for the key), their files under /static/, and the probes."""
BLOBS = "/api/blobs/"
LOCAL_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))


def may_change_models(request: Request) -> bool:
    """Return whether a client has the key, or is on this machine and addresses us by a name of this machine. Never for the page of
    another site.

    Behind a proxy on this machine, every client would look local: most proxies can be recognised by the Host that they pass on or by
    their headers; one that sends neither looks like a local client.
    """
    client = request.client
    host = _hostname(request.headers.get("host", "")).strip("[]")
    if request.scope.get("state", {}).get("is_foreign_page"):
        return False
    return bool(request.scope.get("state", {}).get("has_own_key")) or (
        client is not None
        and is_loopback(client.host)
        and (host == "localhost" or is_loopback(host))
        and not any(name in request.headers for name in PROXY_HEADERS)
    )


async def only_from_this_machine(request: Request) -> None:
    """Reject requests from other machines, on routes that change the installed models. All routes check the origin. Raises LocalOnly."""
    if not may_change_models(request):
        raise LocalOnly


def has_key(request: Request) -> bool:
    """Return whether a request to an open path carries the key, or there is no key."""
    return bool(request.scope["state"]["has_key"])


class SecurityMiddleware:
    """Rejects requests that must not reach a route, and adds its headers to every response."""

    def __init__(self, app: ASGIApp, settings: Settings, bodies: BodyBudget) -> None:
        self._app = app
        self._bodies = bodies
        self._blob_max_bytes = settings.blob_max_bytes
        self._hosts = {host.lower() for host in (*settings.allowed_hosts, settings.host, *map(_bracketed, settings.addresses))}
        self._origins = AllowedOrigins(settings.allowed_origins)
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._explained: set[str] = set()
        self._key = settings.api_key.get_secret_value() if settings.api_key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        if scope["method"] != "HEAD":
            state["send_piece"] = send

        started = False
        body = IncomingBody(self._bodies, receive, passes=self._passes(scope))

        def send_with_headers(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                body.release()
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if dialect_of(scope) == "anthropic":
                    headers["request-id"] = request_id
                if body.refused:
                    headers["Connection"] = "close"
                if message["status"] == 307:
                    headers["Location"] = beside(scope["path"], headers["Location"])
                if origin := state.get("origin"):
                    headers.update(origin_headers(origin))
                    headers.add_vary_header("Origin")
                given = {name for name, _ in headers.raw}
                headers.raw.extend(pair for pair in _RAW_HEADERS if pair[0] not in given)
            return send(message)

        try:
            self._check(scope, Headers(scope=scope))
        except GatewayError as error:
            if isinstance(error, BodyTooLarge) and "expect" not in Headers(scope=scope):
                await body.discard()
            await refusal(error, scope)(scope, receive, send_with_headers)
            return
        if state["is_preflight"]:
            await Response(status_code=204, headers=preflight_headers(Headers(scope=scope)))(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, body.receive, send_with_headers)
        except ClientDisconnect:
            log.info("%s 499 client_left", request_id)
        except Exception as error:  # a bug: this request gets an error, the others go on
            refused = internal_error(error, request_id)
            if not started:
                await refusal(refused, scope)(scope, receive, send_with_headers)
        finally:
            body.release()

    def _check(self, scope: Scope, headers: Headers) -> None:
        size = len(scope["path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in scope["headers"])
        if size > HEADERS_MAX_BYTES or len(scope["headers"]) > HEADERS_MAX_COUNT:
            raise HeadersTooLarge
        seen = self._proxies.look(scope, headers)
        self._check_addressed(scope, headers, seen)
        scope["scheme"], scope["client"] = seen.scheme, (seen.client, 0) if seen.client else None
        state = scope["state"]
        state["has_key"] = self._has_key(headers)
        state["has_own_key"] = state["has_key"] and self._key is not None
        # A browser asks without the key whether it may send a request with it.
        state["is_preflight"] = state["is_foreign_page"] and scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if not state["has_key"] and not state["is_preflight"] and not _is_open(scope["path"]):
            raise InvalidApiKey
        most = self._passes(scope) or self._bodies.max_bytes
        if int(headers.get("content-length") or 0) > most:
            raise BodyTooLarge("body_bytes", values={"most_bytes": most})

    def _passes(self, scope: Scope) -> int | None:
        """Return the limit of a body that is passed on as it arrives; None for any other body."""
        return self._blob_max_bytes if scope["path"].startswith(BLOBS) else None

    def _has_key(self, headers: Headers) -> bool:
        """Return whether the request carries the key, if there is one."""
        if self._key is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
        return any(hmac.compare_digest(one.strip().encode(), self._key.encode()) for one in given)

    def _check_addressed(self, scope: Scope, headers: Headers, seen: ClientRequest) -> None:
        """Check Host and Origin. Raises HostNotAllowed, OriginNotAllowed."""
        if len(headers.getlist("host")) > 1 or not self._allows_hosts(map(_hostname, seen.hosts), headers):
            raise HostNotAllowed
        origin = headers.get("origin")
        own = f"{seen.scheme}://{seen.host}".lower()
        foreign = origin is not None and origin.lower() != own and self._origins.allows(origin)
        scope["state"]["is_foreign_page"] = foreign
        if foreign:
            scope["state"]["origin"] = origin
            return
        if origin is not None and origin.lower() != own:
            raise self._wrong_origin(seen, origin.lower())
        # Links to the page from other sites work; any other request from another site is rejected.
        followed = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed:
            raise OriginNotAllowed

    def _allows_hosts(self, hosts: Iterable[str], headers: Headers) -> bool:
        if "*" in self._hosts:
            return True
        others = [host for host in hosts if host not in self._hosts]
        return not others or (is_from_program(headers) and all(map(is_private_name, others)))

    def _wrong_origin(self, seen: ClientRequest, origin: str) -> OriginNotAllowed:
        """Return the error; if a proxy before us seems to be misconfigured, with what it lacks. Also logs that once, since the page
        stays blank.
        """
        scheme, _, host = origin.partition("://")
        if seen.untrusted:
            error = OriginNotAllowed("proxy_not_trusted")
        elif scheme == "https" and seen.scheme == "http" and host == seen.host.lower():
            error = OriginNotAllowed("proxy_without_scheme")
        elif host != seen.host.lower() and _hostname(host) in self._hosts - LOCAL_NAMES:
            error = OriginNotAllowed("proxy_without_host")
        else:
            return OriginNotAllowed()
        if error.reason not in self._explained:
            self._explained.add(error.reason)
            log.warning("rejected a request from the page through %s: %s %s", seen.client, error.message, error.hint)
        return error


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path == "/docs/" or path.startswith("/static/")


def _hostname(host: str) -> str:
    """Return the Host header without its port, in lower case; an IPv6 address keeps its brackets."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
