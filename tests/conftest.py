"""Fixtures for the tests of several packages: a real Ollama with the demo model in it, and browsers."""

from __future__ import annotations

import os
import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import reverse_proxies
from tests.appearance.chromium import Chromium, drawing_chromium
from tests.browsers import find_chromium, find_firefox
from tests.ollama_server import RealOllama, find_binary
from tests.reverse_proxies import Front, documented_block, find_caddy, find_nginx

OTHER_WORDS = Path(__file__).parent / "other_words"
REAL_FOLDERS = {"cli", "clients", "contract", "page"}
REAL_FIXTURES = {"chromium", "demo_url", "endless", "installed_firefox", "ollama_binary", "serve"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--other-words", action="store_true", help="give every English sentence of the gateway another wording")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: takes a browser, an engine, a server or much time; left out by `make check`")
    config.addinivalue_line("markers", "wording: looks at the English sentences themselves; left out with --other-words")
    # The models that a person has on this machine are none of the tests' business.
    os.environ["LLAVA_GATEWAY_MODELS_DIR"] = str(Path(tempfile.gettempdir(), "llava-gateway-tests-without-models"))
    if config.getoption("--other-words"):
        runpy.run_path(str(OTHER_WORDS / "sitecustomize.py"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(OTHER_WORDS), os.environ.get("PYTHONPATH"))))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in REAL_FOLDERS or not REAL_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)
    if config.getoption("--other-words"):
        about_words = [item for item in items if item.get_closest_marker("wording")]
        config.hook.pytest_deselected(items=about_words)
        items[:] = [item for item in items if item not in about_words]


def there(program: Path | None, missing: str) -> Path:
    """Skip the test if the program is missing, with a message; on CI it fails."""
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


@pytest.fixture(scope="module")
def judge(chromium: Path) -> Iterator[Chromium]:
    """A browser that draws images as they should look. Its event loop is open, so async tests need a module of their own."""
    with drawing_chromium(chromium) as opened:
        yield opened


@pytest.fixture(scope="session")
def installed_firefox() -> Path:
    return there(find_firefox(), "there is no Firefox to test the page with: install one, or name it in LLAVA_GATEWAY_TEST_FIREFOX")


@pytest.fixture(scope="session")
def real_ollama(ollama_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    """Start a real Ollama with the model `demo`, for all tests that don't change it."""
    server = RealOllama.start(ollama_binary, tmp_path_factory.mktemp("ollama"))
    try:
        server.create_demo()
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_ollama(real_ollama: RealOllama, tmp_path: Path) -> Iterator[RealOllama]:
    """Start a real Ollama for one test, which may kill it; it has the model `demo`."""
    server = RealOllama.start(real_ollama.binary, tmp_path, models=real_ollama.models)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def nginx_binary() -> Path:
    return there(find_nginx(), "there is no nginx to test with: install one, or name it in LLAVA_GATEWAY_TEST_NGINX")


@pytest.fixture(scope="session")
def caddy_binary() -> Path:
    return there(find_caddy(), "there is no Caddy to test with: install one, or name it in LLAVA_GATEWAY_TEST_CADDY")


@pytest.fixture
def in_front(request: pytest.FixtureRequest, tmp_path: Path) -> Front:
    """Start the proxy of the test's parameters (`FRONTS`) in front of a port."""
    kind, prefix = request.param
    binary, block = request.getfixturevalue(f"{kind}_binary"), documented_block(kind, prefix=bool(prefix))
    start = reverse_proxies.nginx if kind == "nginx" else reverse_proxies.caddy
    return lambda port: start(binary, block, port, tmp_path)
