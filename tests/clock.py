"""Time for tests: a clock to set, and time that passes at once for all code in this process that reads `time.monotonic`."""

from __future__ import annotations

import asyncio
import time

_real = time.monotonic
_ahead = 0.0


class Clock:
    """Monotonic seconds that stand still until a test sets `now`."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def install() -> None:
    """Replace `time.monotonic` by a clock that `time_passes` can move. Event loops of asyncio read it too.

    Call it before the gateway is imported: some of its defaults keep a reference to the function, and all clocks must agree.
    """
    time.monotonic = _monotonic


async def time_passes(seconds: float) -> None:
    """Let `seconds` pass at once, and run the timers of this event loop that are due then.

    The clock is never moved back: the waits of other threads would end far in the future.
    """
    global _ahead
    _ahead += seconds
    for _ in range(5):  # a timer may wake a task, which wakes another one
        await asyncio.sleep(0)


def _monotonic() -> float:
    return _real() + _ahead
