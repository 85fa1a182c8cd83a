"""Anthropic's own clients, pointed at the gateway, and the blocks that they send."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest
from anthropic import AsyncAnthropic

from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image(data: bytes, **rest: Any) -> Any:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64_of(data)}, **rest}


def text(words: str) -> Any:
    return {"type": "text", "text": words}


def user(*content: Any) -> Any:
    return {"role": "user", "content": [*content]}


HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


class Connect(Protocol):
    async def __call__(self, *engines: ScriptedEngine, **settings: Any) -> tuple[AsyncAnthropic, Served]: ...


@pytest.fixture
async def connect(serve: Serve) -> AsyncIterator[Connect]:
    """Start services with scripted engines, each with a client."""
    async with AsyncExitStack() as stack:

        async def start(*engines: ScriptedEngine, **settings: Any) -> tuple[AsyncAnthropic, Served]:
            served = await serve(*engines, **settings)
            client = AsyncAnthropic(base_url=served.url, api_key="secret", max_retries=0)
            return await stack.enter_async_context(client), served

        yield start
