"""Sends an answer as frames of an API, and watches the client meanwhile.

A response here owns its request to the end: it notices when the client disconnects (streamed or not, or cut off by `protocol.py`) and stops
the engine, keeps a quiet stream alive, and ends every stream with exactly one terminal frame.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, runtime_checkable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.errors import internal_error
from llava_gateway.api.forced_tool import asking
from llava_gateway.chat import ChatRequest, OnDisconnect
from llava_gateway.errors import GatewayError, UpstreamIncomplete
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.gateway.running import RunningAnswer
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)


class Frames(Protocol):
    """The format in which an API writes an answer.

    Attributes:
        media_type: of a stream; None if the answer is one body.
        keepalive: sent while there is nothing else to send; b"" for none.
        cuts: whether a failed stream is cut off, because its format has no frame for an error.
    """

    @property
    def media_type(self) -> str | None: ...

    @property
    def keepalive(self) -> bytes: ...

    @property
    def cuts(self) -> bool: ...

    def event(self, event: AnswerEvent) -> bytes:
        """Return the frame of an event; b"" if this API has none for it. `Done` ends the stream."""

    def whole(self, answer: Answer) -> Response:
        """Return the answer as one body."""

    def refused(self, error: GatewayError, request_id: str) -> Response:
        """Return the response for an error before anything was sent."""

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        """Return the last frame of a stream that failed."""


@runtime_checkable
class NumberedFrames(Protocol):
    """Frames of a stream that a client can resume after the last event that it received."""

    def event_id(self, key: str, number: int) -> bytes:
        """Return the bytes before a frame: the key of the running answer and the number of the event."""


class WatchedResponse(Response, ABC):
    """A response that takes time, and stops when its client disconnects.

    Args:
        settings: ping_interval.
        frames: the format of errors and of keepalives.
        request_id: included in errors.
    """

    def __init__(self, settings: Settings, frames: Frames, request_id: str) -> None:
        super().__init__()
        self._settings = settings
        self._frames = frames
        self._request_id = request_id

    @abstractmethod
    async def send_all(self, out: Sender) -> None:
        """Do the work and send the result. If it raises a GatewayError, the response ends with that error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        out = Sender(send, scope, receive)
        answering = asyncio.current_task()
        has_left = False

        def leave(watching: asyncio.Task[None]) -> None:
            nonlocal has_left
            if answering is not None and not watching.cancelled():
                watching.exception()  # marks it as retrieved: a body that can't be read ends the answer too
                has_left = True
                answering.cancel()

        watching = asyncio.create_task(_disconnected(receive))
        watching.add_done_callback(leave)
        interval = self._settings.ping_interval
        pings = asyncio.create_task(out.ping(interval, self._frames)) if self._frames.keepalive else None
        try:
            await self._work(out)
        except asyncio.CancelledError:
            if not has_left or answering is None or answering.uncancel():
                raise
            log.info("%s 499 client_left", self._request_id)
        finally:
            answering = None  # `leave` may be scheduled already
            watching.cancel()
            if pings is not None:
                pings.cancel()
                await asyncio.gather(pings, return_exceptions=True)

    async def _work(self, out: Sender) -> None:
        try:
            await self.send_all(out)
        except GatewayError as error:
            await self._failed(error, out)
        except Exception as error:  # a bug: this request gets an error, the others go on
            await self._failed(internal_error(error, self._request_id), out)

    async def _failed(self, error: GatewayError, out: Sender) -> None:
        if not out.started:
            await out.respond(self._frames.refused(error, self._request_id))
            return
        if frame := self._frames.failed(error, self._request_id):
            await out.write(frame, self._frames.media_type or "")
        # Returning without the end of the body makes the server cut the connection: curl then exits with an error.
        if not self._frames.cuts:
            await out.end()


