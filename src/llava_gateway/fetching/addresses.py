"""Decide which addresses may be fetched: how they may be spelled, and which IP addresses are public (pure).

The spelling is only a first check. What counts is the IP address that is dialled (`fetcher.py`): a name can resolve to anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urljoin

MAX_CHARS = 2048
PORTS = (80, 443)
_ADDRESS = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^\s/?#@:%\\\[\]]+)(?::([0-9]{1,5}))?([/?][^\s\\#]*)?(?:#.*)?", re.IGNORECASE)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)", re.ASCII)
"""A host that parsers may read as an IPv4 address, such as 127.1, 0x7f000001 or 2130706433 (URL Standard, "ends in a number")."""

# IANA's registries of special-purpose addresses. `ipaddress.is_global` differs between versions of Python, and calls 6to4, NAT64 and
# multicast global in some.
_NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
        *("192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # Azure's own services, inside each virtual machine
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
_UNICAST = IPv6Network("2000::/3")
"""All public IPv6 addresses are in it; mapped, compatible, NAT64, unique local, link-local and multicast addresses are not."""


class NotFetched(Exception):
    """An address that was not fetched; `reason` is a key of `REASONS`, for the log and for people at a shell."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


REASONS = {
    "spelling": "It is no address of the kind https://host/path, on port 80 or 443.",
    "not_listed": "The host is not one of those in the setting fetch.",
    "not_public": "It leads to an address that is not public.",
    "unknown_host": "The host's name can't be resolved.",
    "busy": "Too many names are being resolved.",
    "unreachable": "The host can't be reached.",
    "certificate": "The host's certificate is not valid for it.",
    "broken": "The response broke off, or is not HTTP.",
    "slow": "It took too long.",
    "redirects": "It is redirected too often, or from https to http.",
    "status": "The host did not answer with a file (status 200).",
    "compressed": "The host compresses its response, though it was asked not to.",
    "too_large": "The file is too large.",
    "no_image": "The file is not an image of a supported format.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be fetched, as far as its spelling shows; `host` is ASCII, without brackets or a final dot."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port else ''}{self.path}"

    def redirected(self, location: str) -> Target:
        """Return the target of a redirect. Raises NotFetched."""
        try:
            found = target_of(urljoin(self.url, location))
        except ValueError:
            raise NotFetched("spelling") from None
        if self.scheme == "https" and found.scheme == "http":
            raise NotFetched("redirects")
        return found


def target_of(address: str) -> Target:
    """Parse an address. Raises NotFetched for any that is not http(s) on port 80 or 443, has a user name, or is spelled in a way that
    programs read differently.
    """
    found = _ADDRESS.fullmatch(address) if len(address) <= MAX_CHARS and address.isprintable() else None
    if found is None:
        raise NotFetched("spelling")
    scheme, host, port, path = found.groups()
    if port is not None and int(port) not in PORTS:
        raise NotFetched("spelling")
    return Target(scheme.lower(), _host(host), int(port) if port else None, path or "/")


def _host(host: str) -> str:
    """Return a host in ASCII. Raises NotFetched."""
    if host.startswith("["):
        host = host[1:-1]
        if not _is_ip(host):
            raise NotFetched("spelling")
        return host.lower()
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise NotFetched("spelling") from None
    if not _NAME.fullmatch(name) or len(name) > 253 or (_ENDS_IN_NUMBER.fullmatch(name) and not _is_ip(name)):
        raise NotFetched("spelling")
    return name


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Return whether anyone on the internet can reach this IP address, so that fetching from it shows nothing of this network."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and (ip not in _UNICAST or ip.scope_id or _is_isatap(ip)):
        return False
    return not any(ip in network for network in _NOT_PUBLIC if network.version == ip.version)


def _is_isatap(ip: IPv6Address) -> bool:
    """Return whether the address has an IPv4 address inside, to which a router would tunnel (RFC 5214, 6.1)."""
    return (int(ip) >> 32) & 0xFDFF_FFFF == 0x5EFE


def is_listed(host: str, hosts: Sequence[str]) -> bool:
    """Return whether a host is in a list, in which `*.example.org` stands for every host below example.org."""
    return any(host.endswith(entry[1:]) if entry.startswith("*.") else host == entry for entry in hosts)
