"""Ctrl+C while an answer arrives: asks the gateway to stop it, so that the session records that a person did."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llava_gateway.cli.client import GatewayClient
from llava_gateway.cli.console import Failure


@contextmanager
def ctrl_c_stops(client: GatewayClient, session: str) -> Iterator[None]:
    """Let Ctrl+C stop the running answer of a session, and then raise KeyboardInterrupt.

    Closing the connection alone would stop it too, but would be recorded as a client that left. A second Ctrl+C doesn't wait for the
    gateway.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, for example in the background
        yield
        return
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stopped = client.stop(session)
        if not stopped:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    except Failure:
        if stopped:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
