"""The facts that a trusted reverse proxy adds to a request: the scheme, the host and the address that the client used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

SCHEMES = ("http", "https")
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""Headers that only a proxy adds: a request with one of them does not come from this machine."""
_NAMES = frozenset(name.encode() for name in PROXY_HEADERS)
_PAIR = re.compile(r'(?<![a-z])([a-z]++)=("(?:[^"\\]|\\.)*+"|[^;,"\s]*+)', re.IGNORECASE)
"""A name begins only where no letter precedes it: else a long header without an = takes time that grows with its square."""
_MAX_HOPS = 20


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request as the client sent it.

    Attributes:
        scheme: "http" or "https".
        host: the name and port in the address that the client used.
        client: the client's address; None if it is unknown.
        hosts: every name that the request was addressed to, including `host`. All of them must be allowed: a web page whose own name
            resolves to this machine can make a browser send any X-Forwarded-Host, but the browser's Host header is still the name of that
            page.
        untrusted: whether a client that is not a trusted proxy names a scheme or host in the headers of proxies.
    """

    scheme: str
    host: str
    client: str | None
    hosts: tuple[str, ...]
    untrusted: bool = False


class TrustedProxies:
    """The trusted proxies. Forwarding headers from any other client are ignored."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._networks = tuple(ip_network(address, strict=False) for address in addresses)

    def look(self, scope: Scope, headers: Headers) -> ClientRequest:
        """Return the request as the client sent it."""
        scheme, host = scope["scheme"], headers.get("host", "")
        peer: str | None = scope["client"][0] if scope.get("client") else None
        if _NAMES.isdisjoint(name for name, _ in scope["headers"]):
            return ClientRequest(scheme, host, peer, (host,))
        schemes, hosts = _listed(headers, "proto"), _listed(headers, "host")
        if peer is None or not self.trusts(peer):
            return ClientRequest(scheme, host, peer, (host,), untrusted=bool(schemes or hosts))
        if schemes and schemes[0].lower() in SCHEMES:
            scheme = schemes[0].lower()
        return ClientRequest(scheme, hosts[0] if hosts else host, self._client(peer, _listed(headers, "for")), (host, *hosts))

    def _client(self, peer: str, chain: list[str]) -> str | None:
        """Return the last address in the chain that is not a trusted proxy: those before it may be forged."""
        address: str | None = peer
        for hop in reversed(chain):
            if address is None or not self.trusts(address):
                break
            address = _address(hop)
        return address

    def trusts(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in trusted for trusted in self._networks)


def beside(path: str, location: str) -> str:
    """Return a redirect's address, which adds or removes the slash at the end of `path`, relative to it: a proxy may use other
    addresses.
    """
    target, mark, query = location.partition("?")
    name = target.rstrip("/").rpartition("/")[2]
    return (f"../{name}" if path.endswith("/") else f"./{name}/") + mark + query


def _listed(headers: Headers, what: str) -> list[str]:
    """Return the values that the proxies added, the one nearest to the client first: from X-Forwarded-…, else from `Forwarded`."""
    if usual := headers.getlist(f"x-forwarded-{what}"):
        return [value for entry in usual for one in entry.split(",")[:_MAX_HOPS] if (value := one.strip())]
    return [value for name, value in _forwarded(headers) if name == what and value]


def _forwarded(headers: Headers) -> Iterator[tuple[str, str]]:
    """Parse the pairs in the header of RFC 7239."""
    for entry in headers.getlist("forwarded"):
        for name, value in _PAIR.findall(entry):
            yield name.lower(), re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _address(hop: str) -> str | None:
    """Parse the address in an entry, which may have a port: 192.0.2.1:4711 or [2001:db8::1]:4711. Returns None for `unknown` and
    obfuscated names.
    """
    bare = re.fullmatch(r"\[(.+)\](?::\d+)?|([^:]+):\d+|(.+)", hop)
    try:
        return str(ip_address(next(filter(None, bare.groups())))) if bare else None
    except ValueError:
        return None
