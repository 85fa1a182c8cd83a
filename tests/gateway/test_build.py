"""Building a gateway, and the order in which its parts start and end when one of them fails."""

from __future__ import annotations

import asyncio
import sys

import pytest

from llava_gateway.errors import ShuttingDown
from llava_gateway.gateway.build import build_engines, build_gateway
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.workers import _Worker
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings
from tests.gateways import ask
from tests.scripted_engine import ScriptedEngine, says_then_waits
from tests.serving import until

ONE_WORKER = Settings(image_workers=1)


class Breaking(ScriptedEngine):
    """An engine that fails when it starts or when it closes."""

    def __init__(self, *, start: bool = False, close: bool = False) -> None:
        super().__init__()
        self._start, self._close = start, close

    async def start(self) -> None:
        if self._start:
            raise RuntimeError("start")

    async def aclose(self) -> None:
        await super().aclose()
        if self._close:
            raise RuntimeError("close")


def workers(gateway: Gateway) -> frozenset[int]:
    return gateway.images._pool.pids


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (Settings(), ["ollama", "embedded"]),
        (Settings(openai_base_url="http://127.0.0.1:9/v1"), ["ollama", "openai", "embedded"]),
        (Settings(engine="embedded"), ["embedded"]),
        (Settings(engine="openai", openai_base_url="http://127.0.0.1:9/v1"), ["openai"]),
    ],
)
def test_the_settings_name_the_engines(settings: Settings, names: list[str]) -> None:
    assert [engine.name for engine in build_engines(settings)] == names


async def test_answers_end_before_engines_and_engines_before_workers() -> None:
    seen: list[tuple[int, int]] = []

    class Watched(ScriptedEngine):
        async def aclose(self) -> None:
            seen.append((self.running, len(workers(gateway))))

    engine = Watched(says_then_waits("Well"))
    gateway = build_gateway(ONE_WORKER, [engine])
    assert not workers(gateway)
    async with gateway.running():
        asking = asyncio.create_task(ask(gateway, TextPart("Hi")))
        await until(lambda: engine.running == 1)
        gateway.end_grace_period()
    assert seen == [(0, 1)]
    assert not workers(gateway)
    with pytest.raises(ShuttingDown):
        await asking


async def test_an_error_inside_ends_answers_at_once() -> None:
    engine = ScriptedEngine(says_then_waits("Well"))
    gateway = build_gateway(Settings(image_workers=1, shutdown_grace=24 * 3600), [engine])
    running = gateway.running()
    await running.__aenter__()
    asking = asyncio.create_task(ask(gateway, TextPart("Hi")))
    await until(lambda: engine.running == 1)
    failure = LookupError("a bug")
    assert not await running.__aexit__(LookupError, failure, None)
    with pytest.raises(ShuttingDown):
        await asking
    assert engine.closed


async def test_an_engine_that_fails_to_start_leaves_nothing_behind() -> None:
    engine = Breaking(start=True)
    gateway = build_gateway(ONE_WORKER, [engine])
    with pytest.raises(RuntimeError, match="start"):
        async with gateway.running():
            pass
    assert engine.closed
    assert not workers(gateway)


async def test_an_engine_that_fails_to_close_holds_up_no_other() -> None:
    closed: list[str] = []

    class Slow(ScriptedEngine):
        async def aclose(self) -> None:
            await asyncio.sleep(0.01)
            closed.append(self.name)

    gateway = build_gateway(ONE_WORKER, [Breaking(close=True), Slow(name="embedded")])
    with pytest.raises(RuntimeError, match="close"):
        async with gateway.running():
            pass
    assert closed == ["embedded"]
    assert not workers(gateway)


@pytest.mark.skipif(sys.platform == "win32", reason="processes")
async def test_a_worker_that_fails_to_start_leaves_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    start, tries, started = _Worker.start, 0, []

    async def second_starts(memory: int) -> _Worker:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("no more processes")
        started.append(await start(memory))
        return started[0]

    monkeypatch.setattr(_Worker, "start", second_starts)
    gateway = build_gateway(Settings(image_workers=2), [ScriptedEngine()])
    with pytest.raises(OSError, match="no more processes"):
        async with gateway.running():
            pass
    assert [worker._process.returncode for worker in started] == [-9]
