"""Sends an answer: as JSON, as an event stream, or as plain text. Watches the client while it does.

A response here owns its request to the end: it sees the client leave (streamed or not) and stops the engine, notices a client that no
longer reads, keeps a quiet stream alive, and ends every stream with exactly one terminal event.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from json.encoder import encode_basestring
from typing import Any, Literal, TypeAlias, assert_never

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llava_gateway.api.errors import error_body, error_response, internal_error
from llava_gateway.api.native_json import answer_json
from llava_gateway.api.response import JSONResponse
from llava_gateway.chat import (
    Answer,
    ChatRequest,
    Failed,
    Finish,
    Loading,
    PromptProgress,
    Queued,
    ReasoningDelta,
    TextDelta,
    ToolCall,
)
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.answer import Answering
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

Form: TypeAlias = Literal["json", "sse", "text"]
TYPES: dict[str, Form] = {
    "application/json": "json",
    "application/*": "json",
    "text/event-stream": "sse",
    "text/plain": "text",
    "text/*": "text",
}
EVENTS = "text/event-stream; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


def wanted_form(accept: str, *, stream: bool = False) -> Form:
    """The form an Accept header asks for: the known type of highest q, the first among equals. Where it leaves that open, JSON or, with
    `stream`, events."""
    open_: Form = "sse" if stream else "json"
    best: tuple[float, Form] = (0.0, open_)
    for entry in accept.split(","):
        kind, *parameters = (piece.strip() for piece in entry.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    weight = float(parameter[2:])
        form = open_ if kind == "*/*" else TYPES.get(kind.lower())
        if form and weight > best[0]:
            best = (weight, form)
    return best[1]


def sse(event: str, data: dict[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def event_frame(event: Queued | Loading | PromptProgress | TextDelta | ReasoningDelta | ToolCall | Finish, answer: Answer | None) -> bytes:
    """One SSE frame; `answer` is there when the event is Finish."""
    match event:
        case TextDelta(text):
            # As `sse` would write it; this is done for every word, and making an encoder for each takes four times as long.
            return b'event: delta\ndata: {"text":%b}\n\n' % encode_basestring(text).encode()
        case ReasoningDelta(text):
            return sse("reasoning", {"text": text})
        case Queued(position):
            return sse("queued", {"position": position})
        case Loading(model, reason, last_load_ms):
            return sse("loading", {"model": model, "reason": reason, "last_load_ms": last_load_ms})
        case PromptProgress(processed, total, cached):
            return sse("progress", {"processed": processed, "total": total, "cached": cached})
        case ToolCall(id_, name, arguments):
            return sse("tool_call", {"id": id_, "name": name, "arguments": arguments})
        case Finish():
            return sse("done", answer_json(answer) if answer else {})
        case _:
            assert_never(event)


class WatchedResponse(Response, ABC):
    """A response that takes its time, and ends as soon as nobody wants it any more.

    Args:
        settings: stall_timeout, ping_interval.
        form: "json", "sse" or "text".
        request_id: told in errors.
    """

    def __init__(self, settings: Settings, form: Form, request_id: str) -> None:
        super().__init__()
        self._settings = settings
        self._form = form
        self._request_id = request_id

    @abstractmethod
    async def send_all(self, out: Out) -> None:
        """Does the work and sends what comes of it. A GatewayError that it raises is sent as the end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings
        out = Out(send, scope, receive)
        work = asyncio.create_task(self._work(out))
        left = asyncio.create_task(_left(receive))
        stalled = asyncio.create_task(out.tend(settings.stall_timeout, settings.ping_interval if self._form == "sse" else None))
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
            await out.respond(error_response(error, self._request_id))
        elif self._form == "sse":
            await out.write(sse("error", error_body(error, self._request_id)))
            await out.end()
        else:
            # Returning without the end of the body makes the server cut the connection: curl then exits non-zero.
            await out.write(f"\n[error {error.code}] {error.hint}\n".encode(), TEXT)


class AnswerResponse(WatchedResponse):
    """An answer on its way.

    Args:
        gateway, question: what is asked.
        form, request_id: as in WatchedResponse.
        render: makes the body of the JSON form; the `done` event always carries the native answer.
    """

    def __init__(
        self,
        gateway: Gateway,
        question: ChatRequest,
        form: Form,
        request_id: str,
        render: Callable[[Answer], dict[str, Any]] = answer_json,
    ) -> None:
        super().__init__(gateway.settings, form, request_id)
        self._gateway = gateway
        self._question = question
        self._render = render

    async def send_all(self, out: Out) -> None:
        async with self._gateway.ask(self._question) as answering:
            match self._form:
                case "json":
                    await self._as_json(answering, out)
                case "sse":
                    await self._as_events(answering, out)
                case "text":
                    await self._as_text(answering, out)

    async def _as_json(self, answering: Answering, out: Out) -> None:
        async for event in answering:
            if isinstance(event, Failed):
                raise event.error
        if answering.answer:
            await out.respond(JSONResponse(self._render(answering.answer)))

    async def _as_events(self, answering: Answering, out: Out) -> None:
        """A failure before anything was sent is a plain HTTP error; after that it is the `error` event."""
        async for event in answering:
            if isinstance(event, Failed):
                raise event.error
            await out.write(event_frame(event, answering.answer))
        await out.end()

    async def _as_text(self, answering: Answering, out: Out) -> None:
        """Just the words; a newline at the end, so that a shell's prompt stands on its own line."""
        async for event in answering:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, TextDelta):
                await out.write(event.text.encode(), TEXT)
        await out.write(b"\n", TEXT)
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

    async def write(self, chunk: bytes, media_type: str = EVENTS) -> None:
        """A piece of a streamed body; the first one starts the response."""
        if not self.started:
            self.started = True
            headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
            await self._guarded({"type": "http.response.start", "status": 200, "headers": headers})
        await self._guarded({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._guarded({"type": "http.response.body", "body": b"", "more_body": False})

    async def tend(self, stall_timeout: float, ping_interval: float | None) -> None:
        """Pings a quiet event stream; returns when the client has not read for `stall_timeout` seconds. One task per answer, so that no
        word pays for a timer of its own."""
        tick = min(1.0, stall_timeout / 4, (ping_interval or stall_timeout) / 4)
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            if self._sending_since is not None:
                if now - self._sending_since > stall_timeout:
                    return
            elif ping_interval is not None and now - self._sent_at > ping_interval:
                await self.write(b": ping\n\n")

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
