"""Waits that a timer or an interruption ends, each with its own error."""

from __future__ import annotations

import asyncio

import pytest

from llava_gateway.errors import SessionDeleted, ShuttingDown, UpstreamTimeout
from llava_gateway.interrupt import Interrupt


async def forever() -> None:
    await asyncio.Event().wait()


async def at_once(value: int) -> int:
    return value


async def test_what_comes_in_time_is_handed_on() -> None:
    assert await Interrupt().wait(at_once(7), 1) == 7
    assert await Interrupt().wait(at_once(7)) == 7


async def test_the_timer_ends_a_wait_with_upstream_timeout() -> None:
    with pytest.raises(UpstreamTimeout):
        await Interrupt().wait(forever(), 0.01)


async def test_an_interruption_ends_the_running_wait_with_its_own_error() -> None:
    interrupt = Interrupt()
    waiting = asyncio.create_task(interrupt.wait(forever()))
    await asyncio.sleep(0)
    interrupt.interrupt(SessionDeleted())
    with pytest.raises(SessionDeleted):
        await waiting


async def test_an_interruption_between_waits_ends_the_next_one_and_all_later_ones() -> None:
    interrupt = Interrupt()
    interrupt.interrupt(ShuttingDown())
    for _ in range(2):
        with pytest.raises(ShuttingDown):
            await interrupt.wait(forever(), 60)


async def test_even_a_wait_that_would_not_wait_is_ended() -> None:
    """Words that come faster than they are sent never leave the loop to the timer."""
    interrupt = Interrupt()
    interrupt.interrupt(ShuttingDown())
    with pytest.raises(ShuttingDown):
        await interrupt.wait(at_once(7))


async def test_the_first_error_stays() -> None:
    interrupt = Interrupt()
    waiting = asyncio.create_task(interrupt.wait(forever()))
    await asyncio.sleep(0)
    interrupt.interrupt(SessionDeleted())
    interrupt.interrupt(ShuttingDown())
    with pytest.raises(SessionDeleted):
        await waiting


async def test_what_was_waited_for_is_cancelled() -> None:
    ended = asyncio.Event()

    async def upstream() -> None:
        try:
            await forever()
        finally:
            ended.set()

    with pytest.raises(UpstreamTimeout):
        await Interrupt().wait(upstream(), 0.01)
    assert ended.is_set()


async def test_a_cancelled_wait_stays_cancelled() -> None:
    waiting = asyncio.create_task(Interrupt().wait(forever(), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
