"""Which names a request may be addressed to, and which web pages may send one (pure).

A web page whose own name resolves to this machine (DNS rebinding) can make a browser send requests to the gateway. So requests that a
browser may have sent must use a name in `allowed_hosts`. A program may use any name that public DNS can't have, as with Ollama: that
is how containers reach their host.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers

PRIVATE_NAMES = ("localhost", "local", "internal")
"""Top-level domains that are never in public DNS."""
OF_OLLAMA = (
    *(f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")),  # noqa: S104
    *(f"{scheme}://*" for scheme in ("app", "file", "tauri", "vscode-webview", "vscode-file")),
)
"""The origins that Ollama allows. A port of `*` also stands for none."""
ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
PREFLIGHT_SECONDS = 12 * 3600


def is_from_program(headers: Headers) -> bool:
    """Return whether a request can't come from a web page in a browser.

    Scripts of a page can't remove Accept-Language, which every browser sends, and can't set names that begin with Sec-. Browsers send
    Sec-Fetch-Mode only with Sec-Fetch-Site; Node.js sends it alone.
    """
    if any(name in headers for name in ("origin", "referer", "sec-fetch-site")):
        return False
    return "accept-language" not in headers or "sec-fetch-mode" in headers


def is_private_name(host: str) -> bool:
    """Return whether public DNS can't have a host name: localhost, *.localhost, *.local, *.internal, the name of this machine, or a
    private IP address. The name is in lower case and has no port.
    """
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host.rpartition(".")[2] in PRIVATE_NAMES or host == socket.gethostname().lower()
    return address.is_private or address.is_loopback or address.is_link_local


class AllowedOrigins:
    """The web pages of other sites that may send requests.

    Args:
        origins: such as `http://localhost:3000`, `http://localhost:*` (any port), `app://*` (any host), or `ollama` for those that Ollama
            allows.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        listed = [origin for entry in origins for origin in (OF_OLLAMA if entry == "ollama" else (entry,))]
        self._exact = frozenset(origin.lower().rstrip("/") for origin in listed if "*" not in origin)
        self._beginnings = tuple(origin.lower().removesuffix("*") for origin in listed if origin.endswith("*"))

    def allows(self, origin: str) -> bool:
        """Return whether the list has the origin of a request."""
        known = origin.lower()
        return known in self._exact or any(self._begins(known, beginning) for beginning in self._beginnings)

    def _begins(self, origin: str, beginning: str) -> bool:
        rest = origin.removeprefix(beginning)
        if not beginning.endswith("//"):  # a port
            return origin == beginning[:-1] or (rest != origin and rest.isdigit() and rest.isascii())
        return rest != origin and "/" not in rest


def preflight_headers(requested: Headers) -> dict[str, str]:
    """Return the headers that answer the question of a browser whether a page may send a request."""
    headers = {"Access-Control-Allow-Methods": ALLOWED_METHODS, "Access-Control-Max-Age": str(PREFLIGHT_SECONDS)}
    if wanted := requested.get("access-control-request-headers"):
        headers["Access-Control-Allow-Headers"] = wanted
    if requested.get("access-control-request-private-network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def origin_headers(origin: str) -> dict[str, str]:
    """Return the headers with which a page of this origin may read a response."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "X-Request-Id, Request-Id, Retry-After, ETag",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
