"""A bounded queue per engine: grants slots, reports positions, and rejects requests when it is full.

Ollama's own 503 covers model loads only: a request for a loaded model waits inside Ollama without a position. So requests wait here,
where their position is known.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llava_gateway.errors import Overloaded
from llava_gateway.notes import Value

RETRY_AFTER_MAX = 60


class Ticket:
    """A place in the queue, or a slot once `granted_at` is set."""

    def __init__(self, queue: EngineQueue) -> None:
        self._queue = queue
        self._deadline = asyncio.get_running_loop().time() + queue.queue_timeout
        self._moved = asyncio.Event()
        self._moved.set()
        self.granted_at: float | None = None

    async def position(self) -> int | None:
        """Wait for news. Returns the position (1 is next), or None once the slot is ours.

        Returns at once the first time and if a slot is free, later when the position has changed. Raises Overloaded after the
        queue's `queue_timeout`.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._moved.wait()
        except TimeoutError:
            raise self._queue.overloaded("queue_slow", seconds=self._queue.queue_timeout) from None
        self._moved.clear()
        return None if self.granted_at is not None else self._queue.position_of(self)

    def move(self) -> None:
        """Note that the queue before this ticket changed."""
        self._moved.set()


class EngineQueue:
    """The slots of one engine and the queue before them, first come, first served. An idle engine may do background work.

    Args:
        slots: requests that the engine works on at once.
        queue_size: requests that may wait; one more raises Overloaded.
        queue_timeout: longest wait in seconds.
        clock: returns monotonic seconds.
    """

    def __init__(self, slots: int, *, queue_size: int, queue_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self.queue_size = queue_size
        self.queue_timeout = queue_timeout
        self._clock = clock
        self._waiting: deque[Ticket] = deque()
        self._give_way: Callable[[], None] | None = None  # ends the background work; None if there is none
        self.active = 0
        self._service_seconds = 5.0  # moving average of how long a slot is held; measurements soon replace this first guess

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def position_of(self, ticket: Ticket) -> int:
        return self._waiting.index(ticket) + 1

    def check_room(self) -> None:
        """Raise Overloaded if a request would be rejected now, before any work is done for it."""
        answered = self.active - (self._give_way is not None)  # background work is about to leave
        if answered + self.waiting >= self.slots + self.queue_size:
            raise self.overloaded("queue_full", active=answered, waiting=self.waiting)

    def overloaded(self, reason: str, **values: Value) -> Overloaded:
        """Return the error for a rejected request. Its retry_after is the measured service time x the queue's length, at most 60 s."""
        seconds = math.ceil(self._service_seconds * (self.waiting + 1) / self.slots)
        return Overloaded(reason, values=values, retry_after=min(RETRY_AFTER_MAX, max(1, seconds)))

    @contextmanager
    def enter(self) -> Iterator[Ticket]:
        """Take a slot or a place in the queue (see `Ticket.position`), and return it on leaving. Raises Overloaded if both are full."""
        self.check_room()
        if self._give_way is not None:
            self._give_way()
        ticket = Ticket(self)
        if self.active < self.slots:
            self._grant(ticket)
        else:
            self._waiting.append(ticket)
        try:
            yield ticket
        finally:
            self._leave(ticket)

    @contextmanager
    def background(self, give_way: Callable[[], None]) -> Iterator[bool]:
        """Take a slot for background work if the engine is idle. Yields whether it is.

        Any new request calls `give_way`. The block should then be left soon, because the request may be waiting for the slot.
        It needs the whole engine: the engine may serve it and a request by turns, and each step of one would delay the other.
        """
        if self.active:
            yield False
            return
        self.active += 1
        self._give_way = give_way
        try:
            yield True
        finally:
            self._give_way = None
            self.active -= 1
            self._admit()

    def _grant(self, ticket: Ticket) -> None:
        self.active += 1
        ticket.granted_at = self._clock()
        ticket.move()

    def _leave(self, ticket: Ticket) -> None:
        if ticket.granted_at is None:
            self._waiting.remove(ticket)
        else:
            self.active -= 1
            self._service_seconds += 0.2 * (self._clock() - ticket.granted_at - self._service_seconds)
        self._admit()

    def _admit(self) -> None:
        """Grant free slots to waiting requests."""
        while self._waiting and self.active < self.slots:
            self._grant(self._waiting.popleft())
        for other in self._waiting:
            other.move()
