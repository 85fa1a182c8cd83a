"""What tests of several rooms share: a real Ollama with the demo model in it, and browsers."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browsers import find_chromium, find_firefox
from tests.ollama_server import RealOllama, find_binary

OTHER_WORDS = Path(__file__).parent / "other_words"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--other-words", action="store_true", help="give every English sentence of the gateway another wording")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "wording: looks at the English sentences themselves; left out with --other-words")
    if config.getoption("--other-words"):
        runpy.run_path(str(OTHER_WORDS / "sitecustomize.py"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(OTHER_WORDS), os.environ.get("PYTHONPATH"))))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--other-words"):
        about_words = [item for item in items if item.get_closest_marker("wording")]
        config.hook.pytest_deselected(items=about_words)
        items[:] = [item for item in items if item not in about_words]


def there(program: Path | None, missing: str) -> Path:
    """Where a program is not there the test is left out and says so; on CI that is a failure."""
    if program is not None:
        return program
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def ollama_binary() -> Path:
    return there(find_binary(), "there is no Ollama to test with: `make real-ollama` builds one, or name one in LLAVA_GATEWAY_TEST_OLLAMA")


@pytest.fixture(scope="session")
def chromium() -> Path:
    return there(find_chromium(), "there is no Chromium to test the page with: install one, or name it in LLAVA_GATEWAY_TEST_CHROMIUM")


@pytest.fixture(scope="session")
def installed_firefox() -> Path:
    return there(find_firefox(), "there is no Firefox to test the page with: install one, or name it in LLAVA_GATEWAY_TEST_FIREFOX")


@pytest.fixture(scope="session")
def real_ollama(ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    """A real Ollama with the model `demo`, for all tests that leave it as it is."""
    server = RealOllama.start(ollama_binary, tmp_path_factory.mktemp("ollama"))
    try:
        server.create_demo()
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_ollama(real_ollama: RealOllama, tmp_path: Path) -> Iterator[RealOllama]:
    """A real Ollama for one test, which may kill it; the model `demo` is in it."""
    server = RealOllama.start(real_ollama.binary, tmp_path, models=real_ollama.models)
    try:
        yield server
    finally:
        server.stop()
