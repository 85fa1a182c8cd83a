"""HTTP for one connection: limits on the headers of a request, and on the time for which a client may stop reading."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT_RESPONSE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LARGE_RESPONSE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
HEAD_MAX_BYTES = 512 * 1024
"""Bytes after which incomplete headers are rejected. This is more than one socket read, which may contain the body too."""
LOOKS = 4
"""How often within `stall_timeout` a connection is looked at while its client does not read."""


def timed_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """Return an HTTP protocol class with limits on the size of a request's headers and on the time they may take (`body_gap_timeout`),
    and on the time for which a client may stop reading any response (`stall_timeout`).
    """

    class TimedProtocol(HttpToolsProtocol):
        _headers_due: asyncio.TimerHandle | None = None
        _head_bytes = 0
        _look: asyncio.TimerHandle | None = None
        _unread = 0
        _read_at = 0.0

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
            if self._headers_due is None:
                self._expect_headers()

        def on_headers_complete(self) -> None:
            self._forget_headers()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_headers()
            self._forget_reader()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reader()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.get_write_buffer_size():
                self._watch_reader()

        def _expect_headers(self) -> None:
            self._head_bytes = 0
            self._headers_due = self.loop.call_later(settings.body_gap_timeout, self._refuse, TIMEOUT_RESPONSE)

        def _forget_headers(self) -> None:
            if self._headers_due is not None:
                self._headers_due.cancel()
                self._headers_due = None

        def _refuse(self, response: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(response)
                self.transport.close()

        def _watch_reader(self) -> None:
            """Begin to watch whether the client reads; a connection that is watched already stays so."""
            if self._look is None:
                self._unread, self._read_at = unread_bytes(self.transport), self.loop.time()
                self._look_later()

        def _look_later(self) -> None:
            self._look = self.loop.call_later(settings.stall_timeout / LOOKS, self._look_at_reader)

        def _look_at_reader(self) -> None:
            """Cut off a client that has read nothing for `stall_timeout`. Closing would wait for it without end."""
            self._look = None
            if not self.transport.get_write_buffer_size():
                return
            unread, now = unread_bytes(self.transport), self.loop.time()
            if unread != self._unread:
                self._unread, self._read_at = unread, now
            elif now - self._read_at >= settings.stall_timeout:
                log.info("%s 499 client_stalled", self.scope["state"].get("request_id"))
                self.transport.abort()
                return
            self._look_later()

        def _forget_reader(self) -> None:
            if self._look is not None:
                self._look.cancel()
                self._look = None

    return TimedProtocol


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how many written bytes the client has not received yet: those that wait here, and on Linux those in the kernel's buffer.

    A slow client empties that buffer of megabytes for a long time before more of ours goes into it.
    """
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux":
        import fcntl
        import termios

        try:
            waiting += int.from_bytes(fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except (OSError, ValueError):  # the connection has just ended
            return waiting
    return waiting
