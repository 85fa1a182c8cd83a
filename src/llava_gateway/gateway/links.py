"""Fetches the images and documents at addresses that a request names, an image once for each address that comes again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

from llava_gateway.errors import DownloadFailed, FetchingOff, GatewayError, Place
from llava_gateway.fetching.addresses import NotFetched, is_listed, target_of
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway.holding import Hold
from llava_gateway.images.check import most_bytes, most_bytes_of_any
from llava_gateway.images.pages import kind_of, may_have_pages
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.parts import Attached, Link, Page, Upload
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

FRESH = 60.0
"""Seconds for which an address that was just fetched is not fetched again: a question is often counted and read ahead first."""
KEPT = 3600.0
"""Seconds after its last use for which an address in a history stands for the image that it was. Clients that send the whole conversation
name it each time, perhaps when its signature has expired."""
MOST_KEPT = 4096
FAILS_AFTER = 1.0
"""Seconds before which no failure is reported, so that their time does not tell what was found: a closed port or no such name."""
AT_ONCE = 4
"""How many files one request fetches at once."""

A = TypeVar("A", bound=Attached)
_Named: TypeAlias = tuple[str, str | None]
"""An address, and the background of the image."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What was found at an address: the sha256 of its bytes, when it was fetched, and when it was used last."""

    sha256: str
    at: float
    used: float


