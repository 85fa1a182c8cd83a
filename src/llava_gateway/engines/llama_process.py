"""Starts, watches and ends one llama.cpp server in a child process (`llama_child.py`)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import asdict, dataclass

from llava_gateway.engines.openai_errors import out_of_memory
from llava_gateway.errors import ModelLoadFailed, ModelOutOfMemory

log = logging.getLogger(__name__)

STDERR_KEPT = 16 * 1024
"""How many of the last bytes of the engine's output are kept."""
_SIGKILL = -9


@dataclass(frozen=True, slots=True)
class LlamaCommand:
    """What the child runs.

    Attributes:
        name: the name of the model.
        num_ctx: context of each slot, in tokens.
        num_gpu: layers on the GPU; -1: llama.cpp decides.
        slots: answers at the same time.
        threads: CPU threads; -1: llama.cpp decides.
        prompt_cache: most bytes of main memory for conversations outside of the slots. llama.cpp counts in MiB.
        embeddings: whether it embeds texts too. These may be as long as the context.
    """

    name: str
    gguf: str
    mmproj: str | None
    num_ctx: int
    num_gpu: int
    slots: int
    threads: int
    prompt_cache: int = 0
    embeddings: bool = False


class LlamaProcess:
    """A server at `address` that answers requests with `api_key`. Made by `start`."""

    def __init__(self, process: Process, api_key: str) -> None:
        self.api_key = api_key
        self.address = ""
        self._process = process
        self._printed = bytearray()
        self._reader = asyncio.create_task(self._read_stderr())

    @classmethod
    async def start(cls, command: LlamaCommand) -> LlamaProcess:
        """Start a server and wait until its model is loaded. Raises ModelLoadFailed, ModelOutOfMemory. Cancelling ends the child."""
        process = await asyncio.create_subprocess_exec(
            # -P: import nothing from the working directory.
            *(sys.executable, "-P", "-m", "llava_gateway.engines.llama_child"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
        )
        self = cls(process, secrets.token_urlsafe(32))
        try:
            await self._introduce(command)
        except BaseException:
            await self.stop()
            raise
        return self

    async def _introduce(self, command: LlamaCommand) -> None:
        """Send the child its command and read its address."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 (for the type checker: all three are pipes)
        assert stdout is not None  # noqa: S101
        # If the child is already dead, reading its answer shows it. (uvloop raises RuntimeError for a pipe that it has closed.)
        with suppress(ConnectionError, RuntimeError):
            stdin.write(json.dumps({**asdict(command), "api_key": self.api_key}).encode() + b"\n")
            await stdin.drain()
        line = await stdout.readline()
        if not line:
            raise await self._why_it_died()
        self.address = str(json.loads(line)["address"])

    async def _why_it_died(self) -> ModelLoadFailed | ModelOutOfMemory:
        code = await self._process.wait()
        await self._reader
        printed = self._printed.decode("utf-8", "replace")
        log.warning("the embedded engine ended with %d while it loaded the model; its last output:\n%s", code, printed[-2000:])
        # The kernel's out-of-memory killer sends SIGKILL.
        return ModelOutOfMemory() if code == _SIGKILL or out_of_memory(printed) else ModelLoadFailed()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for the end of the process. Returns its exit status (a signal as a negative number)."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Kill the process at once, since it has nothing to save. Safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101
        while chunk := await stderr.read(4096):
            log.debug("llama.cpp: %s", chunk.decode("utf-8", "replace").rstrip())
            self._printed += chunk
            del self._printed[:-STDERR_KEPT]


def _environment() -> dict[str, str]:
    """Return our environment without LLAMA_MEDIA_MARKER, which would let a user's text pass for an image. llama.cpp then draws a random
    marker."""
    environment = {name: value for name, value in os.environ.items() if name != "LLAMA_MEDIA_MARKER"}
    # A failed assertion would start a debugger to print a backtrace, which keeps clients waiting.
    return environment | {"GGML_NO_BACKTRACE": "1"}
