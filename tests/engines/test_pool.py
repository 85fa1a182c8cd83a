"""Which engine and model answer, and why; engines that come and go; model names that are found or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.engines.base import EngineName, Health, ModelInfo
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.pool import EnginePool, EngineState, choose_default
from llava_gateway.errors import ModelNotFound, UpstreamUnavailable
from llava_gateway.settings import Settings
from tests.ollama_server import RealOllama
from tests.scripted_engine import ScriptedEngine
from tests.serving import until


def model(name: str, engine: EngineName = "ollama", *, vision: bool = True, loaded: bool = False, size: int = 1) -> ModelInfo:
    return ModelInfo(name, engine, vision, loaded=loaded, size_bytes=size)


def ollama(*models: ModelInfo) -> EngineState:
    return EngineState("ollama", Health(True, "0.34.2"), models)


NOBODY = {"silent": (), "blind": ()}
"""Nothing to report about the engines that are preferred to it."""
MINE = EngineState("embedded", Health(True), (model("mine", "embedded", vision=False),))
GONE = EngineState("ollama", Health(False))
DEMO = EngineState("embedded", Health(True, "llama.cpp b1"), (model("demo", "embedded"),))
TEXT, TINY, LLAVA, BIG = model("gemma:2b", vision=False), model("moondream", size=2), model("llava:7b", size=5), model("llava:34b", size=9)


@pytest.mark.parametrize(
    ("engines", "settings", "name", "code", "values"),
    [
        ((ollama(TEXT, replace(BIG, loaded=True), LLAVA), DEMO), {}, "llava:34b", "default_loaded", NOBODY),
        ((ollama(TEXT, TINY, LLAVA, BIG), DEMO), {}, "llava:7b", "default_installed", NOBODY),
        ((ollama(BIG, TINY), DEMO), {}, "moondream", "default_smallest", NOBODY),
        ((ollama(replace(TEXT, loaded=True), TINY, BIG), DEMO), {}, "moondream", "default_smallest", NOBODY),
        ((ollama(BIG), DEMO), {}, "llava:34b", "default_only_one", NOBODY),
        ((ollama(TEXT), DEMO), {}, "demo", "default_only_one", {"silent": (), "blind": ("ollama",)}),
        ((ollama(), DEMO), {}, "demo", "default_only_one", {"silent": (), "blind": ("ollama",)}),
        ((GONE, DEMO), {}, "demo", "default_only_one", {"silent": ("ollama",), "blind": ()}),
        ((ollama(LLAVA, TINY), DEMO), {"model": "moondream:latest"}, "moondream", "default_asked_for", {}),
        ((ollama(LLAVA), DEMO), {"model": "demo"}, "demo", "default_asked_for", {}),
        ((ollama(TEXT), DEMO), {"model": "gemma:2b"}, "gemma:2b", "default_asked_for", {}),
        (
            (MINE,),
            {"gguf": Path("mine.gguf")},
            "mine",
            "default_file",
            {},
        ),
        ((ollama(LLAVA), DEMO), {"model": "nothing"}, None, "default_not_there", {"model": "nothing"}),
        ((GONE,), {}, None, "default_none", {"silent": ("ollama",), "blind": ()}),
        ((ollama(TEXT),), {}, None, "default_none", {"silent": (), "blind": ("ollama",)}),
    ],
)
def test_the_default_model_and_why(
    engines: tuple[EngineState, ...], settings: dict[str, Any], name: str | None, code: str, values: dict[str, Any]
) -> None:
    chosen = choose_default(engines, Settings(**settings))
    assert (chosen.model.name if chosen.model else None) == name
    assert chosen.reason.code == code
    assert chosen.reason.values.items() >= values.items()
    assert "model" not in chosen.reason.values or chosen.reason.values["model"] in (name, settings.get("model"))


@pytest.fixture
async def pool_of() -> AsyncIterator[Callable[..., EnginePool]]:
    made: list[EnginePool] = []

    def make(*engines: ScriptedEngine, **settings: Any) -> EnginePool:
        made.append(EnginePool(Settings(**{"engine_poll_interval": 0.01, **settings}), engines))
        return made[-1]

    yield make
    for pool in made:
        await pool.aclose()


def default_of(pool: EnginePool) -> str | None:
    return pool.state.default.model.name if pool.state.default.model else None


async def test_engines_are_in_order_of_preference_however_they_are_given(pool_of: Callable[..., EnginePool]) -> None:
    pool = pool_of(ScriptedEngine(name="embedded"), ScriptedEngine(name="openai"), ScriptedEngine(name="ollama"))
    await pool.start()
    assert [engine.name for engine in pool.state.engines] == ["ollama", "openai", "embedded"]
    assert [found.engine for found in pool.state.models] == ["ollama", "openai", "embedded"]


async def test_only_the_engine_that_answers_is_started(pool_of: Callable[..., EnginePool]) -> None:
    first, second = ScriptedEngine(name="ollama"), ScriptedEngine(name="embedded")
    await pool_of(first, second).start()
    assert (first.started, second.started) == (True, False)


async def test_an_engine_that_comes_up_later_answers_from_then_on_and_no_longer_when_it_goes(pool_of: Callable[..., EnginePool]) -> None:
    ollama = ScriptedEngine(name="ollama", model_names=("llava:7b",))
    ollama.up = False
    pool = pool_of(ollama, ScriptedEngine(name="embedded", model_names=("demo",)))
    await pool.start()
    assert default_of(pool) == "demo"
    ollama.up = True
    await until(lambda: default_of(pool) == "llava:7b")
    assert (await pool.resolve(None)).engine == "ollama"
    assert (await pool.resolve("demo")).engine == "embedded"
    ollama.up = False
    await until(lambda: default_of(pool) == "demo")
    assert pool.state.default.reason.values["silent"] == ("ollama",)
    with pytest.raises(ModelNotFound):
        await pool.resolve("llava:7b")


async def test_nothing_to_answer_is_no_error_at_the_start(pool_of: Callable[..., EnginePool]) -> None:
    engine = ScriptedEngine()
    engine.up = False
    pool = pool_of(engine)
    await pool.start()
    assert not pool.state.ready
    with pytest.raises(UpstreamUnavailable) as refused:
        await pool.resolve(None)
    assert refused.value.retry_after
    engine.up = True
    await until(lambda: pool.state.ready)


async def test_a_name_that_is_not_known_yet_is_asked_for_at_once(pool_of: Callable[..., EnginePool]) -> None:
    engine = ScriptedEngine(model_names=("a",))
    pool = pool_of(engine, engine_poll_interval=600)
    await pool.start()
    engine.installed = (*engine.installed, model("just-pulled"))
    assert (await pool.resolve("just-pulled")).name == "just-pulled"


async def test_a_missing_model_is_told_with_what_there_is(pool_of: Callable[..., EnginePool]) -> None:
    pool = pool_of(ScriptedEngine(model_names=("llava:7b", "moondream")))
    await pool.start()
    with pytest.raises(ModelNotFound) as refused:
        await pool.resolve("gpt-9")
    assert (refused.value.place, refused.value.status) == (("model",), 404)
    assert (refused.value.reason, refused.value.values) == (
        "model_not_found_named",
        {"model": "gpt-9", "installed": ("llava:7b", "moondream")},
    )
    assert (await pool.resolve("moondream:latest")).name == "moondream"


@pytest.mark.parametrize(
    "name",
    ["seen", "SEEN", "seen:latest", "Library/Seen:LATEST", *(f"registry.ollama.ai/library/seen{tag}" for tag in ("", ":latest"))],
)  # fmt: skip
async def test_all_spellings_that_ollama_takes_mean_the_model(pool_of: Callable[..., EnginePool], name: str) -> None:
    pool = pool_of(ScriptedEngine(model_names=("seen:latest", "seen:7b")))
    await pool.start()
    assert (await pool.resolve(name)).name == "seen:latest"
    assert (await pool.choose(name, "seen:latest", "ollama")).name == "seen:latest"
    for other in ("me/seen", "hf.co/library/seen", "seen:13b"):
        with pytest.raises(ModelNotFound):
            await pool.resolve(other)


async def test_names_that_differ_only_in_case_are_told_apart_where_an_engine_has_both(pool_of: Callable[..., EnginePool]) -> None:
    pool = pool_of(ScriptedEngine(name="openai", model_names=("Seen", "seen")))
    await pool.start()
    assert [(await pool.resolve(name)).name for name in ("Seen", "seen")] == ["Seen", "seen"]


async def test_an_engine_can_be_asked_for_with_the_name(pool_of: Callable[..., EnginePool]) -> None:
    pool = pool_of(ScriptedEngine(name="ollama", model_names=("demo",)), ScriptedEngine(name="embedded", model_names=("demo",)))
    await pool.start()
    assert (await pool.resolve("demo")).engine == "ollama"
    assert (await pool.resolve("demo", engine="embedded")).engine == "embedded"


async def test_the_watcher_outlives_what_an_engine_does(
    pool_of: Callable[..., EnginePool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ScriptedEngine(model_names=("a",))
    pool = pool_of(engine)
    await pool.start()

    async def broken() -> Health:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(engine, "health", broken)
        await until(lambda: "checking the engines failed" in caplog.text)
    engine.installed = (model("b"),)
    await until(lambda: default_of(pool) == "b")


async def test_closing_closes_every_engine() -> None:
    engines = ScriptedEngine(name="ollama"), ScriptedEngine(name="embedded")
    pool = EnginePool(Settings(), engines)
    await pool.start()
    await pool.aclose()
    assert all(engine.closed for engine in engines)


@pytest.fixture
def fresh_ollama(ollama_binary: Path, tmp_path: Path) -> Iterator[RealOllama]:
    """Start a real Ollama that has `demo` and no other model, so that the default is certain."""
    server = RealOllama.start(ollama_binary, tmp_path)
    try:
        server.create_demo()
        yield server
    finally:
        server.stop()


async def test_auto_with_a_real_ollama_that_comes_and_goes(fresh_ollama: RealOllama, tmp_path: Path) -> None:
    settings = Settings(ollama_host=fresh_ollama.url, engine_poll_interval=0.05, connect_timeout=0.5)
    pool = EnginePool(settings, [OllamaEngine(settings), EmbeddedEngine(settings)])
    try:
        await pool.start()
        assert pool.state.default.model
        assert (pool.state.default.model.engine, pool.state.default.model.name) == ("ollama", "demo:latest")
        fresh_ollama.stop()
        await until(lambda: pool.state.default.reason.values["silent"] == ("ollama",))
        assert (await pool.resolve(None)).engine == "embedded"
        again = RealOllama.start(fresh_ollama.binary, tmp_path, models=fresh_ollama.models, port=int(fresh_ollama.url.rpartition(":")[2]))
        try:
            await until(lambda: pool.state.default.reason.values["engine"] == "ollama")
            assert (await pool.resolve(None)).engine == "ollama"
            assert (await pool.resolve("demo", engine="embedded")).engine == "embedded"
        finally:
            again.stop()
    finally:
        await pool.aclose()
