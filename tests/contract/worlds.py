"""The real servers the contract suite runs over: each world can open an engine and kill what is behind it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pytest

from llava_gateway.engines.base import Engine
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.llama_process import LlamaCommand, LlamaProcess
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.settings import ModelPins, Settings
from tests.ollama_server import RealOllama
from tests.synthetic_llava import SyntheticPair

ModelName = Literal["demo", "endless"]
NUM_CTX = {"demo": 4096, "endless": 32768}
DEMO = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


@dataclass(frozen=True)
class Opened:
    """An engine that serves one model, and a way to end its model server as a crash would."""

    engine: Engine
    kill: Callable[[], None]


class World(Protocol):
    def open(self, model: ModelName) -> AbstractAsyncContextManager[Opened]:
        """An engine that serves `model`."""

    def unreachable(self, monkeypatch: pytest.MonkeyPatch) -> Engine:
        """An engine with nothing behind it."""


@dataclass(frozen=True)
class EmbeddedWorld:
    endless: SyntheticPair

    @asynccontextmanager
    async def open(self, model: ModelName) -> AsyncIterator[Opened]:
        pins = {model: ModelPins(num_ctx=NUM_CTX[model])}
        pair = self.endless
        settings = Settings(models=pins) if model == "demo" else Settings(models=pins, gguf=pair.gguf, mmproj=pair.mmproj)
        engine = EmbeddedEngine(settings)
        try:
            yield Opened(engine, kill_llama_children)
        finally:
            await engine.aclose()

    def unreachable(self, monkeypatch: pytest.MonkeyPatch) -> Engine:
        """Raise as on a machine without the wheel."""
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        return EmbeddedEngine(Settings())


@dataclass(frozen=True)
class OpenAIWorld:
    endless: SyntheticPair

    @asynccontextmanager
    async def open(self, model: ModelName) -> AsyncIterator[Opened]:
        pair = self.endless if model == "endless" else SyntheticPair(DEMO / "demo.gguf", DEMO / "demo-mmproj.gguf")
        command = LlamaCommand(model, str(pair.gguf), str(pair.mmproj), NUM_CTX[model], num_gpu=-1, slots=1, threads=1)
        server = await LlamaProcess.start(command)
        engine = OpenAIEngine(f"{server.address}/v1", api_key=server.api_key, slots=1)
        try:
            yield Opened(engine, lambda: os.kill(server.pid, signal.SIGKILL))
        finally:
            await engine.aclose()
            await server.stop()

    def unreachable(self, monkeypatch: pytest.MonkeyPatch) -> Engine:
        return OpenAIEngine(f"{NOBODY}/v1")


@dataclass(frozen=True)
class OllamaWorld:
    """Both models are in it already."""

    server: RealOllama

    @asynccontextmanager
    async def open(self, model: ModelName) -> AsyncIterator[Opened]:
        engine = OllamaEngine(Settings(ollama_host=self.server.url))
        try:
            yield Opened(engine, self.server.kill)
        finally:
            await engine.aclose()

    def unreachable(self, monkeypatch: pytest.MonkeyPatch) -> Engine:
        return OllamaEngine(Settings(ollama_host=NOBODY))


def kill_llama_children() -> None:
    """End the embedded engines of this thread as a failed assertion in llama.cpp would."""
    for pid in llama_children():
        os.kill(pid, signal.SIGABRT)


def llama_children() -> list[int]:
    """Return the process ids of the embedded engines that this thread has started, not those of a gateway that runs beside it."""
    found = []
    for pid in Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split():
        with suppress(OSError):  # it may have ended meanwhile
            if b"llama_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found
