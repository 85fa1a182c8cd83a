"""Starts and stops the real Ollama of the tests."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama_library import OllamaLibrary

REPOSITORY = Path(__file__).parents[1]
START_LIMIT = 30.0
_LISTENING = re.compile(r"Listening on (127\.0\.0\.1:\d+)")


def find_binary() -> Path | None:
    """Return the `ollama` for the tests: $LLAVA_GATEWAY_TEST_OLLAMA, the one that `make real-ollama` built, or (not on CI) an installed
    one.
    """
    named = os.environ.get("LLAVA_GATEWAY_TEST_OLLAMA")
    if named:
        return Path(named)
    built = REPOSITORY / ".cache" / "real-ollama" / "bin" / "ollama"
    if built.is_file():
        return built
    installed = None if os.environ.get("CI") == "true" else shutil.which("ollama")
    return Path(installed) if installed else None


@dataclass
class RealOllama:
    """A running `ollama serve` for the tests.

    Attributes:
        url: http://127.0.0.1:PORT
        process: the server; the engine that it starts is its child, in the same process group.
        models: its OLLAMA_MODELS folder.
        log: the last lines of its log.
    """

    binary: Path
    models: Path
    process: subprocess.Popen[str]
    url: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    @classmethod
    def start(cls, binary: Path, folder: Path, *, models: Path | None = None, port: int = 0) -> RealOllama:
        """Start it with `folder` as its home; port 0 chooses a free one."""
        models = models or folder / "models"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_MODELS": str(models),
            "OLLAMA_NOPRUNE": "1",  # two servers may share the folder
            "OLLAMA_NO_CLOUD": "1",
        }
        process = subprocess.Popen(
            [binary, "serve"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        server = cls(binary, models, process)
        addresses: queue.Queue[str] = queue.Queue()
        threading.Thread(target=server._read_log, args=(addresses,), daemon=True).start()
        try:
            server.url = f"http://{addresses.get(timeout=START_LIMIT)}"
        except queue.Empty:
            server.stop()
            raise RuntimeError("Ollama did not start:\n" + "".join(server.log)) from None
        return server

    def create_demo(self) -> None:
        """Create the model `demo` from Modelfiles/demo, to run on one thread: several would wait for each other on a busy machine."""
        path = REPOSITORY / "Modelfiles" / "demo"
        recipe = parse_modelfile(path.read_text("utf-8"))
        recipe = replace(recipe, parameters={**recipe.parameters, "num_thread": 1})

        async def create() -> None:
            library = OllamaLibrary(self.url)
            try:
                steps = [step.status async for step in library.create("demo", recipe, path.parent)]
            finally:
                await library.aclose()
            assert steps[-1] == "success"

        asyncio.run(create())

    def runners(self) -> set[int]:
        """Return the ids of the processes that hold loaded models, of which there must be one. A load starts a new one."""
        found = {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}
        assert found, "no model is loaded"
        return found

    def kill(self) -> None:
        """Kill the server as in a crash, and leave the engine running."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the server and its child processes."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(timeout=5)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()

    def _read_log(self, addresses: queue.Queue[str]) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(line)
                if found := _LISTENING.search(line):
                    addresses.put(found[1])
