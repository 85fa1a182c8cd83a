"""An engine that does what a test tells it: faults, and orders of events, that a real one can't be told to produce."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeAlias

from llava_gateway.chat import Embeddings, EmbedRequest, EngineEvent, EngineRequest, Finish, Loading, TextDelta, Timings, TokenCount, Usage
from llava_gateway.engines.base import EngineName, Health, ModelInfo
from llava_gateway.errors import GatewayError, UpstreamUnavailable
from llava_gateway.options import Options

Script: TypeAlias = Callable[[EngineRequest], AsyncGenerator[EngineEvent]]
END = Finish("stop", Usage(7, 2, 0), Timings(prompt_ms=1.0))


def says(*words: str) -> Script:
    """Answers with these words."""

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        yield END

    return script


def says_then_waits(*words: str) -> Script:
    """Answers with these words and then nothing more, until someone ends it."""

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        await asyncio.Event().wait()

    return script


HELLO = says("Hello", " there.")


class ScriptedEngine:
    """Args:
    script: what every answer consists of; may be changed between requests.
    name, slots, reports_progress: as of any engine. model_names: all can see.

    Attributes:
        requests: those that came in.
        running: answers that are open now; `idle` is set while there are none.
        refusal: raised instead of accepting, where it is set. load: what `loading` gives.
        loads: requests that the model was loaded for, each waiting for `loaded` where it is set. sees_first: what `images_first` says.
        unloads: what `unloads_after` says.
        context: tokens of its context. counted: what `count` says.
        up: whether it answers at all. ignores: names of options and fields that mean nothing to it.
        embedded: requests for vectors, each waiting for `loaded` where it is set.
    """

    def __init__(
        self,
        script: Script = HELLO,
        *,
        name: EngineName = "ollama",
        slots: int = 1,
        model_names: tuple[str, ...] = ("scripted",),
        vision: bool = True,
    ) -> None:
        self.script = script
        self.name: EngineName = name
        self.slots = slots
        self.reports_progress = False
        self.installed = tuple(ModelInfo(model, name, vision) for model in model_names)
        self.requests: list[EngineRequest] = []
        self.running = 0
        self.idle = asyncio.Event()
        self.refusal: GatewayError | None = None
        self.load: Loading | None = None
        self.loads: list[EngineRequest] = []
        self.embedded: list[EmbedRequest] = []
        self.loaded: asyncio.Event | None = None
        self.sees_first = True
        self.unloads = False
        self.up = True
        self.ignores: frozenset[str] = frozenset()
        self.context: int | None = None
        self.counted: Callable[[EngineRequest], TokenCount] | None = None
        self.started = self.closed = False

    async def start(self) -> None:
        self.started = True

    async def aclose(self) -> None:
        self.closed = True

    async def health(self) -> Health:
        return Health(self.up, "1.0" if self.up else "")

    async def models(self) -> tuple[ModelInfo, ...]:
        if not self.up:
            raise UpstreamUnavailable
        return self.installed

    async def loading(self, request: EngineRequest) -> Loading | None:
        return self.load

    def last_load_ms(self, model: str) -> float | None:
        return self.load.last_load_ms if self.load else None

    async def context_length(self, request: EngineRequest) -> int | None:
        return self.context

    async def count(self, request: EngineRequest) -> TokenCount | None:
        return self.counted(request) if self.counted else None

    def unloads_after(self, request: EngineRequest) -> bool:
        return self.unloads

    async def load_model(self, request: EngineRequest) -> None:
        self.loads.append(request)
        if self.loaded is not None:
            await self.loaded.wait()
        self.load = None

    async def images_first(self, request: EngineRequest) -> bool:
        return self.sees_first

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        return tuple(name for name in options.given() if name in self.ignores)

    def ignored_fields(self, request: EngineRequest) -> tuple[str, ...]:
        return tuple(name for name in ("think", "tool_choice", "logprobs") if name in self.ignores)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.embedded.append(request)
        if self.refusal:
            raise self.refusal
        if self.loaded is not None:
            await self.loaded.wait()
        return Embeddings(tuple((1.0, 0.0) for _ in request.texts), 3 * len(request.texts))

    @asynccontextmanager
    async def chat(self, request: EngineRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        if self.refusal:
            raise self.refusal
        self.requests.append(request)
        self.running += 1
        self.idle.clear()
        try:
            async with aclosing(self.script(request)) as events:
                yield events
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()
