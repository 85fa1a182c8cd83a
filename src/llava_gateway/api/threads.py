"""Parses and converts large bodies in a thread, so that they don't block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 4 * 1024
"""Bytes or characters up to which work runs on the event loop: this takes a few milliseconds."""
TURN = 0.0005
"""Seconds after which a working thread yields to the event loop (`sys.setswitchinterval`); Python's default of 5 ms is ten times as
long, and a small request needs several switches.
"""
_POOL = ThreadPoolExecutor(1, "reading")
"""Only one thread: several can't run at the same time anyway, and each more would make the event loop wait for another switch interval."""


async def off_loop(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work`, in a thread if `size` is large. Returns or raises what `work` does."""
    return work(*args, **kwargs) if size <= LARGE else await in_thread(work, *args, **kwargs)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(_POOL, partial(work, *args, **kwargs))
