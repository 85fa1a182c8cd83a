"""The embedded engine: the OpenAI engine in front of a llama.cpp server of our own, which it starts, restarts and ends.

The server runs in a child process, so that a failed assertion in it takes one answer down and not the gateway. It starts with the first
request; another num_ctx or num_gpu starts it anew once the running answers have ended.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata, resources
from pathlib import Path

from llava_gateway.chat import Embeddings, EmbedRequest, EngineEvent, EngineRequest, Loading, TokenCount
from llava_gateway.engines.base import EngineName, Health, ModelInfo
from llava_gateway.engines.gguf import GGUFError, GGUFHeader, read_header
from llava_gateway.engines.llama_process import LlamaCommand, LlamaProcess
from llava_gateway.engines.memory import cache_bytes_per_token, prompt_cache
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.engines.openai_prompt import LLAMA_CPP
from llava_gateway.errors import (
    GatewayError,
    ModelLacksEmbeddings,
    ModelLacksVision,
    ModelLoadFailed,
    ModelNotFound,
    ShuttingDown,
    UpstreamDisconnected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llava_gateway.images.facts import VisionFacts
from llava_gateway.notes import Note, note
from llava_gateway.options import Options
from llava_gateway.settings import MiB, Settings

log = logging.getLogger(__name__)

DEMO = "demo"
DEMO_DEFAULTS = Options(temperature=0)  # as in Modelfiles/demo: so small a model knows one answer, and chance only spoils it
DEFAULT_NUM_CTX = 8192
"""Largest context in tokens that is taken unasked; the key-value cache of a 7B model takes about 4 GiB for it."""
TINY_MODEL = 64 * MiB
"""Size in bytes below which one thread is used. Several gain nothing then: they spend their time waiting for each other, and where other
programs want the cores too, 20 short answers of the demo model took 25 to 50 s with two threads and 0.6 to 0.9 s with one."""
_CTX_STEP = 256
"""llama.cpp rounds contexts up to a multiple of this (src/llama-context.cpp)."""


@dataclass(frozen=True, slots=True)
class Runner:
    """What a change of makes the model load again."""

    num_ctx: int
    num_gpu: int

    def change_to(self, other: Runner) -> Note:
        """Why the model is loaded again: the first of the options that differ."""
        if self.num_ctx != other.num_ctx:
            return note("option_changed", option="num_ctx", old=self.num_ctx, new=other.num_ctx)
        return note("option_changed", option="num_gpu", old=self.num_gpu, new=other.num_gpu)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The model: a text GGUF and the projector that belongs to it, if it has one; `defaults` are options of its own, as a Modelfile has."""

    name: str
    gguf: Path
    mmproj: Path | None
    text: GGUFHeader
    eye: GGUFHeader | None
    defaults: Options

    @property
    def trained_context(self) -> int:
        return self.text.context_length or DEFAULT_NUM_CTX

    @property
    def size_bytes(self) -> int:
        return self.text.size_bytes + (self.eye.size_bytes if self.eye else 0)

    @property
    def cache_bytes_per_token(self) -> int | None:
        """What a token of context takes in one slot; None where the header doesn't say."""
        return cache_bytes_per_token(self.text.metadata, self.text.architecture)

    def command(self, runner: Runner, slots: int, prompt_cache: int) -> LlamaCommand:
        return LlamaCommand(
            name=self.name,
            gguf=str(self.gguf),
            mmproj=str(self.mmproj) if self.mmproj else None,
            num_ctx=runner.num_ctx,
            num_gpu=runner.num_gpu,
            slots=slots,
            threads=1 if self.size_bytes < TINY_MODEL else -1,
            prompt_cache=prompt_cache,
            embeddings=self.text.embeds,
        )


@dataclass(frozen=True, slots=True)
class _Server:
    """A child that has loaded its model, and the client that speaks to it."""

    process: LlamaProcess
    api: OpenAIEngine
    load_ms: float

    @property
    def alive(self) -> bool:
        """False as soon as it has hung up on an answer: its last threads may take a while to end."""
        return self.process.alive and not self.api.lost

    async def stop(self) -> None:
        await self.process.stop()
        await self.api.aclose()


