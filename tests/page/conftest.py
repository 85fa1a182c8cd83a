"""What the tests of the page share: a real browser, services for it to look at, and the promise that nothing goes wrong unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from llava_gateway.settings import ModelPins, Settings
from tests.browsers import CHROMIUM_FLAGS
from tests.page.visit import LIMIT_MS, Scripted, Visit, Visitor
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, served_in_thread, serving
from tests.synthetic_llava import UNHURRIED, write_pair

REBOUND = "--host-resolver-rules=MAP rebound.local 127.0.0.1"
"""A name that now leads to this machine, as if its owner had changed it after its page was loaded."""

expect.set_options(timeout=LIMIT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS, REBOUND])
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def demo_url() -> Iterator[str]:
    """The service with the built-in demo model, as `serve --engine embedded` starts it."""
    with served_in_thread(Settings(port=0, engine="embedded")) as url:
        yield url


@pytest.fixture(scope="session")
def endless_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose real model writes until somebody stops it, asked with `ENDLESS`."""
    pair = write_pair(tmp_path_factory.mktemp("endless"))
    pins = {"endless": ModelPins(num_ctx=32768)}
    with served_in_thread(Settings(port=0, gguf=pair.gguf, mmproj=pair.mmproj, models=pins)) as url:
        yield url


@pytest.fixture(scope="session")
def tiled_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose real model sees pictures in tiles, as LLaVA-1.6 does; what it says has no sense."""
    pair = write_pair(tmp_path_factory.mktemp("tiled"), name="tiled", pinpoints=(224, 224, 112, 224, 224, 112), inner=UNHURRIED)
    with served_in_thread(Settings(port=0, gguf=pair.gguf, mmproj=pair.mmproj)) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, scripted: Scripted) -> AsyncIterator[Visit]:
    """Opens the page. At the end of the test: no request went elsewhere, no policy was broken, no script failed.

    Its visitors leave before the services of `scripted` end: a page whose service is gone complains.
    """
    visitors: list[Visitor] = []

    async def open_page(url: str, *, path: str = "/", stored: dict[str, Any] | None = None, **context: Any) -> Visitor:
        visitor = await Visitor.open(browser, url, path, stored or {}, context)
        visitors.append(visitor)
        return visitor

    yield open_page
    for visitor in visitors:
        await visitor.leave()


@pytest_asyncio.fixture(loop_scope="session")
async def scripted() -> AsyncIterator[Scripted]:
    """Starts services with an engine that does what it is told, and is told nothing unasked; they end with the test."""
    async with AsyncExitStack() as stack:

        async def start(engine: ScriptedEngine, **settings: Any) -> Served:
            settings.setdefault("read_ahead", False)
            return await stack.enter_async_context(serving(Settings(port=0, engine_poll_interval=0.1, **settings), [engine]))

        yield start
