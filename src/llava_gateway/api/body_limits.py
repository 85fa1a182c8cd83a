"""Request bodies on their way in: the size and the time of each, and the bytes of all of them together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from starlette.types import Message, Receive

from llava_gateway.errors import BodyTimeout, BodyTooLarge, Overloaded, ShuttingDown
from llava_gateway.settings import Settings

T = TypeVar("T")

UNCOUNTED = 64 * 1024
"""The first bytes of each body, which always have room: a question without images passes while large bodies fill all of it."""
RETRY_AFTER = 5.0


class BodyBudget:
    """The bodies of all requests, with one budget of bytes (`bodies_max_bytes`).

    A body takes room as it arrives, and gives it back when its response begins or its request ends. One that finds no room is not read
    further for a while; if there is still none after `body_gap_timeout`, its request is refused, which makes room for the others.

    Attributes:
        held: the bytes that are taken now.
    """

    def __init__(self, settings: Settings) -> None:
        self.max_bytes = settings.body_max_bytes
        self.gap_timeout = settings.body_gap_timeout
        self.timeout = settings.body_timeout
        self.held = 0
        self._most = settings.bodies_limit
        self._room = asyncio.Event()
        self._waits: set[asyncio.Timeout] = set()
        self._closed = False

    def close(self) -> None:
        """End every body that is not complete with ShuttingDown: the server stops."""
        self._closed = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)

    async def wait(self, work: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Return what `work` does. Raises TimeoutError at the deadline, which is a time of the event loop, and ShuttingDown."""
        try:
            async with asyncio.timeout_at(0 if self._closed else deadline) as wait:
                self._waits.add(wait)
                try:
                    return await work()
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if self._closed:
                raise ShuttingDown from None
            raise

    async def take(self, size: int) -> None:
        """Take room for `size` bytes, and wait for it if necessary. Raises Overloaded, ShuttingDown."""
        deadline = asyncio.get_running_loop().time() + self.gap_timeout
        while self.held + size > self._most:
            self._room.clear()
            try:
                await self.wait(self._room.wait, deadline)
            except TimeoutError:
                raise Overloaded("bodies_full", values={"most_bytes": self._most}, retry_after=RETRY_AFTER) from None
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size
        self._room.set()


class IncomingBody:
    """The body of one request; `receive` reads it within the limits.

    Args:
        passes: the most bytes of a body that is passed on as it arrives: it takes no room, and only its pauses are limited. None for any
            other body.

    Attributes:
        refused: whether the request was refused before its body was complete, so that the connection can't be used again.
    """

    def __init__(self, bodies: BodyBudget, receive: Receive, *, passes: int | None = None) -> None:
        self._bodies = bodies
        self._receive = receive
        self._due = math.inf if passes else asyncio.get_running_loop().time() + bodies.timeout
        self._most = passes or bodies.max_bytes
        self._taken = 0
        self._counted = 0
        self._whole = False
        self._released = passes is not None
        self.refused = False

    async def receive(self) -> Message:
        """Return the next message of the client; after the end of the body, the wait for it has no limit.

        Raises BodyTimeout, BodyTooLarge, Overloaded, ShuttingDown.
        """
        if self._whole:
            return await self._receive()
        bodies = self._bodies
        pause_ends = asyncio.get_running_loop().time() + bodies.gap_timeout
        try:
            message = await bodies.wait(self._receive, min(pause_ends, self._due))
        except TimeoutError:
            reason = "body_slow" if self._due <= pause_ends else None
            raise BodyTimeout(reason, values={"seconds": bodies.timeout} if reason else None) from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        self._taken += len(message.get("body", b""))
        if self._taken > self._most:
            await self.discard()
            raise BodyTooLarge("body_bytes", values={"most_bytes": self._most})
        if (more := self._taken - UNCOUNTED - self._counted) > 0 and not self._released:
            await self._count(more)
        return message

    def release(self) -> None:
        """Give back the room of the body: from here on, the answer has it."""
        self._bodies.give_back(self._counted)
        self._counted, self._released = 0, True

    async def discard(self) -> None:
        """Read the rest of the body, for a limited time: closing a connection with unread data in it loses the response too."""
        self.release()
        deadline = asyncio.get_running_loop().time() + self._bodies.gap_timeout
        with suppress(TimeoutError, ShuttingDown):
            while not self._whole:
                self._whole = not (await self._bodies.wait(self._receive, deadline)).get("more_body", False)

    async def _count(self, size: int) -> None:
        try:
            await self._bodies.take(size)
        except Overloaded:
            self.refused = not self._whole
            await self.discard()
            raise
        self._counted += size
