"""The running answers of sessions, with any number of readers: an answer belongs to its session, not to a connection."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Literal, TypeAlias

from llava_gateway.answers import AnswerEvent, Done
from llava_gateway.chat import ChatRequest
from llava_gateway.errors import AnswerCancelled, SessionBusy, UpstreamIncomplete

Ask: TypeAlias = Callable[[ChatRequest], AbstractAsyncContextManager[AsyncGenerator[AnswerEvent]]]
CancelReason: TypeAlias = Literal["answer_cancelled", "client_left", "answer_abandoned"]
"""Why an answer was cancelled: by a request, because its client disconnected, or because it had no reader for too long."""
LEAD = 256
"""Events that an answer may be ahead of its fastest reader, so that a reader that stalls does not fill the memory."""


class RunningAnswer:
    """A running answer. Keeps all of its events until it ends, so that a reader can begin at any event.

    Args:
        request: the question, in a session.
        ask: writes the answer (`Gateway.ask`).
        abandoned_timeout: seconds after which an answer without readers is cancelled.
        on_end: called when the answer has ended, before any reader gets to know.
    """

    def __init__(self, request: ChatRequest, ask: Ask, abandoned_timeout: float, on_end: Callable[[], None]) -> None:
        self.request = request
        self.key = secrets.token_hex(4)
        self.reason: CancelReason | None = None
        self._ask = ask
        self._abandoned_timeout = abandoned_timeout
        self._on_end = on_end
        self._events: list[AnswerEvent] = []
        self._error: BaseException | None = None
        self._ended = False
        self._news = asyncio.Event()
        self._read_to: dict[object, int] = {}
        self._progress = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._writer = asyncio.create_task(self._write())
        self._writer.add_done_callback(self._end)

    async def read(self, begin: int = 0) -> AsyncGenerator[tuple[int, AnswerEvent]]:
        """Yield the events from number `begin` on, each with its number; the last one is Done. Begins at the first event if there is no
        such number yet.

        Raises the error that ended the answer; AnswerCancelled if it was cancelled.
        """
        number = begin if begin <= len(self._events) else 0
        with self._reader(number) as reader:
            while not self._ended or number < len(self._events):
                if number == len(self._events):
                    await self._news.wait()
                    continue
                yield number, self._events[number]
                number += 1
                self._read_to[reader] = number
                self._progress.set()
        if self._error is not None:
            raise self._error

    async def cancel(self, reason: CancelReason) -> None:
        """Stop the engine, and wait until the session has the text written so far. The first reason counts."""
        self._begin_to_cancel(reason)
        await asyncio.wait([self._writer])

    def _begin_to_cancel(self, reason: CancelReason) -> None:
        if not self._writer.done() and self.reason is None:
            self.reason = reason
            self._writer.cancel()

    async def _write(self) -> Done:
        """Store the events as they arrive. Returns the last one, which readers get only when the session can take the next question."""
        done: Done | None = None
        async with self._ask(self.request) as events:
            async for event in events:
                if isinstance(event, Done):
                    done = event
                    continue
                self._events.append(event)
                self._wake()
                while self._is_far_ahead():
                    self._progress.clear()
                    await self._progress.wait()
        if done is None:
            raise UpstreamIncomplete
        return done

    def _end(self, writer: asyncio.Task[Done]) -> None:
        self._ended = True
        if writer.cancelled():
            self._error = AnswerCancelled(self.reason or "client_left")
        else:
            self._error = writer.exception()
        if self._error is None:
            self._events.append(writer.result())
        self._quiet()
        self._on_end()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _is_far_ahead(self) -> bool:
        return bool(self._read_to) and len(self._events) - max(self._read_to.values()) > LEAD

    @contextmanager
    def _reader(self, begin: int) -> Iterator[object]:
        """Register a reader. An answer without readers continues, and is cancelled after `abandoned_timeout`."""
        reader = object()
        self._read_to[reader] = begin
        self._quiet()
        try:
            yield reader
        finally:
            del self._read_to[reader]
            self._progress.set()
            if not self._read_to and not self._ended:
                loop = asyncio.get_running_loop()
                self._alarm = loop.call_later(self._abandoned_timeout, self._begin_to_cancel, "answer_abandoned")

    def _quiet(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class RunningAnswers:
    """The running answers of all sessions, at most one in each.

    Args:
        ask: writes an answer (`Gateway.ask`).
        abandoned_timeout: seconds after which an answer without readers is cancelled.
        on_change: called when an answer has begun or ended.
    """

    def __init__(self, ask: Ask, abandoned_timeout: float, on_change: Callable[[], None] = lambda: None) -> None:
        self._ask = ask
        self._abandoned_timeout = abandoned_timeout
        self._on_change = on_change
        self._by_session: dict[str, RunningAnswer] = {}

    def start(self, request: ChatRequest) -> RunningAnswer:
        """Start to answer a question in a session. Errors in the question are raised to the readers. Raises SessionBusy."""
        session_id = request.session_id
        if session_id is None:
            raise ValueError("a question without a session has one reader: use Gateway.ask")
        if session_id in self._by_session:
            raise SessionBusy

        def forget() -> None:
            del self._by_session[session_id]
            self._on_change()

        answer = RunningAnswer(request, self._ask, self._abandoned_timeout, forget)
        self._by_session[session_id] = answer
        self._on_change()
        return answer

    def get(self, session_id: str) -> RunningAnswer | None:
        """Return the running answer of a session; None if it has none."""
        return self._by_session.get(session_id)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The sessions that have a running answer."""
        return tuple(self._by_session)
