"""Counts the work of a function independently of the machine: for tests of functions that must not take long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def counted(function: Callable[[], T]) -> tuple[T, int]:
    """Return the function's result, and the number of calls (of Python and C functions, and steps of generators) that it makes."""
    calls = 0

    def count(frame: FrameType, event: str, value: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return function(), calls
    finally:
        sys.setprofile(before)
