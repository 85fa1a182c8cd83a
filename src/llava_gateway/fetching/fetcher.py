"""Fetch a file over http or https, from public addresses only.

Names, redirects and proxies are how such fetchers are led to services that only this machine can reach. So the check is where no trick is
left to play: the IP addresses of a host are looked up once, all of them must be public, and one of these checked addresses is dialled.
This holds for each redirect too. Proxies of the environment, cookies and logins are not used at all.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib import metadata
from typing import TypeAlias

from llava_gateway import __version__
from llava_gateway.engines.http import CannotConnect, Client, HTTPError, OutOfFiles, Response
from llava_gateway.engines.upstream import FILES_RETRY_AFTER, tls_context
from llava_gateway.errors import Overloaded
from llava_gateway.fetching.addresses import NotFetched, is_listed, is_public, target_of

SECONDS = 5.0
"""Longest time for a file, with all names, redirects and bytes."""
MOST_REDIRECTS = 3
HEAD_BYTES = 1024
"""The first bytes of a file, which show its kind."""
AT_ONCE = 64
"""Most files that arrive at once, and most names that are being resolved; further files wait."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_resolving = threading.BoundedSemaphore(AT_ONCE)

Dialled: TypeAlias = tuple[str, int]
"""An IP address and a port."""
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[Dialled]]]
"""Returns everything that a host's name stands for. Raises OSError, NotFetched."""


@cache
def user_agent() -> str:
    """Return who fetches, as hosts want it: the name, the version and, if this package knows it, the address of the project. Some refuse
    others.
    """
    try:
        pairs = [line.split(", ", 1) for line in metadata.metadata("llava-gateway").get_all("Project-URL") or ()]
    except metadata.PackageNotFoundError:
        pairs = []
    about = next((address for name, address in pairs if name == "Repository"), None)
    return f"llava-gateway/{__version__}" + (f" (+{about})" if about else "")


async def resolve(host: str, port: int) -> Sequence[Dialled]:
    """Ask the system's resolver, in a thread of its own: a name that resolves slowly must not take one that others need, or hold up the
    end of the program.
    """
    if not _resolving.acquire(blocking=False):
        raise NotFetched("busy")
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[Dialled]] = loop.create_future()

    def settle(answer: Sequence[Dialled] | OSError) -> None:
        if found.done():  # nobody waits any more
            return
        if isinstance(answer, OSError):
            found.set_exception(answer)
        else:
            found.set_result(answer)

    def look() -> None:
        answer: Sequence[Dialled] | OSError
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            answer = [(str(address[0]), int(address[1])) for *_, address in infos]
        except OSError as error:
            answer = error
        except UnicodeError as error:
            answer = OSError(*error.args)
        finally:
            _resolving.release()
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle, answer)

    try:
        threading.Thread(target=look, name="resolving", daemon=True).start()
    except RuntimeError:  # the system has no more threads
        _resolving.release()
        raise NotFetched("busy") from None
    return await found


class Fetcher:
    """Fetches files.

    Args:
        hosts: the hosts that files may come from, as `is_listed` reads them; None for all.
        most_bytes: of one file.
        most_of: returns the most bytes of a file with these first bytes; None if `most_bytes` holds for all.
        most_held: of all files that are arriving or in use.
        resolve, public, tls: replaced by tests, which have neither names nor public addresses.
        seconds: longest time for a file.
    """

    def __init__(
        self,
        *,
        hosts: Sequence[str] | None,
        most_bytes: int,
        most_held: int,
        most_of: Callable[[bytes], int] | None = None,
        resolve: Resolver = resolve,
        public: Callable[[str], bool] = is_public,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        seconds: float = SECONDS,
    ) -> None:
        self._hosts = hosts
        self._most_bytes = most_bytes
        self._most_of = most_of
        self._most_held = most_held
        self._resolver = resolve
        self._public = public
        self._seconds = seconds
        self._room = asyncio.Semaphore(AT_ONCE)
        self._held = 0
        headers = {"User-Agent": user_agent()}
        # The time for connecting is part of the time for the file.
        self._client = Client(connect_timeout=2 * seconds, max_connections=AT_ONCE, headers=headers, tls=tls, resolve=self._resolve)

    @asynccontextmanager
    async def fetch(self, address: str) -> AsyncIterator[bytes]:
        """Yield the file at an address, which counts as in use until the block is left. Raises NotFetched, Overloaded."""
        pieces: list[bytes] = []
        try:
            async with self._room:
                await self._read(address, pieces)
            pieces[:] = [await asyncio.to_thread(b"".join, pieces)]  # in a thread, as it may take long; and not the same bytes twice
            yield pieces[0]
        finally:
            self._held -= sum(map(len, pieces))

    async def _read(self, address: str, pieces: list[bytes]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._opened(address)
                try:
                    await self._take(response, pieces)
                finally:
                    response.close()
        except TimeoutError:
            raise NotFetched("slow") from None
        except OutOfFiles:
            raise Overloaded("out_of_files", retry_after=FILES_RETRY_AFTER) from None
        except CannotConnect as error:
            raise NotFetched("certificate" if isinstance(error.__cause__, ssl.SSLError) else "unreachable") from error
        except HTTPError as error:
            raise NotFetched("broken") from error

    async def _opened(self, address: str) -> Response:
        """Follow redirects to a response with status 200. Each address on the way is checked like the first."""
        target = target_of(address)
        for _ in range(1 + MOST_REDIRECTS):
            if self._hosts is not None and not is_listed(target.host, self._hosts):
                raise NotFetched("not_listed")
            response = await self._client.send("GET", target.url)
            if response.status_code == 200:
                return response
            response.close()
            location = response.headers.get("location")
            if response.status_code not in _REDIRECTS or not location:
                raise NotFetched("status")
            target = target.redirected(location.encode("latin-1").decode("utf-8", "replace"))
        raise NotFetched("redirects")

    async def _resolve(self, host: str, port: int) -> Dialled:
        """Return what is dialled for a host. IPv4 comes first, which works almost everywhere."""
        try:
            found = await self._resolver(host, port)
        except OSError:
            raise NotFetched("unknown_host") from None
        if not found:
            raise NotFetched("unknown_host")
        if not all(self._public(ip) for ip, _ in found):
            raise NotFetched("not_public")
        return min(found, key=lambda dialled: ":" in dialled[0])

    async def _take(self, response: Response, pieces: list[bytes]) -> None:
        """Read the body, as far as it may go. Nothing is decompressed, so its size is what arrives."""
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise NotFetched("compressed")
        length = response.headers.get("content-length", "")
        stated = int(length[:20]) if length.isdigit() else 0
        most, size, most_of = self._most_bytes, 0, self._most_of
        if stated > most:
            raise NotFetched("too_large")
        while piece := await response.read():
            pieces.append(piece)
            size += len(piece)
            self._held += len(piece)
            if most_of and size >= HEAD_BYTES:
                most, most_of = min(most, most_of(b"".join(pieces)[:HEAD_BYTES])), None
            if max(size, stated) > most:
                raise NotFetched("too_large")
            if self._held > self._most_held:
                raise Overloaded("fetched_full", values={"most_bytes": self._most_held}, retry_after=self._seconds)
