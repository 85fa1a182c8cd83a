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
"""How much of what the engine printed last is kept, in bytes."""
_SIGKILL = -9


@dataclass(frozen=True, slots=True)
class LlamaCommand:
    """What the child runs.

    Attributes:
        name: what the model is called.
        num_ctx: context in tokens of each slot.
        num_gpu: layers on the GPU; -1: as llama.cpp thinks best.
        slots: answers at the same time.
        threads: on the CPU; -1: as llama.cpp thinks best.
        prompt_cache: most bytes of main memory for conversations that no slot holds; llama.cpp counts in MiB.
        embeddings: whether it turns texts into vectors too, which then may be as long as the context.
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
    """A server that answers at `address` to whoever knows `api_key`. Made by `start`."""

    def __init__(self, process: Process, api_key: str) -> None:
        self.api_key = api_key
        self.address = ""
        self._process = process
        self._printed = bytearray()
        self._reader = asyncio.create_task(self._read_stderr())

    @classmethod
    async def start(cls, command: LlamaCommand) -> LlamaProcess:
        """A server whose model is loaded. Raises ModelLoadFailed, ModelOutOfMemory; when cancelled, ends the child."""
        process = await asyncio.create_subprocess_exec(
            # -P: nothing is imported from the working directory.
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
        """Tells the child what to run and learns its address."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 (for the type checker: all three are pipes)
        assert stdout is not None  # noqa: S101
        # A child that is dead already says so by its silence. (uvloop raises RuntimeError for a pipe that it has closed.)
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
        log.warning("the embedded engine ended with %d while it loaded the model; its last words:\n%s", code, printed[-2000:])
        # The kernel's out-of-memory killer sends SIGKILL.
        return ModelOutOfMemory() if code == _SIGKILL or out_of_memory(printed) else ModelLoadFailed()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Its exit status (a signal as a negative number), once it has ended."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends it at once: there is nothing it would have to save. Safe to call twice."""
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
    """Ours, without what would let a user's text pass for an image: without LLAMA_MEDIA_MARKER, llama.cpp draws a marker at random."""
    environment = {name: value for name, value in os.environ.items() if name != "LLAMA_MEDIA_MARKER"}
    # A failed assertion starts a debugger to print a backtrace, which keeps clients waiting.
    return environment | {"GGML_NO_BACKTRACE": "1"}
