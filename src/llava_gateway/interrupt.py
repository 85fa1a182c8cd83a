"""Waits that a timer, a deleted session or a shutdown can end, each with its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from llava_gateway.errors import GatewayError, UpstreamTimeout

T = TypeVar("T")


class Interrupt:
    """Runs the waits of one answer, one at a time; `interrupt(error)` ends the running one, and every later one, with that error."""

    def __init__(self) -> None:
        self._error: GatewayError | None = None
        self._timer: asyncio.Timeout | None = None

    def interrupt(self, error: GatewayError) -> None:
        """Ends the wait that runs now (or the next one) with `error`; the first error stays."""
        if self._error is None:
            self._error = error
            if self._timer is not None and not self._timer.expired():
                self._timer.reschedule(asyncio.get_running_loop().time())

    async def wait(self, awaitable: Awaitable[T], seconds: float | None = None) -> T:
        """What `awaitable` gives, within `seconds` (None: no limit). Raises UpstreamTimeout, or the error of `interrupt`."""
        try:
            async with asyncio.timeout(seconds if self._error is None else 0) as self._timer:
                result = await awaitable
        except TimeoutError:
            raise (self._error or UpstreamTimeout()) from None
        finally:
            self._timer = None
        if self._error is not None:  # what was there already was not waited for, so no timer could end it
            raise self._error
        return result
