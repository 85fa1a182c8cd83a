"""The queue before an engine: which request goes first, which position it gets, and when it is rejected with which retry_after."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from llava_gateway.errors import Overloaded
from llava_gateway.gateway.queue import EngineQueue
from tests.clock import Clock, time_passes


def engine_queue(slots: int = 1, queue_size: int = 2, queue_timeout: float = 60, clock: Clock | None = None) -> EngineQueue:
    return EngineQueue(slots, queue_size=queue_size, queue_timeout=queue_timeout, clock=clock or Clock())


async def test_a_free_slot_is_given_at_once() -> None:
    gate = engine_queue(slots=2)
    with gate.enter() as one, gate.enter() as two:
        assert (await one.position(), await two.position()) == (None, None)
        assert (gate.active, gate.waiting) == (2, 0)
    assert (gate.active, gate.waiting) == (0, 0)


async def test_places_move_up_in_order_of_arrival() -> None:
    gate = engine_queue()
    with ExitStack() as running, ExitStack() as next_:
        running.enter_context(gate.enter())
        second = next_.enter_context(gate.enter())
        with gate.enter() as third:
            assert await second.position() == 1
            assert await third.position() == 2
            moved = asyncio.create_task(third.position())
            running.close()
            assert await second.position() is None
            assert await moved == 1
            next_.close()
            assert await third.position() is None


async def test_who_leaves_the_queue_makes_room_for_those_behind() -> None:
    gate = engine_queue()
    with gate.enter(), ExitStack() as impatient:
        impatient.enter_context(gate.enter())
        with gate.enter() as last:
            assert await last.position() == 2
            impatient.close()
            assert await last.position() == 1
            assert gate.waiting == 1


async def test_one_more_than_fits_is_sent_away_without_changing_anything() -> None:
    gate = engine_queue(queue_size=1)
    with gate.enter(), gate.enter():
        with pytest.raises(Overloaded), gate.enter():
            pass
        with pytest.raises(Overloaded):
            gate.check_room()
        assert (gate.active, gate.waiting) == (1, 1)


async def test_a_queue_of_no_places_still_has_its_slots() -> None:
    gate = engine_queue(queue_size=0)
    gate.check_room()
    with gate.enter() as ticket:
        assert await ticket.position() is None
        with pytest.raises(Overloaded):
            gate.check_room()


async def test_retry_after_is_the_measured_service_time_times_the_length_of_the_queue() -> None:
    clock = Clock()
    gate = engine_queue(queue_size=3, clock=clock)
    for _ in range(60):  # until the moving average settles
        with gate.enter():
            clock.now += 1.99
    with gate.enter(), gate.enter(), gate.enter():
        assert gate.overloaded("full").retry_after == 6


@pytest.mark.parametrize(("seconds", "told"), [(0.001, 1), (500.0, 60)])
async def test_retry_after_is_at_least_a_second_and_at_most_a_minute(seconds: float, told: int) -> None:
    clock = Clock()
    gate = engine_queue(clock=clock)
    for _ in range(80):
        with gate.enter():
            clock.now += seconds
    assert gate.overloaded("full").retry_after == told


async def test_waiting_has_an_end() -> None:
    gate = engine_queue(queue_timeout=60)
    with gate.enter(), gate.enter() as ticket:
        assert await ticket.position() == 1
        waiting = asyncio.create_task(ticket.position())
        await time_passes(59)
        assert not waiting.done()
        await time_passes(2)
        assert waiting.done()
        with pytest.raises(Overloaded) as refused:
            await waiting
    assert refused.value.retry_after
    assert (gate.active, gate.waiting) == (0, 0)


async def test_a_slot_given_at_the_last_moment_is_still_a_slot() -> None:
    gate = engine_queue(queue_timeout=60)
    with ExitStack() as running:
        running.enter_context(gate.enter())
        with gate.enter() as ticket:
            assert await ticket.position() == 1
            running.close()
            await time_passes(61)  # the deadline passes; the slot is there already
            assert await ticket.position() is None


async def test_work_in_the_background_has_a_slot_only_while_there_is_no_request() -> None:
    gate = engine_queue(slots=2)
    with gate.enter(), gate.background(pytest.fail) as free:
        assert not free
        assert gate.active == 1
    with gate.background(pytest.fail) as free:
        assert free
        assert gate.active == 1
        with gate.background(pytest.fail) as another:
            assert not another
    assert gate.active == 0


async def test_a_request_ends_the_work_in_the_background_and_has_its_slot() -> None:
    gate, told = engine_queue(), []
    with ExitStack() as work, ExitStack() as first:
        assert work.enter_context(gate.background(lambda: told.append("give way")))
        ticket = first.enter_context(gate.enter())
        assert told == ["give way"]
        assert await ticket.position() == 1
        with gate.enter() as second:
            assert await second.position() == 2
            work.close()
            assert await ticket.position() is None
            assert await second.position() == 1
            first.close()
            assert await second.position() is None
    assert (gate.active, gate.waiting) == (0, 0)


async def test_with_another_slot_free_a_request_does_not_wait_for_the_work_in_the_background() -> None:
    gate, told = engine_queue(slots=2), []
    with gate.background(lambda: told.append("give way")), gate.enter() as ticket:
        assert told == ["give way"]
        assert await ticket.position() is None


async def test_no_request_is_sent_away_because_of_work_in_the_background() -> None:
    gate = engine_queue(queue_size=0)
    with ExitStack() as work, ExitStack() as first:
        work.enter_context(gate.background(lambda: None))
        ticket = first.enter_context(gate.enter())
        with pytest.raises(Overloaded), gate.enter():
            pass
        work.close()
        assert await ticket.position() in (1, None)
        assert ticket.granted_at is not None


async def test_work_in_the_background_does_not_count_as_service_time() -> None:
    clock = Clock()
    gate = engine_queue(clock=clock)
    before = gate.overloaded("full").retry_after
    with gate.background(lambda: None):
        clock.now += 500
    assert gate.overloaded("full").retry_after == before
