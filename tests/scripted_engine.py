"""An engine that follows a test's script: faults, and orders of events, that a real engine can't produce on request."""

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
    """Answer with these words."""

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        yield END

    return script


def says_then_waits(*words: str) -> Script:
    """Answer with these words, then wait until the answer is cancelled."""

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        await asyncio.Event().wait()

    return script


class Speaker:
    """A script that says each word when the test does, and ends when the test says so."""

    def __init__(self, end: Finish = END) -> None:
        self._end = end
        self._words: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        while word := await self._words.get():
            yield TextDelta(word)
        yield self._end

    def say(self, *words: str) -> None:
        for word in words:
            self._words.put_nowait(word)

    def end(self) -> None:
        self._words.put_nowait("")


HELLO = says("Hello", " there.")


class ScriptedEngine:
    """An engine whose answers come from a script.

    Args:
        script: the events of every answer; a test may change it between requests.
        name, slots, reports_progress: as for any engine.
        model_names: the models; all of them can see.

    Attributes:
        requests: the requests so far.
        running: the number of open answers; `idle` is set while there are none.
        refusal: an error to raise instead of accepting a request. load: the result of `loading`.
        loads: requests that the model was loaded for; if `loaded` is set, each waits for it. sees_first: the result of `images_first`.
        unloaded: names of models that were unloaded. unloads: the result of `unloads_after`. prefills: the result of `continues`.
        context: tokens of its context. counted: the result of `count`.
        up: whether it answers at all. ignores: names of options and fields that it ignores.
        embedded: requests for vectors; if `loaded` is set, each waits for it.
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
        self.unloaded: list[str] = []
        self.unloads = False
        self.prefills = True
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

    async def unload_model(self, model: str) -> None:
        self.unloaded.append(model)

    async def images_first(self, request: EngineRequest) -> bool:
        return self.sees_first

    async def continues(self, request: EngineRequest) -> bool:
        return self.prefills

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
