"""Models that are being installed, as watchers see it: every status in order, the latest figures, and the same end for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from llava_gateway.engines import ollama_library
from llava_gateway.engines.installer import Installer, Installing
from llava_gateway.engines.ollama_library import OllamaLibrary, Progress
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import DiskFull, GatewayError, ShuttingDown
from llava_gateway.settings import Settings
from tests.scripted_engine import ScriptedEngine


async def watched(installing: Installing) -> list[Progress]:
    return [step async for step in installing.steps()]


async def test_who_comes_late_or_reads_slowly_gets_every_status_once_with_its_latest_figures() -> None:
    installing = Installing("pull", "llava:7b")
    steps = installing.steps()
    installing.report(Progress("pulling manifest"))
    assert await anext(steps) == Progress("pulling manifest")
    for completed in (1, 2, 3):
        installing.report(Progress("pulling a", completed, 3))
    installing.report(Progress("pulling b", 1, 2))
    assert [await anext(steps), await anext(steps)] == [Progress("pulling a", 3, 3), Progress("pulling b", 1, 2)]
    installing.report(Progress("pulling b", 2, 2))
    installing.end()
    assert [step async for step in steps] == [Progress("pulling b", 2, 2)]
    assert await watched(installing) == [Progress("pulling manifest"), Progress("pulling a", 3, 3), Progress("pulling b", 2, 2)]


async def test_all_who_watch_get_the_first_error() -> None:
    installing = Installing("pull", "llava:7b")
    first, second = asyncio.create_task(watched(installing)), asyncio.create_task(watched(installing))
    await asyncio.sleep(0)
    installing.end(DiskFull())
    installing.end(ShuttingDown())
    for watcher in (first, second):
        with pytest.raises(DiskFull):
            await watcher


@pytest.fixture
async def installer() -> AsyncIterator[Installer]:
    settings = Settings()
    pool = EnginePool(settings, [ScriptedEngine()])
    installer = Installer(settings, pool)
    yield installer
    await installer.aclose()
    await pool.aclose()


async def test_a_bug_is_told_to_who_watches_and_leaves_nothing_behind(installer: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: OllamaLibrary, name: str) -> AsyncGenerator[Progress]:
        yield Progress("pulling manifest")
        raise RuntimeError("broken")

    monkeypatch.setattr(ollama_library.OllamaLibrary, "pull", broken)
    async with installer.pull("llava:7b") as installing:
        with pytest.raises(GatewayError) as caught:
            await watched(installing)
    assert (caught.value.code, installer.running) == ("internal_error", ())


async def test_a_closed_installer_takes_nothing_new(installer: Installer) -> None:
    installer.close()
    with pytest.raises(ShuttingDown):
        async with installer.pull("llava:7b"):
            pass
    with pytest.raises(ShuttingDown):
        await installer.delete("llava:7b")
