"""What the tests of the HTTP doors share: the real service with the demo model, and services with an engine that can be told what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import httpx2
import pytest

from llava_gateway.settings import Settings
from tests import sample_images
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, served_in_thread, serving


@pytest.fixture(scope="session")
def demo_url() -> Iterator[str]:
    """The address of the service with the built-in demo model, as `serve --engine embedded` starts it."""
    with served_in_thread(Settings(port=0, engine="embedded")) as url:
        yield url


@pytest.fixture(scope="session")
def demo(demo_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=demo_url, timeout=30, trust_env=False) as client:
        yield client


class Serve(Protocol):
    async def __call__(self, *engines: ScriptedEngine, **settings: Any) -> Served: ...


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts services with scripted engines; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*engines: ScriptedEngine, **settings: Any) -> Served:
            return await stack.enter_async_context(serving(Settings(port=0, **settings), engines))

        yield start


@pytest.fixture(scope="session")
def red_circle() -> bytes:
    return sample_images.encoded(sample_images.shape("circle", "red"))


@pytest.fixture(scope="session")
def blue_square() -> bytes:
    return sample_images.encoded(sample_images.shape("square", "blue"))
