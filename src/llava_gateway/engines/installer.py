"""Installs models into Ollama and deletes them. Clients that ask for the same model share one job; a few jobs run at once; a shutdown
ends all."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from llava_gateway.chat import JSON
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.modelfile import Modelfile, parse_modelfile
from llava_gateway.engines.ollama_library import OllamaLibrary, Progress, without_files
from llava_gateway.engines.ollama_names import parse_name
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import (
    CloudModelRefused,
    GatewayError,
    InvalidModelName,
    ModelBusy,
    ModelExists,
    OllamaNotUsed,
    Overloaded,
    RegistryNotAllowed,
    ShuttingDown,
)
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

Kind: TypeAlias = Literal["pull", "create"]
Steps: TypeAlias = Callable[[OllamaLibrary], AsyncGenerator[Progress]]
MAX_AT_ONCE = 3
"""Downloads and creations that run at the same time. They share one network and one disk."""
RETRY_AFTER = 30.0


class Installing:
    """A model that is being installed. Any number of clients may watch; when the last one leaves, it stops.

    Attributes:
        kind, name: the job, as the first client asked for it.
    """

    def __init__(self, kind: Kind, name: str) -> None:
        self.kind = kind
        self.name = name
        self._reported: list[Progress] = []  # the latest of each status, in order
        self._error: GatewayError | None = None
        self._ended = False
        self._news = asyncio.Event()

    @property
    def latest(self) -> Progress | None:
        """The latest progress; None before Ollama has reported any."""
        return self._reported[-1] if self._reported else None

    def report(self, progress: Progress) -> None:
        if self._reported and self._reported[-1].status == progress.status:
            self._reported.pop()
        self._reported.append(progress)
        self._wake()

    def end(self, error: GatewayError | None = None) -> None:
        """Mark the job as ended. Only the first call counts."""
        if not self._ended:
            self._error, self._ended = error, True
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def steps(self) -> AsyncGenerator[Progress]:
        """Yield all past and future progress until the end. A slow watcher gets only the latest figures of each status. Raises
        GatewayError."""
        at, seen = 0, None
        while True:
            news = self._news
            if at < len(self._reported) and self._reported[at] is not seen:
                seen = self._reported[at]
                yield seen
            elif at + 1 < len(self._reported):
                at += 1
            elif not self._ended:
                await news.wait()
            elif self._error is not None:
                raise self._error
            else:
                return


class Installer:
    """Installs and deletes the models of Ollama.

    Args:
        settings: the address of Ollama, and whether it is used at all.
        pool: refreshed after each change.
    """

    def __init__(self, settings: Settings, pool: EnginePool) -> None:
        self._settings = settings
        self._pool = pool
        self._running: dict[str, _Run] = {}  # by ModelName.key
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def running(self) -> tuple[Installing, ...]:
        return tuple(run.installing for run in self._running.values())

    @asynccontextmanager
    async def pull(self, name: str) -> AsyncIterator[Installing]:
        """Download a model, or watch a download that is already running.

        Leaving stops the download if no other client watches it; the next one continues where it stopped. Entering raises
        InvalidModelName, CloudModelRefused, RegistryNotAllowed, OllamaNotUsed, ModelBusy, Overloaded, ShuttingDown.
        """
        self._check_registry(name)
        async with self._watched("pull", name, lambda library: library.pull(name)) as installing:
            yield installing

    @asynccontextmanager
    async def create(self, name: str, modelfile: Modelfile, *, replace: bool = False) -> AsyncIterator[Installing]:
        """Create a model from another one. Leaving stops it.

        Entering raises what `pull` raises, ModelfileNamesFiles, and ModelExists unless `replace`.
        """
        recipe = without_files(modelfile)
        if not replace and self.find(name) is not None:
            raise ModelExists().at("model")
        self._check_base(recipe.sources[0])
        async with self._watched("create", name, lambda library: library.create(name, recipe, None)) as installing:
            yield installing

    @asynccontextmanager
    async def create_with(self, name: str, base: str | None, fields: JSON) -> AsyncIterator[Installing]:
        """Create a model, or replace one, with the `fields` of Ollama's own API. Leaving stops it.

        Args:
            base: name of the model that it is made from; None if it is made from uploaded files.

        Entering raises what `pull` raises.
        """
        if base is not None:
            self._check_base(base)
        async with self._watched("create", name, lambda library: library.create_with(name, fields)) as installing:
            yield installing

    async def copy(self, source: str, destination: str) -> None:
        """Copy a model under another name. Raises what `delete` raises."""
        self._check_idle(destination)
        parse_name(source)
        async with self._open_library() as library:
            await library.copy(source, destination)
        await self._pool.refresh()

    async def has_blob(self, digest: str) -> bool:
        """Return whether Ollama has the file with this digest. Raises OllamaNotUsed, ShuttingDown, UpstreamUnavailable."""
        self._check_open()
        async with self._open_library() as library:
            return await library.has_blob(digest)

    async def add_blob(self, digest: str, chunks: AsyncIterable[bytes]) -> None:
        """Pass a file on to Ollama, as it arrives. Raises what `has_blob` raises, InvalidRequest if it has another digest, and DiskFull."""
        self._check_open()
        async with self._open_library() as library:
            await library.add_blob(digest, chunks)

    async def delete(self, name: str) -> None:
        """Delete a model.

        Raises InvalidModelName, CloudModelRefused, OllamaNotUsed, ModelBusy, ModelNotFound, ShuttingDown, UpstreamUnavailable.
        """
        self._check_idle(name)
        async with self._open_library() as library:
            await library.delete(name)
        await self._pool.refresh()

    def find(self, name: str) -> ModelInfo | None:
        """Find the Ollama model with this name, in any spelling, in the last known list. Raises InvalidModelName, CloudModelRefused."""
        key = parse_name(name).key
        return next((model for model in self._pool.state.models if model.engine == "ollama" and _key(model.name) == key), None)

    def close(self) -> None:
        """End all jobs with ShuttingDown, and accept no new ones. Partial downloads are kept."""
        self._closed = True
        for run in self._running.values():
            run.installing.end(ShuttingDown("pull_shut_down"))
            run.task.cancel()

    async def aclose(self) -> None:
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def _watched(self, kind: Kind, name: str, steps: Steps) -> AsyncIterator[Installing]:
        key = parse_name(name).key
        self._check_open()
        run = self._running.get(key)
        if run is None:
            if len(self._running) >= MAX_AT_ONCE:
                raise Overloaded("models_coming_in", values={"count": MAX_AT_ONCE}, retry_after=RETRY_AFTER)
            run = self._running[key] = self._start(key, Installing(kind, name), steps)
        elif kind == "create" or run.installing.kind == "create":
            raise ModelBusy().at("model")
        run.watchers += 1
        try:
            yield run.installing
        finally:
            run.watchers -= 1
            if not run.watchers:
                run.task.cancel()
                self._forget(key, run)

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown
        if not any(engine.name == "ollama" for engine in self._pool.engines):
            raise OllamaNotUsed

    def _check_idle(self, name: str) -> None:
        key = parse_name(name).key
        self._check_open()
        if key in self._running:
            raise ModelBusy().at("model")

    def _check_base(self, name: str) -> None:
        """Check a model that another one is made from: Ollama pulls it if it is not installed."""
        if self.find(name) is None:
            self._check_registry(name)

    def _check_registry(self, name: str) -> None:
        host = parse_name(name).host.lower()
        allowed = {entry.lower() for entry in self._settings.pull_registries}
        if allowed.isdisjoint((host, host.partition(":")[0])):
            raise RegistryNotAllowed("registry_not_listed", values={"registry": host}).at("model")

    @asynccontextmanager
    async def _open_library(self) -> AsyncIterator[OllamaLibrary]:
        library = self._library()
        try:
            yield library
        finally:
            await library.aclose()

    def _library(self) -> OllamaLibrary:
        return OllamaLibrary(self._settings.ollama_url, connect_timeout=self._settings.connect_timeout)

    def _start(self, key: str, installing: Installing, steps: Steps) -> _Run:
        task = asyncio.create_task(self._install(installing, steps))
        run = _Run(installing, task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._forget(key, run))
        return run

    def _forget(self, key: str, run: _Run) -> None:
        if self._running.get(key) is run:
            del self._running[key]

    async def _install(self, installing: Installing, steps: Steps) -> None:
        library = self._library()
        try:
            async with aclosing(steps(library)) as progress:
                async for step in progress:
                    installing.report(step)
            await self._pool.refresh()
        except GatewayError as error:
            installing.end(error)
        except Exception:  # a bug: report it to the watchers and let the other jobs continue
            log.exception("installing a model failed")
            installing.end(GatewayError())
        finally:
            installing.end()
            await library.aclose()


@dataclass(slots=True)
class _Run:
    """The task behind an Installing, and its number of watchers."""

    installing: Installing
    task: asyncio.Task[None]
    watchers: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """An example Modelfile. `about` is the first sentence of its comment, `base` the model in its FROM line."""

    name: str
    about: str
    base: str
    modelfile: str


@cache
def examples() -> tuple[Example, ...]:
    """Return the Modelfiles of Modelfiles/ that name no files."""
    inside = resources.files("llava_gateway") / "modelfiles"
    # An editable install has no copy inside the package, only the files of the checkout.
    folder = inside if inside.is_dir() else Path(__file__).parents[3] / "Modelfiles"
    texts = {file.name: file.read_text("utf-8") for file in folder.iterdir()}
    recipes = {name: parse_modelfile(texts[name]) for name in sorted(texts)}
    return tuple(
        Example(name, _first_sentence(texts[name]), recipe.sources[0], texts[name])
        for name, recipe in recipes.items()
        if len(recipe.sources) == 1
    )


def _key(listed: str) -> str | None:
    """Return the key of a name that Ollama lists; None for names that can't be created or pulled (cloud models)."""
    try:
        return parse_name(listed).key
    except (InvalidModelName, CloudModelRefused):
        return None


def _first_sentence(text: str) -> str:
    """Return the first sentence of the comment at the top of a Modelfile."""
    head = re.match(r"(?:#.*\n)*", text)
    words = re.sub(r"\s*\n# *", " ", head[0].removeprefix("# ")) if head else ""
    return re.split(r"(?<=\.)\s", words, maxsplit=1)[0].strip()
