"""Chooses among the engines: which ones answer, which models they have, and which model is the default, and why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from llava_gateway.engines.base import Engine, EngineName, Health, ModelInfo, same_name
from llava_gateway.errors import GatewayError, ModelNotFound, Overloaded, UpstreamUnavailable
from llava_gateway.notes import Note, note
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

PREFERENCE: tuple[EngineName, ...] = ("ollama", "openai", "embedded")
"""The order of choice if several engines could answer. The embedded engine comes last, since without files of its own it has only the
demo model."""
FAVOURITE = "llava:7b"
MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class EngineState:
    """The last known state of one engine."""

    name: EngineName
    health: Health
    models: tuple[ModelInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Default:
    """The model that answers requests without a model's name, and why."""

    model: ModelInfo | None
    reason: Note


@dataclass(frozen=True, slots=True)
class PoolState:
    """The last known state of all engines, in order of preference."""

    engines: tuple[EngineState, ...]
    default: Default

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        return tuple(model for engine in self.engines for model in engine.models)

    @property
    def seeing(self) -> tuple[str, ...]:
        """Some of the models that can see."""
        return tuple(model.name for model in self.models if model.vision)[:MOST_NAMED]

    @property
    def ready(self) -> bool:
        """Whether any engine can answer."""
        return any(engine.health.ok and engine.models for engine in self.engines)


class EnginePool:
    """Watches the engines and resolves model names.

    Args:
        settings: engine, model, gguf, engine_poll_interval.
        engines: the configured engines.
    """

    def __init__(self, settings: Settings, engines: Iterable[Engine]) -> None:
        self._settings = settings
        by_name = {engine.name: engine for engine in engines}
        self._engines: dict[EngineName, Engine] = {name: by_name[name] for name in PREFERENCE if name in by_name}
        self.state = PoolState((), Default(None, note("default_unknown")))
        self.revision = 0
        """How often the models, their facts or the engines' states have changed."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after `state` has changed."""
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask every engine once, then keep asking. An engine that does not answer is no error."""
        await self.refresh()
        if self.state.default.model is not None:
            with suppress(GatewayError):
                await self._engines[self.state.default.model.engine].start()
        self._watcher = asyncio.create_task(self._watch())

    async def aclose(self) -> None:
        """Close every engine, then raise the first error."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        ends = await asyncio.gather(*(engine.aclose() for engine in self._engines.values()), return_exceptions=True)
        if error := next((end for end in ends if end is not None), None):
            raise error

    def engine(self, name: EngineName) -> Engine:
        return self._engines[name]

    @property
    def engines(self) -> tuple[Engine, ...]:
        return tuple(self._engines.values())

    async def refresh(self) -> PoolState:
        """Ask all engines again, at the same time."""
        before = {state.name: state for state in self.state.engines}
        states = tuple(await asyncio.gather(*(_check_engine(engine, before.get(name)) for name, engine in self._engines.items())))
        known, self.state = self.state, PoolState(states, choose_default(states, self._settings))
        if known.default.reason != self.state.default.reason:
            log.info("%s", self.state.default.reason.text)
        if known != self.state:
            self.revision += 1
            self.on_change()
        return self.state

    async def resolve(self, name: str | None, *, engine: EngineName | None = None) -> ModelInfo:
        """Return the model called `name` (None: the default), in `engine` if given. Asks the engines again before it gives up.

        Raises ModelNotFound, and UpstreamUnavailable if no engine can answer at all.
        """
        if found := self._find(name, engine):
            return found
        await self.refresh()
        if found := self._find(name, engine):
            return found
        if not self.state.ready:
            absent = _absent(self.state.engines)
            raise UpstreamUnavailable("engine_not_installed" if "uninstalled" in absent else "no_engine", values=absent)
        if name is None:
            asked_for = {"model": self._settings.model} if self._settings.model else {}
            raise ModelNotFound("no_default_model", values={**_absent(self.state.engines), **asked_for}).at("model")
        raise ModelNotFound("model_not_found_named", values={"model": name[:100], "installed": self.state.seeing}).at("model")

    async def choose(self, name: str | None, before: str, engine: EngineName | None) -> ModelInfo:
        """Return the model that answers: the one called `name`, else the model `before` ("": none) of the conversation in `engine`,
        else the default. Raises what `resolve` raises."""
        if not before or not (name is None or same_name(name, before)):
            return await self.resolve(name)
        try:
            return await self.resolve(before, engine=engine)
        except ModelNotFound as error:
            raise ModelNotFound("session_model_gone", values={**error.values, "model": before}).at("model") from None

    def _find(self, name: str | None, engine: EngineName | None) -> ModelInfo | None:
        if name is None:
            return self.state.default.model
        models = [model for model in self.state.models if engine in (None, model.engine)]
        exact = (model for model in models if model.name == name)
        return next(exact, None) or next((model for model in models if same_name(model.name, name)), None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.engine_poll_interval)
            try:
                await self.refresh()
            except Exception:  # the watcher must survive every error of an engine
                log.exception("checking the engines failed")


async def _check_engine(engine: Engine, before: EngineState | None) -> EngineState:
    """Return the state of an engine: the one `before`, if this process can't open a connection to ask."""
    health = Health(False)
    try:
        health = await engine.health()
        return EngineState(engine.name, health, await engine.models() if health.ok else ())
    except Overloaded as error:
        return before or EngineState(engine.name, Health(False, detail=error.message))
    except GatewayError as error:
        return EngineState(engine.name, Health(False, health.version, error.message))


def choose_default(engines: tuple[EngineState, ...], settings: Settings) -> Default:
    """Choose the default (pure): `--model`; else, of the first engine with a vision model, a loaded one, else llava:7b, else the
    smallest."""
    models = [model for engine in engines for model in engine.models]
    if settings.model:
        wanted = [model for model in models if same_name(model.name, settings.model)]
        if not wanted:
            return Default(None, note("default_not_there", model=settings.model))
        return Default(wanted[0], note("default_asked_for", model=wanted[0].name))
    for engine in engines:
        if settings.gguf and engine.models:
            return Default(engine.models[0], note("default_file", model=engine.models[0].name))
        vision = [model for model in engine.models if model.vision]
        if vision:
            model, why = _best(vision)
            who = {"engine": engine.name, "version": engine.health.version, "model": model.name}
            return Default(model, Note(why, {**who, **_absent(engines[: engines.index(engine)])}))
    return Default(None, Note("default_none", _absent(engines)))


def _best(vision: list[ModelInfo]) -> tuple[ModelInfo, str]:
    if len(vision) == 1:
        return vision[0], "default_only_one"
    if loaded := [model for model in vision if model.loaded]:
        return loaded[0], "default_loaded"
    if favourite := [model for model in vision if same_name(model.name, FAVOURITE)]:
        return favourite[0], "default_installed"
    return min(vision, key=lambda model: model.size_bytes or 0), "default_smallest"


def _absent(engines: tuple[EngineState, ...]) -> dict[str, tuple[str, ...]]:
    """Return which engines do not answer, which have no model that can see and, if there are any, which are not installed."""
    silent = tuple(engine.name for engine in engines if not engine.health.ok and engine.health.installed)
    blind = tuple(engine.name for engine in engines if engine.health.ok and not any(model.vision for model in engine.models))
    uninstalled = tuple(engine.name for engine in engines if not engine.health.installed)
    return {"silent": silent, "blind": blind, **({"uninstalled": uninstalled} if uninstalled else {})}
