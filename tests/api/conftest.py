"""Fixtures for the tests of the HTTP APIs: the real service with the demo model, and services with a scripted engine."""

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
    """Start the service with the built-in demo model, like `serve --engine embedded`. Returns its address."""
    with served_in_thread(Settings(port=0, engine="embedded")) as url:
        yield url


@pytest.fixture(scope="session")
def demo(demo_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=demo_url, timeout=60, trust_env=False) as client:
        yield client


class Serve(Protocol):
    async def __call__(self, *engines: ScriptedEngine, **settings: Any) -> Served: ...


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start services with scripted engines; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*engines: ScriptedEngine, **settings: Any) -> Served:
            return await stack.enter_async_context(serving(Settings(port=0, **{"image_workers": 1, **settings}), engines))

        yield start


@pytest.fixture(scope="session")
def red_circle() -> bytes:
    return sample_images.encoded(sample_images.shape("circle", "red"))


@pytest.fixture(scope="session")
def blue_square() -> bytes:
    return sample_images.encoded(sample_images.shape("square", "blue"))
