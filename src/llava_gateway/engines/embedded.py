"""The embedded engine: the OpenAI engine in front of a llama.cpp server of our own, which it starts, restarts and stops.

The server runs in a child process, so a failed assertion in it ends one answer but not the gateway. It starts before the first
request. A different num_ctx, num_gpu or num_thread restarts it after the running answers have ended.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
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
    InvalidOption,
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
DEMO_DEFAULTS = Options(temperature=0)  # as in Modelfiles/demo: for so small a model, random sampling only makes answers worse
DEFAULT_NUM_CTX = 8192
"""The largest default context, in tokens. The key-value cache of a 7B model takes about 4 GiB for it."""
TINY_MODEL = 64 * MiB
"""Models of fewer bytes run on one thread. More threads gain nothing then, because they mostly wait for each other. While other
programs used the cores, 20 short answers of the demo model took 25 to 50 s with two threads and 0.6 to 0.9 s with one."""
THREADS_A_PROCESSOR = 4
_CTX_STEP = 256
"""llama.cpp rounds contexts up to a multiple of this (src/llama-context.cpp)."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Options that force a reload when they change."""

    num_ctx: int
    num_gpu: int
    num_thread: int = 0

    def change_to(self, other: Runner) -> Note:
        """Return why the model must be loaded again: the first option that differs."""
        changed = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        option, old, new = next(change for change in changed if change[1] != change[2])
        return note("option_changed", option=option, old=old, new=new)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The model: a text GGUF and its projector, if it has one. `defaults` are its own default options, as in a Modelfile; `modified` is
    the time of its file in seconds since 1970."""

    name: str
    gguf: Path
    mmproj: Path | None
    text: GGUFHeader
    eye: GGUFHeader | None
    defaults: Options
    modified: float

    @property
    def trained_context(self) -> int:
        return self.text.context_length or DEFAULT_NUM_CTX

    @property
    def size_bytes(self) -> int:
        return self.text.size_bytes + (self.eye.size_bytes if self.eye else 0)

    @property
    def cache_bytes_per_token(self) -> int | None:
        """Memory that a token of context takes in one slot, in bytes; None if the header does not say."""
        return cache_bytes_per_token(self.text.metadata, self.text.architecture)

    def command(self, runner: Runner, slots: int, prompt_cache: int) -> LlamaCommand:
        return LlamaCommand(
            name=self.name,
            gguf=str(self.gguf),
            mmproj=str(self.mmproj) if self.mmproj else None,
            num_ctx=runner.num_ctx,
            num_gpu=runner.num_gpu,
            slots=slots,
            threads=runner.num_thread or (1 if self.size_bytes < TINY_MODEL else -1),
            prompt_cache=prompt_cache,
            embeddings=self.text.embeds,
        )


@dataclass(frozen=True, slots=True)
class _Server:
    """A child process that has loaded its model, and its HTTP client."""

    process: LlamaProcess
    api: OpenAIEngine
    load_ms: float

    @property
    def alive(self) -> bool:
        """False as soon as the server has dropped the connection of an answer, though its last threads may take a while to end."""
        return self.process.alive and not self.api.lost

    async def stop(self) -> None:
        await self.process.stop()
        await self.api.aclose()


@dataclass(frozen=True, slots=True)
class _Child:
    """A child process that is running, is loading, or has failed to load."""

    runner: Runner
    load: asyncio.Task[_Server]

    @property
    def server(self) -> _Server | None:
        """The server, once its model is loaded; else None."""
        loaded = self.load.done() and not self.load.cancelled() and self.load.exception() is None
        return self.load.result() if loaded else None

    @property
    def usable(self) -> bool:
        """Whether the child is running or still loading."""
        return not self.load.done() or (self.server is not None and self.server.alive)


class EmbeddedEngine:
    """Serves `settings.gguf` with `settings.mmproj`, named by the file's stem. Without these files it serves the built-in model `demo`."""

    name: EngineName = "embedded"
    reports_progress = True

    def __init__(self, settings: Settings) -> None:
        self.slots = settings.embedded_slots
        self._settings = settings
        self._files = ExitStack()  # keeps the demo model's files on disk if the package is a zip
        self._pair: _Pair | None = None
        self._child: _Child | None = None
        self._lock = asyncio.Lock()  # guards replacing the child; granted in order of arrival
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._deaths: deque[float] = deque(maxlen=16)
        self._last_load_ms: float | None = None
        self._closed = False

    async def start(self) -> None:
        """Start loading the model without waiting for it. The first request waits."""
        pair = await self._model()
        async with self._lock:
            await self._begin(self._runner(pair, Options()))

    async def aclose(self) -> None:
        self._closed = True
        if self._child is not None:
            self._child.load.cancel()  # a request that waits for the load holds the lock
        async with self._lock:
            await self._end_child()
        self._files.close()

    async def health(self) -> Health:
        try:
            await self._model()
            self._check_deaths()
        except GatewayError as error:
            return Health(False, detail=f"{error.message} {error.hint}", installed=error.reason != "embedded_not_installed")
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
            tools="tools" in pair.text.chat_template,
            embeds=pair.text.embeds,
            modified=pair.modified,
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
        """Load the model. Cancelling this does not stop the load."""
        async with self._loaded(request):
            pass

    async def unload_model(self, model: str) -> None:
        async with self._lock:
            await self._idle.wait()
            await self._end_child()

    async def images_first(self, request: EngineRequest) -> bool:
        async with self._loaded(request) as (server, _):
            return await server.api.images_first(request)

    async def continues(self, request: EngineRequest) -> bool:
        return True

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
        """Embed texts, only with a model that is made for it: a server that also serves embeddings reads the prompts of all chats more
        slowly."""
        pair = await self._model()
        if request.model != pair.name:
            raise ModelNotFound().at("model")
        if not pair.text.embeds:
            raise ModelLacksEmbeddings().at("model")
        async with self._server(self._runner(pair, request.options)) as (server, _):
            return await server.api.embed(request)

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """Count on any server that runs, since the prompt is the same with another num_ctx. Waits for a server that is loading."""
        try:
            pair = await self._model()
            server = await self._any_server(self._runner(pair, request.options.over(pair.defaults)))
        except GatewayError as error:
            log.debug("no engine to count a prompt: %s", error.code)
            return None
        return await server.api.count(request)

    async def _any_server(self, runner: Runner) -> _Server:
        """Return the server that runs or loads, or start one with `runner` if there is none. Raises what `_load` raises."""
        child = self._child
        if child is None or not child.usable:
            async with self._lock:
                child = self._child if self._child and self._child.usable else await self._begin(runner)
        # Wait for the task without awaiting it directly: cancelling this request must not stop the load.
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
                    # The server has just died without reading the request, so a new server may get it.
                    await server.process.stop()
                    if last_try:
                        raise UpstreamDisconnected from error
                    continue
                yield events
                return

    @asynccontextmanager
    async def _loaded(self, request: EngineRequest) -> AsyncIterator[tuple[_Server, float | None]]:
        """Yield `_server` with the options of the request."""
        pair = await self._model()
        async with self._server(self._runner(pair, request.options.over(pair.defaults))) as loaded:
            yield loaded

    @asynccontextmanager
    async def _server(self, runner: Runner) -> AsyncIterator[tuple[_Server, float | None]]:
        """Yield a server that runs with `runner` until the block is left, and the milliseconds of its load (None: it was already
        loaded).

        Requests enter in order of arrival. A request that needs another runner waits for the running answers to end, and later
        requests wait behind it. So neither kind of request can delay the other forever.
        """
        async with self._lock:
            if self._child is not None and self._child.runner != runner:
                await self._idle.wait()
            loads = self._child is None or self._child.server is None or not self._child.usable or self._child.runner != runner
            child = await self._begin(runner)
            # Wait for the task without awaiting it directly: if this request is cancelled, the load continues for the next one.
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
        """Return a child that runs or loads with `runner`; start one if necessary. The caller must hold the lock. Raises ShuttingDown."""
        if self._closed:
            raise ShuttingDown
        child = self._child
        if child is None or child.runner != runner or not child.usable:
            await self._end_child()
            child = self._child = _Child(runner, asyncio.create_task(self._load(runner)))
            # Retrieve an error that no request waits for, so that asyncio does not log it. The next request tries again.
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
        """Start a child and load its model.

        Raises ModelLoadFailed, ModelOutOfMemory, UpstreamTimeout, and UpstreamUnavailable if it died too often to try again now.
        """
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
        """Raise UpstreamUnavailable during the pause that follows repeated deaths."""
        pause = restart_pause(self._deaths, time.monotonic())
        if pause > 0:
            raise UpstreamUnavailable("engine_keeps_ending", retry_after=pause)

    async def _model(self) -> _Pair:
        """Return the pair of files, reading their headers once. Raises ModelLoadFailed, UpstreamUnavailable."""
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
        return _Pair(name, gguf, mmproj, text, eye, defaults, gguf.stat().st_mtime)

    def _runner(self, pair: _Pair, options: Options) -> Runner:
        """Return the runner options: those of the request, else the pinned ones, else the trained context up to DEFAULT_NUM_CTX.

        Never exceeds the trained context, because llama.cpp does not go beyond it. Raises InvalidOption for far more threads than this
        machine has processors, which make every answer slow.
        """
        processors = os.cpu_count() or 1
        if (options.num_thread or 0) > (most := THREADS_A_PROCESSOR * processors):
            values = {"given": options.num_thread or 0, "most": most, "each": THREADS_A_PROCESSOR, "processors": processors}
            raise InvalidOption("too_many_threads", values=values).at("options", "num_thread")
        pins = self._settings.models.get(pair.name)
        wanted = options.over(Options(**pins.model_dump())) if pins else options
        num_ctx = wanted.num_ctx or min(pair.trained_context, DEFAULT_NUM_CTX)
        rounded = -(-num_ctx // _CTX_STEP) * _CTX_STEP
        return Runner(min(rounded, pair.trained_context), -1 if wanted.num_gpu is None else wanted.num_gpu, wanted.num_thread or 0)

    def _prompt_cache(self, pair: _Pair, runner: Runner) -> int:
        """Return the most bytes for conversations outside of the slots: the setting, else a share of the model's size."""
        if self._settings.embedded_prompt_cache_bytes is not None:
            return self._settings.embedded_prompt_cache_bytes
        return prompt_cache(pair.size_bytes, pair.cache_bytes_per_token, runner.num_ctx * self.slots)


@cache
def _llama_version() -> str:
    """Return llama.cpp's build number. Read once: the liveness probe asks every two seconds and must not open a file each time."""
    return f"llama.cpp b{metadata.version('xllamacpp').rpartition('.')[2]}"


def restart_pause(deaths: Sequence[float], now: float) -> float:
    """Return how many seconds to pause before the next start.

    There is no pause after one or two deaths within a minute. After more, the pause is 5, 10, 20, ... up to 60 seconds from the last
    death.
    """
    recent = [death for death in deaths if now - death < 60]
    if len(recent) < 3:
        return 0
    return max(0.0, recent[-1] + min(60.0, 5.0 * 2.0 ** (len(recent) - 3)) - now)
