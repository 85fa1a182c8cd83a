"""A bounded queue per engine: who may use a slot now, who waits at which place, and who is sent away.

Ollama's own 503 guards only model loads: a request for a loaded model waits in it unseen. So requests wait here, where the place in the
queue is known.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llava_gateway.errors import Overloaded
from llava_gateway.notes import Value

RETRY_AFTER_MAX = 60
FILES_OF_OUR_OWN = 64


def connections_limit() -> int:
    """Answers that the limit on open files lets us give at once: each takes two sockets, one to the client and one to the engine."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(0, (soft - FILES_OF_OUR_OWN) // 2)


class Ticket:
    """A place in the queue, or a slot once `granted_at` is set."""

    def __init__(self, queue: EngineQueue) -> None:
        self._queue = queue
        self._deadline = asyncio.get_running_loop().time() + queue.queue_timeout
        self._moved = asyncio.Event()
        self._moved.set()
        self.granted_at: float | None = None

    async def position(self) -> int | None:
        """The place (1 is next), None once the slot is ours. Returns at once the first time and whenever a slot was free, later when the
        place has changed. Raises Overloaded after the queue's `queue_timeout`."""
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._moved.wait()
        except TimeoutError:
            raise self._queue.overloaded("queue_slow", seconds=self._queue.queue_timeout) from None
        self._moved.clear()
        return None if self.granted_at is not None else self._queue.position_of(self)

    def move(self) -> None:
        """The queue before this ticket changed."""
        self._moved.set()


class EngineQueue:
    """Slots of one engine and the queue before them, first come, first served; when there is nothing to do, work in the background.

    Args:
        slots: requests worked on at once.
        queue_size: requests that may wait; one more raises Overloaded.
        queue_timeout: longest wait in seconds.
        clock: monotonic seconds.
    """

    def __init__(self, slots: int, *, queue_size: int, queue_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self.queue_size = queue_size
        self.queue_timeout = queue_timeout
        self._clock = clock
        self._waiting: deque[Ticket] = deque()
        self._give_way: Callable[[], None] | None = None  # of the work in the background, while there is some
        self.active = 0
        self._service_seconds = 5.0  # moving average of how long a slot is held; this first guess is soon replaced

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def position_of(self, ticket: Ticket) -> int:
        return self._waiting.index(ticket) + 1

    def check_room(self) -> None:
        """Raises Overloaded when a request that came now would be sent away, so that no work is done for it first."""
        answered = self.active - (self._give_way is not None)  # what runs in the background is about to leave
        if answered + self.waiting >= self.slots + self.queue_size:
            raise self.overloaded("queue_full", active=answered, waiting=self.waiting)

    def overloaded(self, reason: str, **values: Value) -> Overloaded:
        """The error for who is sent away: Retry-After is the measured service time x the queue's length, at most 60 s."""
        seconds = math.ceil(self._service_seconds * (self.waiting + 1) / self.slots)
        return Overloaded(reason, values=values, retry_after=min(RETRY_AFTER_MAX, max(1, seconds)))

    @contextmanager
    def enter(self) -> Iterator[Ticket]:
        """Takes a slot, or a place in the queue (see `Ticket.position`); leaving gives it back. Raises Overloaded when both are full."""
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
        """Takes a slot for work that nobody waits for, if the engine has no work at all: yields whether it has none.

        `give_way` is called whenever a request comes; the block should then be left soon, for the request may be waiting for its slot.
        One request beside it would not do: the engine may work on both by turns, and the request would wait for every step of the other.
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
        """Gives free slots to those who wait."""
        while self._waiting and self.active < self.slots:
            self._grant(self._waiting.popleft())
        for other in self._waiting:
            other.move()
