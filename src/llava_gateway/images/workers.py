"""Manage the worker processes: give a job to an idle one, kill those that take too long, and replace those that die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from llava_gateway.errors import ImageParseError, Overloaded
from llava_gateway.images import frames
from llava_gateway.images.frames import Frame

DEATHS_TO_PAUSE = 3
DEATHS_WITHIN = 60.0
PAUSE = 10.0
MAX_WAITING = 64
"""Most jobs that may wait for a worker; their files wait in memory."""

_START_TIMEOUT = 30.0
_PIPE_BUFFER = 4 * 1024 * 1024


class WorkerDied(ImageParseError):
    """A worker died or was killed while it decoded a file; don't try the file again soon."""


class _NotStarted(Exception):
    """The worker died before it had read the job, so the job is not the cause."""


class WorkerPool:
    """A pool of processes that run `worker.py`.

    Args:
        size: number of processes.
        memory: address space per worker in bytes.
        timeout: seconds that a worker may take for one answer.
        now: clock in seconds, for counting deaths and pauses.
    """

    def __init__(self, size: int, *, memory: int, timeout: float, now: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._memory = memory
        self._timeout = timeout
        self._now = now
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._free = asyncio.Semaphore(size)
        self._waiting = 0
        self._deaths: deque[float] = deque()
        self._paused_until = 0.0
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> frozenset[int]:
        return frozenset(worker.pid for worker in self._workers)

    async def start(self) -> None:
        """Start all processes, so that the first job doesn't wait for one. Raises the error of a process that doesn't start."""
        started = await asyncio.gather(*(self._start_worker() for _ in range(self._size)), return_exceptions=True)
        self._idle.extend(worker for worker in started if not isinstance(worker, BaseException))
        if error := next((end for end in started if isinstance(end, BaseException)), None):
            raise error

    async def aclose(self) -> None:
        """Kill all processes; running jobs fail."""
        self._closed = True
        for worker in list(self._workers):
            self._drop(worker)
        self._idle.clear()
        await asyncio.gather(*self._ending)

    @asynccontextmanager
    async def job(self, header: dict[str, Any], blob: bytes) -> AsyncIterator[Answers]:
        """Give a job to a worker, and yield the worker's answers once it has read the job.

        On exit, the worker is free again, or it is killed if not all its answers were taken. Raises Overloaded (images are paused after
        several deaths, too many jobs wait, or no worker starts).
        """
        self._check()
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            self._check_pause()
            answers = await self._begin({**header, "timeout": self._timeout}, blob)
            try:
                yield answers
            finally:
                if answers.complete:
                    self._idle.append(answers.worker)
                else:
                    self._drop(answers.worker)
        finally:
            self._free.release()

    async def _begin(self, header: dict[str, Any], blob: bytes) -> Answers:
        while True:
            idle = self._idle.pop() if self._idle else None
            worker = idle or await self._start_worker()
            answers = Answers(worker, self._timeout, self._count_death)
            try:
                await answers.begin(header, blob)
            except _NotStarted:
                # A worker that died while it was idle is replaced silently.
                self._drop(worker)
                if idle is None:
                    raise Overloaded("images_not_started", retry_after=PAUSE) from None
            except BaseException:
                self._drop(worker)
                raise
            else:
                return answers

    async def _start_worker(self) -> _Worker:
        if self._closed:
            raise Overloaded("images_stopping")
        worker = await _Worker.start(self._memory)
        self._workers.add(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        """Kill a worker. The next job that finds no idle worker starts its replacement."""
        self._workers.discard(worker)
        task = asyncio.create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _check(self) -> None:
        self._check_pause()
        if self._waiting >= MAX_WAITING:
            raise Overloaded("images_waiting", retry_after=2)

    def _check_pause(self) -> None:
        if (left := self._paused_until - self._now()) > 0:
            raise Overloaded("images_paused", retry_after=left)

    def _count_death(self) -> None:
        if self._closed:
            return
        now = self._now()
        self._deaths.append(now)
        while self._deaths[0] < now - DEATHS_WITHIN:
            self._deaths.popleft()
        if len(self._deaths) >= DEATHS_TO_PAUSE:
            self._deaths.clear()
            self._paused_until = now + PAUSE


class Answers:
    """The answers of one worker to one job."""

    def __init__(self, worker: _Worker, timeout: float, on_death: Callable[[], None]) -> None:
        self.worker = worker
        self.complete = False
        self._timeout = timeout
        self._on_death = on_death

    async def begin(self, header: dict[str, Any], blob: bytes) -> None:
        """Send the job and wait until the worker has read it. Raises _NotStarted."""
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await self.worker.send(header, blob)
                await self.worker.receive()
        except (OSError, EOFError, TimeoutError):
            raise _NotStarted from None

    async def next(self, last: str) -> Frame:
        """Return the next answer. An answer called `last`, or an error, completes the job. Raises ImageError, WorkerDied."""
        try:
            async with asyncio.timeout(self._timeout):
                header, blob = await self.worker.receive()
        except TimeoutError:
            self._on_death()
            raise WorkerDied("decoder_slow", values={"seconds": self._timeout}) from None
        except (OSError, EOFError):
            self._on_death()
            raise WorkerDied("decoder_crashed") from None
        self.complete = header["is"] in (last, "error")
        if header["is"] == "error":
            raise frames.error_from(header)
        return header, blob


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout = stdout

    @classmethod
    async def start(cls, memory: int) -> _Worker:
        # This process reads untrusted files, so it doesn't get our settings (an API key may be among them).
        env = {name: value for name, value in os.environ.items() if not name.upper().startswith("LLAVA_GATEWAY_")}
        # -P: don't import from the current folder.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "llava_gateway.images.worker", str(memory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_PIPE_BUFFER,
            env=env,
        )
        if process.stdin is None or process.stdout is None:
            raise OSError("a worker without pipes")
        return cls(process, process.stdin, process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, header: dict[str, Any], blob: bytes) -> None:
        """Send a frame. Raises OSError if the worker is already known to be dead."""
        try:
            self._stdin.write(frames.pack(header, blob))
            self._stdin.write(blob)
        except RuntimeError as error:  # uvloop raises this for a closed pipe; asyncio's `drain` raises ConnectionResetError
            raise BrokenPipeError from error
        await self._stdin.drain()

    async def receive(self) -> Frame:
        """Receive a frame. Raises EOFError if the worker is dead."""
        header, blob = frames.LENGTHS.unpack(await self._stdout.readexactly(frames.LENGTHS.size))
        return json.loads(await self._stdout.readexactly(header)), await self._stdout.readexactly(blob)

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._stdin.close()
        await self._process.wait()
