from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fetching.attack import Dials, attackers_host


@pytest.fixture
async def dials(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Dials]:
    """Record what is dialled; the attacker's host is in this process."""
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(attackers_host, "127.0.0.1", 0) as server:
        dials = Dials(loop.create_connection, server.sockets[0].getsockname()[1])
        monkeypatch.setattr(loop, "create_connection", dials.create_connection)
        yield dials
