"""Work on what comes in that would hold up everybody, in threads beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 4 * 1024
"""Bytes or characters that are read while everybody waits: it takes a few milliseconds."""
TURN = 0.0005
"""Seconds after which a thread that works lets the event loop have its turn (`sys.setswitchinterval`); Python's own 5 ms are ten times as
long, and a small request takes several turns."""
_POOL = ThreadPoolExecutor(1, "reading")
"""One thread: they can't work at the same time anyway, and each more of them makes the event loop wait a turn longer."""


async def off_loop(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns or raises; a thread does it where what it reads is large."""
    return work(*args, **kwargs) if size <= LARGE else await in_thread(work, *args, **kwargs)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(_POOL, partial(work, *args, **kwargs))
