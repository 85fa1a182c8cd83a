"""Runs the app under uvicorn: streams are told before a shutdown, slow headers are cut off, and the exit status is 0."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_gateway.api.app import create_app
from llava_gateway.api.deps import gateway_in
from llava_gateway.api.threads import TURN
from llava_gateway.engines.pool import PoolState
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.settings import Settings

TIMEOUT_RESPONSE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LARGE_RESPONSE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
HEAD_MAX_BYTES = 512 * 1024
"""Headers that are still not whole after so much are refused. More than one read of a socket gives, since it may hold the body too."""


class Server(uvicorn.Server):
    """uvicorn waits for open streams and never ends one by itself: at the first signal the gateway does."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining = asyncio.create_task(self._gateway.drain())
        await super().shutdown(sockets)
        draining.cancel()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal lets running answers go on for a while, the second ends them. uvicorn's own way would leave the engines behind
        at the second, and raise the signal again at the end, though a stop that was asked for is a success."""
        if self.should_exit:
            self._gateway.hurry()
        self._gateway.close_door()
        self.should_exit = True


def timed_protocol(header_timeout: float) -> type[HttpToolsProtocol]:
    """The HTTP protocol with limits on how long a request's headers may take and be."""

    class TimedProtocol(HttpToolsProtocol):
        """`state["abort"]` of a request cuts its connection at once: closing it would wait for ever for a client that does not read."""

        _headers_due: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            if self._headers_due is not None:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_MAX_BYTES:
                    self._refuse(TOO_LARGE_RESPONSE)
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["state"]["abort"] = self.transport.abort
            if self._headers_due is None:
                self._expect_headers()

        def on_headers_complete(self) -> None:
            self._forget_headers()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_headers()
            super().connection_lost(exc)

        def _expect_headers(self) -> None:
            self._head_bytes = 0
            self._headers_due = self.loop.call_later(header_timeout, self._refuse, TIMEOUT_RESPONSE)

        def _forget_headers(self) -> None:
            if self._headers_due is not None:
                self._headers_due.cancel()
                self._headers_due = None

        def _refuse(self, response: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(response)
                self.transport.close()

    return TimedProtocol


class _NoCutBodies(logging.Filter):
    """A text stream that failed ends without its last chunk on purpose (api/stream.py); uvicorn would call that an error of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def build_server(settings: Settings, announce: Callable[[int], None] = lambda port: None, app: FastAPI | None = None) -> Server:
    """A server that is ready to `run()`; `announce` gets the port once it listens."""
    app = app or create_app(settings)
    logging.getLogger("uvicorn.error").addFilter(_NoCutBodies())
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=timed_protocol(settings.body_gap_timeout),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.shutdown_grace) + 1,
    )
    return Server(config, gateway_in(app), announce)


def prepare_process() -> None:
    """For a process that serves and does nothing else: its event loop gets its turn soon while a large body is read, and what is there at
    the start is not gone through again each time Python looks for garbage, which takes 50 ms."""
    sys.setswitchinterval(TURN)
    gc.collect()
    gc.freeze()


def run(settings: Settings, announce: Callable[[int, PoolState], None]) -> int:
    """Serves until a signal; the exit status. `announce` gets the port once it listens, and the engines as they are then."""
    app = create_app(settings)
    gateway = gateway_in(app)
    server = build_server(settings, lambda port: announce(port, gateway.pool.state), app)
    prepare_process()
    server.run()
    return 0 if server.started else 1
