"""Interruptible waits: a timer, a deleted session or a shutdown ends a wait, each with its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from llava_gateway.errors import GatewayError, UpstreamTimeout

T = TypeVar("T")


class Interrupt:
    """Runs the waits of one answer, one at a time. `interrupt(error)` ends the running wait, and every later one, with that error.

    There is one wait for each token. So all waits share one alarm, which is set again only when it rings too early: to make and
    cancel a timer for each wait (asyncio.timeout) costs more than everything else that is done with a token here.
    """

    def __init__(self) -> None:
        self._error: GatewayError | None = None
        self._task: asyncio.Task[Any] | None = None
        self._ended = False
        self._deadline: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def interrupt(self, error: GatewayError) -> None:
        """End the running wait (or the next one) with `error`. Only the first error counts."""
        if self._error is None:
            self._error = error
            if self._task is not None and asyncio.current_task() is self._task:
                # The awaited code itself called this: a task that cancels itself can't undo that before Python 3.13.
                asyncio.get_running_loop().call_soon(self._end)
            else:
                self._end()

    def close(self) -> None:
        """Cancel the alarm. No wait may follow."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def wait(self, awaitable: Awaitable[T], seconds: float | None = None) -> T:
        """Return the result of `awaitable`, within `seconds` (None: no limit). Raises UpstreamTimeout, or the error of `interrupt`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("only a task can wait")
        cancels = task.cancelling()
        self._task, self._ended = task, False
        if self._error is not None:
            loop.call_soon(self._end)
        elif seconds is not None:
            self._deadline = loop.time() + seconds
            if self._alarm is None or self._deadline < self._rings_at:
                self._set_alarm(loop, self._deadline)
        try:
            result = await awaitable
        except asyncio.CancelledError:
            # The cancellation is ours, unless another caller cancelled the task too.
            if self._ended and task.cancelling() <= cancels + 1:
                raise (self._error or UpstreamTimeout()) from None
            raise
        finally:
            if self._ended:
                task.uncancel()
            self._task = self._deadline = None
        if self._error is not None:  # the result was already there, so no wait took place that could be ended
            raise self._error
        return result

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self.close()
        self._alarm, self._rings_at = loop.call_at(at, self._ring, loop), at

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        if self._deadline is None:
            return
        if loop.time() < self._deadline:
            self._set_alarm(loop, self._deadline)
        else:
            self._end()

    def _end(self) -> None:
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()
