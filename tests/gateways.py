"""A gateway without HTTP, with real engines by default, and questions to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from llava_gateway.answers import Answer
from llava_gateway.chat import user_request
from llava_gateway.engines.base import Engine
from llava_gateway.errors import GatewayError
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway.build import build_gateway
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.parts import ImagePart, Link, TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings

T = TypeVar("T")


@asynccontextmanager
async def open_gateway(
    settings: Settings, engines: Sequence[Engine] | None = None, fetcher: Fetcher | None = None
) -> AsyncIterator[Gateway]:
    """Run a gateway; answers that still run at the end of the test are cancelled."""
    gateway = build_gateway(settings, engines, fetcher)
    async with gateway.running():
        yield gateway
        gateway.end_grace_period()


async def ask(gateway: Gateway, *parts: TextPart | ImagePart | Upload | Link, session: Session | None = None, **rest: Any) -> Answer:
    """Ask, and return the whole answer. Raises the error of the answer."""
    return await gateway.answer(user_request(*parts, session_id=session.id if session else None, **rest))


async def until_it_fails(events: AsyncIterator[T]) -> tuple[list[T], GatewayError]:
    """Return the events before the failure, and the failure; fails the test if there is none."""
    came: list[T] = []
    try:
        async for event in events:
            came.append(event)  # noqa: PERF401 (keeps the events before the failure)
    except GatewayError as error:
        return came, error
    raise AssertionError(f"nothing failed: {came}")
