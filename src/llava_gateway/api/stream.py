"""Sends an answer as the frames of some API, and watches the client while it does.

A response here owns its request to the end: it sees the client leave (streamed or not) and stops the engine, notices a client that no
longer reads, keeps a quiet stream alive, and ends every stream with exactly one terminal frame.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from typing import Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.errors import internal_error
from llava_gateway.chat import ChatRequest
from llava_gateway.errors import GatewayError, UpstreamIncomplete
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)


class Frames(Protocol):
    """How one API writes an answer.

    Attributes:
        media_type: of a stream; None where the answer is one body.
        keepalive: what is sent while nothing else is; b"" for nothing.
        cuts: whether a stream that failed is cut off instead of ended, because its format has no word for a failure.
    """

    @property
    def media_type(self) -> str | None: ...

    @property
    def keepalive(self) -> bytes: ...

    @property
    def cuts(self) -> bool: ...

    def event(self, event: AnswerEvent) -> bytes:
        """An event of a stream; b"" for those that this API has no frame for. `Done` ends the stream."""

    def whole(self, answer: Answer) -> Response:
        """The answer as one body."""

    def refused(self, error: GatewayError, request_id: str) -> Response:
        """An error before anything was sent."""

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        """An error in the middle of a stream: its last frame."""


class WatchedResponse(Response, ABC):
    """A response that takes its time, and ends as soon as nobody wants it any more.

    Args:
        settings: stall_timeout, ping_interval.
        frames: how errors are written, and what keeps a stream alive.
        request_id: told in errors.
    """

    def __init__(self, settings: Settings, frames: Frames, request_id: str) -> None:
        super().__init__()
        self._settings = settings
        self._frames = frames
        self._request_id = request_id

    @abstractmethod
    async def send_all(self, out: Out) -> None:
        """Does the work and sends what comes of it. A GatewayError that it raises is sent as the end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings
        out = Out(send, scope, receive)
        work = asyncio.create_task(self._work(out))
        left = asyncio.create_task(_left(receive))
        ping_interval = settings.ping_interval if self._frames.keepalive else None
        stalled = asyncio.create_task(out.tend(settings.stall_timeout, ping_interval, self._frames))
        try:
            await asyncio.wait((work, left, stalled), return_when=asyncio.FIRST_COMPLETED)
            if stalled.done() and not work.done():
                log.info("%s 499 client_stalled", self._request_id)
                scope["state"].get("abort", lambda: None)()
            elif not work.done():
                log.info("%s 499 client_left", self._request_id)
        finally:
            for task in (work, left, stalled):
                task.cancel()
            results = await asyncio.gather(work, left, stalled, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _work(self, out: Out) -> None:
        try:
            await self.send_all(out)
        except GatewayError as error:
            await self._failed(error, out)
        except Exception as error:  # a bug: this request is told, the others go on
            await self._failed(internal_error(error, self._request_id), out)

    async def _failed(self, error: GatewayError, out: Out) -> None:
        if not out.started:
            await out.respond(self._frames.refused(error, self._request_id))
            return
        if frame := self._frames.failed(error, self._request_id):
            await out.write(frame, self._frames.media_type or "")
        # Returning without the end of the body makes the server cut the connection: curl then exits non-zero.
        if not self._frames.cuts:
            await out.end()


class AnswerResponse(WatchedResponse):
    """An answer on its way.

    Args:
        gateway, question: what is asked.
        frames, request_id: as in WatchedResponse.
    """

    def __init__(self, gateway: Gateway, question: ChatRequest, frames: Frames, request_id: str) -> None:
        super().__init__(gateway.settings, frames, request_id)
        self._gateway = gateway
        self._question = question

    async def send_all(self, out: Out) -> None:
        """A failure before anything was sent is a plain HTTP error; after that it is the last frame."""
        frames = self._frames
        async with self._gateway.ask(self._question) as events:
            if frames.media_type is None:
                async for event in events:
                    if isinstance(event, Done):
                        await out.respond(frames.whole(event.answer))
                        return
                raise UpstreamIncomplete
            async for event in events:
                if frame := frames.event(event):
                    await out.write(frame, frames.media_type)
            await out.end()


class Out:
    """The sending side of one request."""

    def __init__(self, send: Send, scope: Scope, receive: Receive) -> None:
        self._send = send
        self._scope = scope
        self._receive = receive
        self.started = False
        self._sending_since: float | None = None
        self._sent_at = time.monotonic()

    async def respond(self, response: Response) -> None:
        """A whole response."""
        self.started = True
        await response(self._scope, self._receive, self._guarded)

    async def write(self, chunk: bytes, media_type: str) -> None:
        """A piece of a streamed body; the first one starts the response."""
        if not self.started:
            self.started = True
            headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
            await self._guarded({"type": "http.response.start", "status": 200, "headers": headers})
        await self._guarded({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._guarded({"type": "http.response.body", "body": b"", "more_body": False})

    async def tend(self, stall_timeout: float, ping_interval: float | None, frames: Frames) -> None:
        """Keeps a quiet stream alive; returns when the client has not read for `stall_timeout` seconds. One task per answer, so that no
        word pays for a timer of its own."""
        tick = min(1.0, stall_timeout / 4, (ping_interval or stall_timeout) / 4)
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            if self._sending_since is not None:
                if now - self._sending_since > stall_timeout:
                    return
            elif ping_interval is not None and now - self._sent_at > ping_interval:
                await self.write(frames.keepalive, frames.media_type or "")

    async def _guarded(self, message: Message) -> None:
        """Sends; while the client does not read, this waits and `tend` counts."""
        self._sending_since = time.monotonic()
        await self._send(message)
        self._sending_since = None
        self._sent_at = time.monotonic()


async def _left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
