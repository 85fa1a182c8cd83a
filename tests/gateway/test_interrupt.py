"""Waits that a timer or an interruption ends, each with its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from llava_gateway.errors import SessionDeleted, ShuttingDown, UpstreamTimeout
from llava_gateway.gateway.interrupt import Interrupt
from tests.clock import time_passes


async def forever() -> None:
    await asyncio.Event().wait()


async def at_once(value: int) -> int:
    return value


async def after(seconds: float, value: int) -> int:
    await time_passes(seconds)
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
    """Tokens that arrive faster than they are sent never give the event loop to the timer."""
    interrupt = Interrupt()
    interrupt.interrupt(ShuttingDown())
    with pytest.raises(ShuttingDown):
        await interrupt.wait(at_once(7))


@pytest.mark.parametrize("go_on", [at_once, lambda _: forever()])
async def test_what_is_waited_for_may_interrupt_itself(go_on: Callable[[int], Awaitable[object]]) -> None:
    """The task is not cancelled by that later."""
    interrupt = Interrupt()

    async def interrupting() -> None:
        interrupt.interrupt(SessionDeleted())
        await go_on(7)

    with pytest.raises(SessionDeleted):
        await interrupt.wait(interrupting(), 60)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


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


async def test_a_shorter_wait_after_a_longer_one_ends_in_its_own_time() -> None:
    interrupt = Interrupt()
    await interrupt.wait(at_once(7), 1000)
    with pytest.raises(UpstreamTimeout):
        await interrupt.wait(after(101, 7), 100)


async def test_time_begins_anew_with_each_wait() -> None:
    """Together they may take longer than each of them."""
    interrupt = Interrupt()
    for number in range(4):
        assert await interrupt.wait(after(60, number), 100) == number
    with pytest.raises(UpstreamTimeout):
        await interrupt.wait(after(101, 7), 100)


async def test_a_wait_without_limit_outlives_the_limit_of_an_earlier_one() -> None:
    interrupt = Interrupt()
    await interrupt.wait(at_once(7), 100)
    assert await interrupt.wait(after(1000, 8)) == 8


async def test_an_ended_wait_leaves_its_task_uncancelled() -> None:
    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise ConnectionError from None

    interrupt = Interrupt()
    for wait, error in ((forever, UpstreamTimeout), (stubborn, ConnectionError)):
        with pytest.raises(error):
            await interrupt.wait(wait(), 0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_who_cancels_the_task_is_obeyed_even_when_the_wait_is_ended_too() -> None:
    interrupt = Interrupt()
    waiting = asyncio.create_task(interrupt.wait(forever()))
    await asyncio.sleep(0)
    interrupt.interrupt(SessionDeleted())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
