"""The attacker's host and name server, and a guard's record of everything that was dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from llava_gateway.fetching.fetcher import Dialled
from tests import sample_images
from tests.fetching.tricks import SITE, SITE_IP, Trick

IMAGE = sample_images.encoded(sample_images.shape("circle", "red"))


@dataclass
class NameServer:
    """Resolves the names of a trick, and the attacker's host; leaves everything else to the system, without asking a server."""

    trick: Trick
    _asked: dict[str, int] = field(default_factory=dict)

    async def resolve(self, host: str, port: int) -> Sequence[Dialled]:
        told = {SITE: [[SITE_IP]], **self.trick.names}.get(host)
        if told is None:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if _is_number(host) else []
            return [(str(address[0]), port) for *_, address in infos]
        time = self._asked.get(host, 0)
        self._asked[host] = time + 1
        return [(ip, port) for ip in told[min(time, len(told) - 1)]]


def _is_number(host: str) -> bool:
    """Return whether the system reads the host as an IP address, however it is spelled."""
    if ":" in host:
        return True
    with suppress(OSError):
        socket.inet_aton(host)
        return True
    return False


async def attackers_host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Redirect to `to` of the query with its `status`; without one, send its `text`, or an image."""
    request = (await reader.readline()).decode("latin-1").split(" ")
    while (await reader.readline()).strip():
        pass
    query = parse_qs(urlsplit(request[1]).query, keep_blank_values=True)
    if "to" in query:
        to = query["to"][0].encode("utf-8").decode("latin-1")
        field_ = f"Refresh: 0; url={to}" if "refresh" in query else f"Location: {to}"
        status = "200 OK" if "refresh" in query else f"{query['status'][0]} X"
        writer.write(f"HTTP/1.1 {status}\r\n{field_}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    else:
        body = query["text"][0].encode() if "text" in query else IMAGE
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with suppress(ConnectionError):
        await writer.drain()
        writer.close()


Connect = Callable[..., Awaitable[object]]


@dataclass
class Dials:
    """Stands before `loop.create_connection`: the attacker's IP address leads to a server in this process, and every other one that is
    dialled is recorded and refused."""

    connect: Connect
    port: int
    ours: set[int] = field(default_factory=set)
    """Ports of this process that tests themselves connect to."""
    others: list[tuple[str, int]] = field(default_factory=list)
    count: int = 0

    async def create_connection(self, protocol: object, host: str, port: int, **options: object) -> object:
        if port in self.ours:
            return await self.connect(protocol, host, port, **options)
        self.count += 1
        if (host, port) != (SITE_IP, 80):
            self.others.append((host, port))
            raise ConnectionRefusedError
        return await self.connect(protocol, "127.0.0.1", self.port, **options)
