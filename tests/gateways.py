"""A gateway without its doors, with real engines unless others are given, and questions to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from llava_gateway.answers import Answer
from llava_gateway.chat import ImagePart, TextPart, Upload, asked
from llava_gateway.engines.base import Engine
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.build import build_gateway
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings

T = TypeVar("T")


@asynccontextmanager
async def open_gateway(settings: Settings, engines: Sequence[Engine] | None = None) -> AsyncIterator[Gateway]:
    """A running gateway; answers that run at the end of the test are ended."""
    gateway = build_gateway(settings, engines)
    async with gateway.running():
        yield gateway
        gateway.hurry()


async def ask(gateway: Gateway, *parts: TextPart | ImagePart | Upload, session: Session | None = None, **rest: Any) -> Answer:
    """The whole answer. Raises what went wrong."""
    return await gateway.answer(asked(*parts, session_id=session.id if session else None, **rest))


async def until_it_fails(events: AsyncIterator[T]) -> tuple[list[T], GatewayError]:
    """What comes before the failure, and the failure; one that does not come is a failure of the test."""
    came: list[T] = []
    try:
        async for event in events:
            came.append(event)  # noqa: PERF401 (what came is kept although it fails)
    except GatewayError as error:
        return came, error
    raise AssertionError(f"nothing failed: {came}")
