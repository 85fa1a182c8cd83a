"""Runs the app under uvicorn: ends streams before a shutdown, and exits with status 0."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from llava_gateway.api.app import create_app
from llava_gateway.api.body_limits import BodyBudget
from llava_gateway.api.deps import bodies_in, gateway_in
from llava_gateway.api.protocol import timed_protocol
from llava_gateway.api.threads import TURN
from llava_gateway.engines.pool import PoolState
from llava_gateway.gateway.files import raise_files_limit
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.settings import Settings

LAST_WORDS = 0.6
"""Seconds between the second signal and the end of every connection: time to send the last event of each stream."""


PORTS_TRIED = 20
"""How many free ports of IPv4 to try until one is free on IPv6 too."""


class Server(uvicorn.Server):
    """A uvicorn server that ends open streams at the first signal; uvicorn itself waits for them and never ends one."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, bodies: BodyBudget, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._bodies = bodies
        self._hurried = asyncio.Event()
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets or listening(self._gateway.settings))
        if self.started:
            self._announce(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._bodies.close()
        tasks = [asyncio.create_task(self._gateway.drain()), asyncio.create_task(self._cut_off())]
        await super().shutdown(sockets)
        for task in tasks:
            task.cancel()

    async def _cut_off(self) -> None:
        """After the second signal, end all connections: a client that does not read would hold up the end."""
        await self._hurried.wait()
        await asyncio.sleep(LAST_WORDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Handle a signal: after the first one, running answers may continue for a while; the second one ends them. uvicorn's own
        handler would leave the engines running after the second signal, and raise the signal again at the end, although a requested
        stop is a success.
        """
        if self.should_exit:
            self._gateway.end_grace_period()
            self._hurried.set()
        self._gateway.stop_accepting()
        self.should_exit = True


def listening(settings: Settings) -> list[socket.socket] | None:
    """Bind the two addresses of loopback to one port. Returns only the first where there is no IPv6.

    Returns None where uvicorn should listen itself: on a single address, or to report why the port can't be had.
    """
    if len(settings.addresses) == 1:
        return None
    first, second = settings.addresses
    for _ in range(PORTS_TRIED if settings.port == 0 else 1):
        try:
            one = bound(socket.AF_INET, first, settings.port)
        except OSError:
            return None
        try:
            return [one, bound(socket.AF_INET6, second, one.getsockname()[1])]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return [one]
            one.close()
    return None


def bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """Return a socket bound as asyncio binds one. Raises OSError."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let two programs share the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


class _NoCutBodies(logging.Filter):
    """Drops uvicorn's error about a failed text stream, which ends without its last chunk on purpose (api/stream.py)."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def build_server(settings: Settings, announce: Callable[[int], None] = lambda port: None, app: FastAPI | None = None) -> Server:
    """Build a server that is ready to `run()`; `announce` is called with the port once it listens."""
    app = app or create_app(settings)
    logging.getLogger("uvicorn.error").addFilter(_NoCutBodies())
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=timed_protocol(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # api/security.py reads them
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.shutdown_grace) + 1,
    )
    return Server(config, gateway_in(app), bodies_in(app), announce)


def prepare_process() -> None:
    """Set up a process that only serves: a thread that reads a large body yields to the event loop soon, and garbage collection takes
    little time.

    A full collection stops everything while it visits every object: 50 ms for the objects present at the start (so these are excluded), 200
    ms with a hundred long sessions (so full collections are rare; young garbage is collected as often as before).
    """
    sys.setswitchinterval(TURN)
    gc.set_threshold(10_000, 10, 1000)
    gc.collect()
    gc.freeze()


def run(settings: Settings, announce: Callable[[int, PoolState], None]) -> int:
    """Serve until a signal, and return the exit status. `announce` is called with the port once it listens, and the engines' state at
    that time.
    """
    raise_files_limit()
    app = create_app(settings)
    gateway = gateway_in(app)
    server = build_server(settings, lambda port: announce(port, gateway.pool.state), app)
    prepare_process()
    server.run()
    return 0 if server.started else 1
