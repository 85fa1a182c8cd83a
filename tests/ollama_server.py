"""Starts and stops the real Ollama that tests speak with."""

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

from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama_library import OllamaLibrary

REPOSITORY = Path(__file__).parents[1]
START_LIMIT = 30.0
_LISTENING = re.compile(r"Listening on (127\.0\.0\.1:\d+)")


def find_binary() -> Path | None:
    """The `ollama` to test with: $LLAVA_GATEWAY_TEST_OLLAMA, what `make real-ollama` built, or (not on CI) an installed one."""
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
    """A running `ollama serve` of our own.

    Attributes:
        url: http://127.0.0.1:PORT
        process: the server; the engine it starts is a child of it, in the same process group.
        models: its OLLAMA_MODELS folder.
        log: the last lines it wrote.
    """

    binary: Path
    models: Path
    process: subprocess.Popen[str]
    url: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    @classmethod
    def start(cls, binary: Path, folder: Path, *, models: Path | None = None, port: int = 0) -> RealOllama:
        """Runs it with `folder` as its home; port 0 takes a free one."""
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
        """Makes the model `demo` from Modelfiles/demo, to run on one thread: more of them wait for each other on a busy machine."""
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

    def kill(self) -> None:
        """Ends the server as a crash would, the engine left behind."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends the server and what it started."""
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