class Links:
    """The images at addresses.

    Args:
        settings: whether, and from which hosts, images are fetched.
        images: where they are stored, like uploads.
        fetcher: fetches them.
        clock, sleep: replaced by tests.
    """

    def __init__(
        self,
        settings: Settings,
        images: ImageStore,
        fetcher: Fetcher | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hosts = settings.fetch_hosts
        self._images = images
        self._fetcher = fetcher or Fetcher(
            hosts=self._hosts,
            most_bytes=most_bytes_of_any(settings),
            most_of=partial(most_bytes, settings=settings),
            most_held=settings.bodies_limit,
        )
        self._clock = clock
        self._sleep = sleep
        self._known: dict[_Named, _Fetched] = {}

    @asynccontextmanager
    async def files(self, hold: Hold) -> AsyncIterator[Files]:
        """Yield the files at addresses of one request, which count as in use until the block is left."""
        async with AsyncExitStack() as stack:
            yield Files(self, hold, stack)

    @asynccontextmanager
    async def file(self, address: str) -> AsyncIterator[bytes]:
        """Yield an image or a document at an address, which counts as in use until the block is left.

        Raises FetchingOff, DownloadFailed, Overloaded.
        """
        self._check(address)
        started = self._clock()
        async with AsyncExitStack() as stack:
            try:
                data = await stack.enter_async_context(self._fetcher.fetch(address))
                if kind_of(data) is None:
                    raise NotFetched("no_image")
            except NotFetched as error:
                log.warning("no image fetched from %.100r: %s", _host(address), error)
                await stack.aclose()
                await self._sleep(max(0.0, started + FAILS_AFTER - self._clock()))
                raise DownloadFailed from None
            yield data

    def _check(self, address: str) -> None:
        """Reject what a setting can change: fetching is off, or not from this host. All other failures look alike to clients."""
        if self._hosts == ():
            raise FetchingOff
        if self._hosts is not None and (host := _host(address)) and not is_listed(host, self._hosts):
            raise FetchingOff("fetching_host")

    def stored(self, named: _Named, *, earlier: bool) -> StoredImage | None:
        """Return what the address stands for, if that is still known and stored.

        Args:
            earlier: whether the address is in the history of a conversation, where the image stays what it was.
        """
        now, known = self._clock(), self._known.get(named)
        if known is None or (now > known.used + KEPT if earlier else now > known.at + FRESH):
            return None
        image = self._images.of_upload(known.sha256)
        if image:
            self._remember(named, replace(known, used=now))
        return image

    def keep(self, named: _Named, image: StoredImage) -> None:
        """Remember the image that was found at an address."""
        if sha256 := self._images.upload_of(image):
            self._remember(named, _Fetched(sha256, self._clock(), self._clock()))

    def _remember(self, named: _Named, fetched: _Fetched) -> None:
        self._known.pop(named, None)
        self._known[named] = fetched
        while len(self._known) > MOST_KEPT:
            del self._known[next(iter(self._known))]


class Files:
    """The files at addresses that one request names, each fetched once.

    An image is known by its address afterwards. A document is needed as a whole, so each request fetches it again.

    Args:
        links: fetches them, and knows the images of earlier requests.
        hold: keeps images from being evicted until the end of the request.
        stack: keeps the files in use until then; a file that became an image is given back before.
    """

    def __init__(self, links: Links, hold: Hold, stack: AsyncExitStack) -> None:
        self._links = links
        self._stack = stack
        self._data: dict[str, bytes] = {}
        self._in_use: dict[str, AsyncExitStack] = {}
        self._images: dict[tuple[_Named, bool], StoredImage] = {}
        self.hold = hold
        self.texts: dict[Page, str] = {}
        """The text layers of the documents' pages that were read for this request, also of documents that came with it."""
        self.has_open_documents = False
        """Whether there are documents whose pages the gateway chooses."""

    async def opened(self, attached: Sequence[A], places: Sequence[Place], *, earlier: bool = False) -> list[A | Upload]:
        """Replace each link by its file, unless its image is known: `image` returns that one.

        Args:
            places: the place of each in the request, for errors.
            earlier: whether they are in the history of a conversation, where an image stays what it was.

        Raises FetchingOff, DownloadFailed, Overloaded: that of the first link that fails.
        """
        wanted = [isinstance(part, Link) and not self._is_known(part, earlier=earlier) for part in attached]
        addresses: dict[str, Place] = {}
        for part, place, is_wanted in zip(attached, places, wanted, strict=True):
            if is_wanted and isinstance(part, Link) and part.address not in self._data:
                addresses.setdefault(part.address, place)
        turns = asyncio.Semaphore(AT_ONCE)
        failures = await asyncio.gather(*(self._fetch(address, turns) for address in addresses), return_exceptions=True)
        for place, failure in zip(addresses.values(), failures, strict=True):
            if isinstance(failure, GatewayError):
                raise failure.at(*place)
            if failure:
                raise failure
        return [
            self._upload(part) if isinstance(part, Link) and is_wanted else part for part, is_wanted in zip(attached, wanted, strict=True)
        ]

    def image(self, link: Link, *, earlier: bool = False) -> StoredImage:
        """Return the known image of a link that `opened` returned."""
        return self._images[(link.address, link.background), earlier]

    async def keep(self, upload: Upload, image: StoredImage, *, earlier: bool = False) -> None:
        """Remember the image that a fetched file is, and give the file back."""
        named = upload.address, upload.background
        self._links.keep(named, image)
        if upload.selection.is_default:
            self._images[named, earlier] = image
            if in_use := self._in_use.pop(upload.address, None):
                del self._data[upload.address]
                await in_use.aclose()

    def _is_known(self, link: Link, *, earlier: bool) -> bool:
        """Find out whether the image of a link is known. A selection needs the file, which tells whether it applies."""
        if not (link.selection.is_default or earlier):
            return False
        named = link.address, link.background
        image = self._images.get((named, earlier)) or self._links.stored(named, earlier=earlier)
        if image:
            self._images[named, earlier] = self.hold(image)
        return image is not None

    async def _fetch(self, address: str, turns: asyncio.Semaphore) -> None:
        async with turns:
            in_use = await self._stack.enter_async_context(AsyncExitStack())
            self._data[address] = await in_use.enter_async_context(self._links.file(address))
            self._in_use[address] = in_use

    def _upload(self, link: Link) -> Upload:
        data = self._data[link.address]
        if link.selection.is_default and may_have_pages(data):
            self.has_open_documents = True
        return Upload(data, link.sight, link.selection, background=link.background, address=link.address)


def _host(address: str) -> str:
    """Return the host of an address, "" for one of another kind."""
    try:
        return target_of(address).host
    except NotFetched:
        return ""