@dataclass(frozen=True, slots=True)
class _Child:
    """A server that runs, loads, or has failed to."""

    runner: Runner
    load: asyncio.Task[_Server]

    @property
    def server(self) -> _Server | None:
        """The server, once its model is loaded."""
        loaded = self.load.done() and not self.load.cancelled() and self.load.exception() is None
        return self.load.result() if loaded else None

    @property
    def usable(self) -> bool:
        """Whether it runs or still loads."""
        return not self.load.done() or (self.server is not None and self.server.alive)


class EmbeddedEngine:
    """Serves `settings.gguf` with `settings.mmproj`, named by its file stem, or without them the built-in model `demo`."""

    name: EngineName = "embedded"
    reports_progress = True

    def __init__(self, settings: Settings) -> None:
        self.slots = settings.embedded_slots
        self._settings = settings
        self._files = ExitStack()  # keeps the demo model's files in place where the package is a zip
        self._pair: _Pair | None = None
        self._child: _Child | None = None
        self._lock = asyncio.Lock()  # held, in order of arrival, by the one who may replace the child
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._deaths: deque[float] = deque(maxlen=16)
        self._last_load_ms: float | None = None
        self._closed = False

    async def start(self) -> None:
        """Begins to load the model and does not wait for it: the first request does."""
        pair = await self._model()
        async with self._lock:
            await self._begin(self._runner(pair, Options()))

    async def aclose(self) -> None:
        self._closed = True
        if self._child is not None:
            self._child.load.cancel()  # whoever waits for it holds the turn
        async with self._lock:
            await self._end_child()
        self._files.close()

    async def health(self) -> Health:
        try:
            await self._model()
            self._check_deaths()
        except GatewayError as error:
            return Health(False, detail=f"{error.message} {error.hint}")
        return Health(True, _llama_version())

    async def models(self) -> tuple[ModelInfo, ...]:
        pair = await self._model()
        child = self._child
        loaded = child is not None and child.server is not None and child.usable
        runner = child.runner if child and loaded else self._runner(pair, Options())
        cache_per_token = pair.cache_bytes_per_token
        model = ModelInfo(
            name=pair.name,
            engine="embedded",
            vision=pair.eye is not None,
            facts=pair.eye.vision_facts if pair.eye else VisionFacts(),
            context_length=pair.trained_context,
            loaded=loaded,
            loaded_context=runner.num_ctx if loaded else None,
            own_context=runner.num_ctx,
            size_bytes=pair.size_bytes,
            family=pair.text.architecture,
            parameters=pair.text.parameters,
            quantization=pair.text.quantization,
            cache_bytes_per_token=cache_per_token * self.slots if cache_per_token else None,
            prompt_cache_bytes=self._prompt_cache(pair, runner),
        )
        return (model,)

    async def loading(self, request: EngineRequest) -> Loading | None:
        try:
            wanted = self._runner(await self._model(), request.options)
        except GatewayError:
            return None
        child = self._child
        if child is None:
            reason = note("model_not_loaded", model=request.model)
        elif child.runner != wanted:
            reason = child.runner.change_to(wanted)
        elif not child.usable:
            reason = note("engine_restarts")
        elif child.server is None:
            reason = note("model_loading", model=request.model)
        else:
            return None
        return Loading(request.model, reason, self._last_load_ms)

    def last_load_ms(self, model: str) -> float | None:
        return self._last_load_ms

    def unloads_after(self, request: EngineRequest) -> bool:
        return False

    async def load_model(self, request: EngineRequest) -> None:
        """The load goes on when this is cancelled."""
        async with self._loaded(request):
            pass

    async def images_first(self, request: EngineRequest) -> bool:
        async with self._loaded(request) as (server, _):
            return await server.api.images_first(request)

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        return ()

    async def context_length(self, request: EngineRequest) -> int | None:
        try:
            return self._runner(await self._model(), request.options).num_ctx
        except GatewayError:
            return None

    def ignored_fields(self, request: EngineRequest) -> tuple[str, ...]:
        server = self._child.server if self._child else None
        return server.api.ignored_fields(request) if server else ()

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Only by a model that is made for it: a server that may be asked for vectors reads the prompts of all chats more slowly."""
        pair = await self._model()
        if request.model != pair.name:
            raise ModelNotFound().at("model")
        if not pair.text.embeds:
            raise ModelLacksEmbeddings().at("model")
        async with self._server(self._runner(pair, request.options)) as (server, _):
            return await server.api.embed(request)

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """Any server that runs can count: the prompt is the same with another num_ctx. One that loads is waited for."""
        try:
            pair = await self._model()
            server = await self._any_server(self._runner(pair, request.options.over(pair.defaults)))
        except GatewayError as error:
            log.debug("no engine to count a prompt: %s", error.code)
            return None
        return await server.api.count(request)

    async def _any_server(self, runner: Runner) -> _Server:
        """The server that runs, or loads; one that runs as `runner` says where there is none. Raises what `_load` does."""
        child = self._child
        if child is None or not child.usable:
            async with self._lock:
                child = self._child if self._child and self._child.usable else await self._begin(runner)
        # Not awaited itself: the load goes on when this is cancelled.
        await asyncio.wait([child.load])
        if child.load.cancelled():
            raise ShuttingDown
        return child.load.result()

    @asynccontextmanager
    async def chat(self, request: EngineRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        pair = await self._model()
        if request.model != pair.name:
            raise ModelNotFound().at("model")
        if request.renditions and pair.eye is None:
            raise ModelLacksVision().at("model")
        request = replace(request, options=request.options.over(pair.defaults))
        runner = self._runner(pair, request.options)
        for last_try in (False, True):
            async with AsyncExitStack() as stack:
                server, load_ms = await stack.enter_async_context(self._server(runner))
                try:
                    events = await stack.enter_async_context(server.api.chat(request, load_ms=load_ms))
                except UpstreamUnavailable as error:
                    # It has just died and got nothing of the request: a new one may have it.
                    await server.process.stop()
                    if last_try:
                        raise UpstreamDisconnected from error
                    continue
                yield events
                return

    @asynccontextmanager
    async def _loaded(self, request: EngineRequest) -> AsyncIterator[tuple[_Server, float | None]]:
        """`_server` as the request needs it."""
        pair = await self._model()
        async with self._server(self._runner(pair, request.options.over(pair.defaults))) as loaded:
            yield loaded

    @asynccontextmanager
    async def _server(self, runner: Runner) -> AsyncIterator[tuple[_Server, float | None]]:
        """A server that runs as `runner` says and stays so until this is left, and the milliseconds that loading took, if it had to load.

        Requests take turns in order of arrival. One that needs another runner waits for the running answers to end while the later ones
        wait behind it, so that no two kinds of requests keep each other waiting for ever.
        """
        async with self._lock:
            if self._child is not None and self._child.runner != runner:
                await self._idle.wait()
            loads = self._child is None or self._child.server is None or not self._child.usable or self._child.runner != runner
            child = await self._begin(runner)
            # Not awaited itself: the load goes on for the next request when this one is cancelled.
            await asyncio.wait([child.load])
            if child.load.cancelled():
                raise ShuttingDown
            server = child.load.result()
            self._users += 1
            self._idle.clear()
        try:
            yield server, server.load_ms if loads else None
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def _begin(self, runner: Runner) -> _Child:
        """The child that runs, or now begins to load, as `runner` says. Only for whoever holds the turn. Raises ShuttingDown."""
        if self._closed:
            raise ShuttingDown
        child = self._child
        if child is None or child.runner != runner or not child.usable:
            await self._end_child()
            child = self._child = _Child(runner, asyncio.create_task(self._load(runner)))
            # A failure that nobody waits for is no news: the next request tries again and is told.
            child.load.add_done_callback(lambda task: task.cancelled() or task.exception())
        return child

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if not child.load.done():
            child.load.cancel()
            await asyncio.wait([child.load])
        if child.server is not None:
            died = not child.server.alive
            await child.server.stop()
            if died:
                self._deaths.append(time.monotonic())
                log.warning("the embedded engine ended with %d", await child.server.process.wait())

    async def _load(self, runner: Runner) -> _Server:
        """Raises ModelLoadFailed, ModelOutOfMemory, UpstreamTimeout, and UpstreamUnavailable when it died too often to try again now."""
        self._check_deaths()
        pair = await self._model()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.load_timeout):
                process = await LlamaProcess.start(pair.command(runner, self.slots, self._prompt_cache(pair, runner)))
        except TimeoutError:
            raise UpstreamTimeout("load_timeout") from None
        except GatewayError:
            self._deaths.append(time.monotonic())
            raise
        self._last_load_ms = (time.monotonic() - began) * 1000
        log.info("process %d serves %s with num_ctx %d, loaded in %.0f ms", process.pid, pair.name, runner.num_ctx, self._last_load_ms)
        api = OpenAIEngine(
            f"{process.address}/v1",
            api_key=process.api_key,
            slots=self.slots,
            connect_timeout=self._settings.connect_timeout,
            dialect=LLAMA_CPP,
        )
        return _Server(process, api, self._last_load_ms)

    def _check_deaths(self) -> None:
        """Raises UpstreamUnavailable while the engine is left alone because it keeps ending."""
        pause = restart_pause(self._deaths, time.monotonic())
        if pause > 0:
            raise UpstreamUnavailable("engine_keeps_ending", retry_after=pause)

    async def _model(self) -> _Pair:
        """The pair of files, their headers read once. Raises ModelLoadFailed, UpstreamUnavailable."""
        if self._pair is None:
            if importlib.util.find_spec("xllamacpp") is None:
                raise UpstreamUnavailable("embedded_not_installed")
            try:
                self._pair = await asyncio.to_thread(self._read_pair)
            except OSError as error:
                raise ModelLoadFailed("model_file_unread") from error
            except GGUFError as error:
                raise ModelLoadFailed(error.reason, values=error.values) from error
        return self._pair

    def _read_pair(self) -> _Pair:
        gguf, mmproj = self._settings.gguf, self._settings.mmproj
        name, defaults = (gguf.stem, Options()) if gguf else (DEMO, DEMO_DEFAULTS)
        if gguf is None:
            inside = resources.files("llava_gateway") / "demo"
            gguf = self._files.enter_context(resources.as_file(inside / "demo.gguf"))
            mmproj = self._files.enter_context(resources.as_file(inside / "demo-mmproj.gguf"))
        text = read_header(gguf)
        eye = read_header(mmproj) if mmproj else None
        if text.is_projector:
            raise GGUFError("gguf_is_projector")
        if eye is not None and not eye.is_projector:
            raise GGUFError("gguf_no_projector")
        return _Pair(name, gguf, mmproj, text, eye, defaults)

    def _runner(self, pair: _Pair, options: Options) -> Runner:
        """What the request asks for, else what is pinned, else the trained context up to DEFAULT_NUM_CTX.

        More than was trained is no use: llama.cpp does not go beyond it.
        """
        pins = self._settings.models.get(pair.name)
        pinned_ctx, pinned_gpu = (pins.num_ctx, pins.num_gpu) if pins else (None, None)
        num_ctx = options.num_ctx or pinned_ctx or min(pair.trained_context, DEFAULT_NUM_CTX)
        num_gpu = options.num_gpu if options.num_gpu is not None else pinned_gpu
        rounded = -(-num_ctx // _CTX_STEP) * _CTX_STEP
        return Runner(min(rounded, pair.trained_context), -1 if num_gpu is None else num_gpu)

    def _prompt_cache(self, pair: _Pair, runner: Runner) -> int:
        """Most bytes for conversations that no slot holds: what is set, else in proportion to the model."""
        if self._settings.embedded_prompt_cache_bytes is not None:
            return self._settings.embedded_prompt_cache_bytes
        return prompt_cache(pair.size_bytes, pair.cache_bytes_per_token, runner.num_ctx * self.slots)


@cache
def _llama_version() -> str:
    """As llama.cpp counts its builds; read once, for health is asked every two seconds and must not need a file then."""
    return f"llama.cpp b{metadata.version('xllamacpp').rpartition('.')[2]}"


def restart_pause(deaths: Sequence[float], now: float) -> float:
    """Seconds to leave the engine alone: none after one or two deaths within a minute, then 5, 10, 20, ... up to 60 after the last one."""
    recent = [death for death in deaths if now - death < 60]
    if len(recent) < 3:
        return 0
    return max(0.0, recent[-1] + min(60.0, 5.0 * 2.0 ** (len(recent) - 3)) - now)
