"""Fixtures for the tests of OpenAI's API: the official clients, pointed at the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from tests.serving import Served

ClientOf: TypeAlias = Callable[[Served], AsyncOpenAI]


@pytest.fixture
async def client_of() -> AsyncIterator[ClientOf]:
    """Create OpenAI's client for a service; it never repeats a request."""
    async with AsyncExitStack() as stack:

        def create(served: Served) -> AsyncOpenAI:
            http = DefaultAsyncHttpxClient(trust_env=False)
            client = AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", http_client=http, max_retries=0)
            stack.push_async_callback(client.close)
            return client

        yield create


@pytest.fixture(scope="session")
def demo_client(demo_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{demo_url}/v1", api_key="any", http_client=DefaultHttpxClient(trust_env=False)) as client:
        yield client
