"""Fixtures for the tests with the clients that people have: gateways in front of a real Ollama and with the embedded engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from llava_gateway.settings import Settings
from tests.ollama_server import RealOllama
from tests.serving import served_in_thread


@pytest.fixture(scope="session")
def before_ollama(real_ollama: RealOllama) -> Iterator[str]:
    """Start a gateway in front of the real Ollama with the model `demo`. Returns its address."""
    with served_in_thread(Settings(port=0, engine="ollama", ollama_host=real_ollama.url, image_workers=1)) as url:
        yield url


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """Start a gateway with the embedded engine, on a machine without Ollama. Returns its address."""
    with served_in_thread(Settings(port=0, engine="embedded", image_workers=1)) as url:
        yield url


@pytest.fixture(params=["before_ollama", "embedded"])
def gateway_url(request: pytest.FixtureRequest) -> str:
    """The address of each of the gateways."""
    return str(request.getfixturevalue(request.param))


def soon(holds: Callable[[], bool], seconds: float = 30) -> bool:
    """Return whether something becomes true: Ollama takes a moment to unload a model."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return found
