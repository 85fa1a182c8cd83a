"""Refuses new work while memory is nearly used up, so that the system does not kill the gateway with all its answers and sessions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import psutil

from llava_gateway.errors import Overloaded
from llava_gateway.settings import Settings

IMAGES_UP_TO = 0.85
"""The share of memory above which requests with new images are refused."""
ALL_UP_TO = 0.95
"""The share of memory above which all new questions are refused. Running answers go on."""
RETRY_AFTER = 10.0

Use: TypeAlias = Callable[[], float]
"""Returns the used share of one limit on memory."""


class MemoryCap:
    """The limits on memory that apply to this process.

    Args:
        uses: the used share of each limit.
    """

    def __init__(self, uses: Sequence[Use]) -> None:
        self.uses = uses

    @classmethod
    def of(cls, settings: Settings) -> MemoryCap:
        """Return the cap of the setting and of the control groups (containers, systemd units) that this process is in."""
        uses = list(group_uses())
        if settings.memory_max_bytes is not None:
            uses.append(partial(_share, partial(resident_bytes, psutil.Process()), settings.memory_max_bytes))
        return cls(uses)

    def check(self, *, images: bool) -> None:
        """Raise Overloaded if there is too little memory left for a new request; `images`: it brings new images."""
        used = max((use() for use in self.uses), default=0.0)
        if used >= ALL_UP_TO:
            raise Overloaded("memory_full", values={"percent": int(used * 100)}, retry_after=RETRY_AFTER)
        if images and used >= IMAGES_UP_TO:
            raise Overloaded("memory_low", values={"percent": int(used * 100)}, retry_after=RETRY_AFTER)


def resident_bytes(process: psutil.Process) -> int:
    """Return the main memory of a process, without its children."""
    return int(process.memory_info().rss)


def group_uses(root: Path = Path("/sys/fs/cgroup"), of: Path = Path("/proc/self/cgroup")) -> Iterator[Use]:
    """Yield the use of each limit of the control groups of this process, from its own group up to the root. Linux only."""
    try:
        lines = of.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _uses(root, path, "memory.max", "memory.current", "inactive_file ")
        elif "memory" in controllers.split(","):
            yield from _uses(root / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")


def _uses(root: Path, path: str, limit: str, current: str, reclaimable: str) -> Iterator[Use]:
    group = Path(os.path.normpath(root / path.lstrip("/")))
    while group == root or root in group.parents:
        most = _number(group / limit)
        if most is not None and most < psutil.virtual_memory().total:  # a limit above all memory is none
            yield partial(_share, partial(_used, group, current, reclaimable), most)
        group = group.parent


def _share(used: Callable[[], int], most: int) -> float:
    return used() / most


def _used(group: Path, current: str, reclaimable: str) -> int:
    """Return the bytes that a group uses, without those of files that the system can drop at any time."""
    used = _number(group / current)
    if used is None:
        return 0
    try:
        stat = (group / "memory.stat").read_text()
    except OSError:
        return used
    return used - next((int(line.split()[1]) for line in stat.splitlines() if line.startswith(reclaimable)), 0)


def _number(file: Path) -> int | None:
    """Read a number of bytes; None for `max`, or if there is no such file."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