class AnswerResponse(WatchedResponse):
    """The response that asks a question and sends its answer.

    Args:
        gateway, question: the gateway, and the question for it.
        frames, request_id: as in WatchedResponse.
        on_disconnect: what happens to the answer of a session when the client disconnects.
    """

    def __init__(
        self, gateway: Gateway, question: ChatRequest, frames: Frames, request_id: str, on_disconnect: OnDisconnect = "cancel"
    ) -> None:
        super().__init__(gateway.settings, frames, request_id)
        self._gateway = gateway
        self._question = question
        self._on_disconnect = on_disconnect

    async def send_all(self, out: Sender) -> None:
        """Send the answer. A failure before anything was sent is a plain HTTP error; later it is the last frame."""
        if self._question.session_id is None:
            async with asking(self._gateway, self._question) as events:
                await send_answer(out, self._frames, numbered(events))
            return
        running = self._gateway.answers.start(self._question)
        try:
            await send_answer(out, self._frames, running.read(), running.key)
        except asyncio.CancelledError:  # the client disconnected
            if self._on_disconnect == "cancel":
                await running.cancel("client_left")
            raise


class AttachedResponse(WatchedResponse):
    """The response for another reader of a running answer.

    Args:
        running: the answer. begin: the number of the first event to send. prologue: bytes that are sent before it.
        settings, frames, request_id: as in WatchedResponse.
    """

    def __init__(self, running: RunningAnswer, begin: int, prologue: bytes, settings: Settings, frames: Frames, request_id: str) -> None:
        super().__init__(settings, frames, request_id)
        self._prologue = prologue
        self._running = running
        self._begin = begin

    async def send_all(self, out: Sender) -> None:
        if self._prologue:
            await out.write(self._prologue, self._frames.media_type or "")
        await send_answer(out, self._frames, self._running.read(self._begin), self._running.key)


async def send_answer(out: Sender, frames: Frames, events: AsyncGenerator[tuple[int, AnswerEvent]], key: str = "") -> None:
    """Send the events of an answer, each of which comes with its number. A `key` names an answer that a client can resume."""
    numbers = frames if key and isinstance(frames, NumberedFrames) else None
    async with aclosing(events):
        async for number, event in events:
            if frames.media_type is None:
                if isinstance(event, Done):
                    await out.respond(frames.whole(event.answer))
                    return
            elif frame := frames.event(event):
                await out.write(numbers.event_id(key, number) + frame if numbers else frame, frames.media_type)
    if frames.media_type is None:
        raise UpstreamIncomplete
    await out.end()


async def numbered(events: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[tuple[int, AnswerEvent]]:
    """Number the events of an answer that no client can resume."""
    number = 0
    async for event in events:
        yield number, event
        number += 1


class Sender:
    """The sending side of one request."""

    def __init__(self, send: Send, scope: Scope, receive: Receive) -> None:
        self._send = send
        self._send_piece = scope["state"].get("send_piece", send)
        self._scope = scope
        self._receive = receive
        self.started = False
        self._sending = False
        self._sent_at = time.monotonic()

    async def respond(self, response: Response) -> None:
        """Send a whole response."""
        self.started = True
        await response(self._scope, self._receive, self._guarded)

    async def write(self, chunk: bytes, media_type: str) -> None:
        """Send a piece of a streamed body; the first one starts the response."""
        if not self.started:
            self.started = True
            headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
            await self._guarded({"type": "http.response.start", "status": 200, "headers": headers})
        # `_guarded`, written out, since this runs for every token. For the same reason it does not go through the layers of the app, which
        # look only at the start of a response.
        self._sending = True
        await self._send_piece({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sending = False
        self._sent_at = time.monotonic()

    async def end(self) -> None:
        await self._guarded({"type": "http.response.body", "body": b"", "more_body": False})

    async def ping(self, interval: float, frames: Frames) -> None:
        """Keep a quiet stream alive. One task runs per answer, so that single tokens need no timer."""
        while True:
            await asyncio.sleep(min(1.0, interval / 4))
            if not self._sending and time.monotonic() - self._sent_at > interval:
                await self.write(frames.keepalive, frames.media_type or "")

    async def _guarded(self, message: Message) -> None:
        """Send a message. This waits while the client does not read; `api/protocol.py` ends the connection if that takes too long."""
        self._sending = True
        await self._send(message)
        self._sending = False
        self._sent_at = time.monotonic()


async def _disconnected(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
