"""Test the pool with real worker processes that are really killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from llava_gateway.errors import ImageError, Overloaded
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.info import Limits
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.workers import DEATHS_TO_PAUSE, DEATHS_WITHIN, MAX_WAITING, PAUSE, WorkerDied, WorkerPool
from tests.clock import Clock
from tests.odd_images import odd, saved
from tests.serving import until

MEMORY = 2**30
JOB = {"do": "ingest", "limits": Limits().to_json(), "profile": VisionProfile(SquareEye(112)).to_json(), "sight": {}}
EASY = odd("png").data
SLOW = saved(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True)
"""A file that takes a worker long enough to be interrupted: a WEBP can't be decoded at reduced size."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def running(size: int = 1, *, timeout_: float = 10, clock: Clock | None = None) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(size, memory=MEMORY, timeout=timeout_, now=clock or Clock())
    await pool.start()
    try:
        yield pool
    finally:
        await pool.aclose()
        assert not pool.pids


async def work(pool: WorkerPool, data: bytes = EASY) -> int:
    """Ingest a file. Returns the size of the canonical image in bytes."""
    async with pool.job(JOB, data) as answers:
        header, _ = await answers.next("canonical")
        assert header["is"] == "ready"
        return len((await answers.next("canonical"))[1])


async def struck(pool: WorkerPool, strike: Callable[[int], object]) -> None:
    """Start a job, and call `strike` with the worker's pid while it decodes."""
    async with pool.job(JOB, SLOW) as answers:
        strike(answers.worker.pid)
        await answers.next("canonical")


async def die(pool: WorkerPool) -> None:
    with pytest.raises(WorkerDied) as caught:
        await struck(pool, lambda pid: os.kill(pid, signal.SIGKILL))
    assert (caught.value.status, caught.value.code) == (422, "image_parse_error")


async def test_workers_are_used_again() -> None:
    async with running(2) as pool:
        before = pool.pids
        assert len(before) == 2
        sizes = await asyncio.gather(*(work(pool) for _ in range(6)))
        assert len(set(sizes)) == 1
        assert pool.pids == before


async def test_a_worker_that_dies_is_replaced() -> None:
    async with running() as pool:
        before = pool.pids
        await die(pool)
        assert await work(pool)
        assert len(pool.pids) == 1
        assert pool.pids != before


async def test_a_refusal_costs_no_worker() -> None:
    async with running() as pool:
        before = pool.pids
        with pytest.raises(ImageError) as caught:
            await work(pool, odd("png cut off at 50 %").data)
        assert caught.value.reason == "image_cut_off_at"
        assert not isinstance(caught.value, WorkerDied)
        assert pool.pids == before


async def test_images_pause_after_three_deaths_in_a_minute_and_come_back(clock: Clock) -> None:
    async with running(clock=clock) as pool:
        for _ in range(DEATHS_TO_PAUSE):
            clock.now += 1
            await die(pool)
        with pytest.raises(Overloaded) as caught:
            await work(pool)
        assert caught.value.retry_after == PAUSE
        clock.now += PAUSE
        assert await work(pool)
        await die(pool)
        assert await work(pool), "after a pause, counting begins anew"


async def test_deaths_far_apart_pause_nothing(clock: Clock) -> None:
    async with running(clock=clock) as pool:
        for _ in range(DEATHS_TO_PAUSE + 1):
            await die(pool)
            clock.now += DEATHS_WITHIN / (DEATHS_TO_PAUSE - 1) + 1
        assert await work(pool)


async def test_an_idle_worker_that_is_killed_is_replaced_and_not_counted(clock: Clock) -> None:
    async with running(clock=clock) as pool:
        for _ in range(DEATHS_TO_PAUSE + 1):
            (pid,) = pool.pids
            os.kill(pid, signal.SIGKILL)
            assert await work(pool)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_workers_that_died_while_idle_cost_no_image(loop: str) -> None:
    """The server runs on uvloop where it is available, which refuses to write to a pipe that it has closed."""

    async def walk() -> None:
        async with running(2) as pool:
            before = pool.pids
            idle = list(pool._idle)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: all(worker._stdin.is_closing() for worker in idle))
            assert all(await asyncio.gather(*(work(pool) for _ in range(3))))
            assert before.isdisjoint(pool.pids)
            await die(pool)
            assert await work(pool)

    pytest.importorskip(loop).run(walk())


async def test_a_worker_that_takes_too_long_is_ended() -> None:
    async with running(timeout_=0.05) as pool:
        before = pool.pids
        with pytest.raises(WorkerDied) as caught:
            await work(pool, SLOW)
        assert (caught.value.reason, caught.value.values) == ("decoder_slow", {"seconds": 0.05})
        assert before.isdisjoint(pool.pids)


async def test_processor_time_runs_out_too() -> None:
    """The system sends this signal when RLIMIT_CPU is reached."""
    async with running() as pool:
        with pytest.raises(WorkerDied) as caught:
            await struck(pool, lambda pid: os.kill(pid, signal.SIGXCPU))
        assert caught.value.reason == "decoder_crashed"
        assert await work(pool)


async def test_leaving_in_the_middle_ends_the_worker_and_nothing_else() -> None:
    async with running() as pool:
        decoding = asyncio.Event()
        task = asyncio.create_task(struck(pool, lambda _: decoding.set()))
        await decoding.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await work(pool)
        assert await work(pool)
        assert len(pool.pids) == 1


async def test_leaving_the_queue_leaves_no_trace() -> None:
    async with running() as pool:
        before = pool.pids
        async with pool.job(JOB, EASY) as answers:
            waiting = [asyncio.create_task(work(pool)) for _ in range(5)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await answers.next("canonical")
            await answers.next("canonical")
        assert await work(pool)
        assert pool.pids == before
        assert pool._waiting == 0


async def test_only_so_many_may_wait() -> None:
    async with running() as pool:
        async with pool.job(JOB, EASY) as answers:
            waiting = [asyncio.create_task(work(pool)) for _ in range(MAX_WAITING)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded) as refused:
                await work(pool)
            assert refused.value.reason == "images_waiting"
            await answers.next("canonical")
            await answers.next("canonical")
        assert len(await asyncio.gather(*waiting)) == MAX_WAITING


async def test_no_setting_of_ours_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_API_KEY", "secret")
    async with running() as pool:
        (pid,) = pool.pids
        await work(pool)
        with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: ASYNC230, PTH123
            assert b"LLAVA_GATEWAY" not in environ.read()


async def test_a_closed_pool_refuses() -> None:
    async with running() as pool:
        await pool.aclose()
        with pytest.raises(Overloaded):
            await work(pool)
