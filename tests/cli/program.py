"""Runs `llava-gateway` in its own process, without the variables of the tests' environment that it reads."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

COMMAND = (sys.executable, "-m", "llava_gateway")
LIMIT = 120.0
"""The longest wait in seconds. On the slowest machine everything takes less; a longer wait means that nothing will come."""
_LISTENING = re.compile(r"listens on (http://\S+)")
_NOBODY = "127.0.0.1:9"
_RUNTIME = tempfile.TemporaryDirectory(prefix="llava-gateway-tests-")


def environment(**more: str) -> dict[str, str]:
    """Return the environment without settings, without an Ollama that happens to run here, and with a data directory of its own; `more`
    are variables to set."""
    data = tempfile.mkdtemp(dir=_RUNTIME.name)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("LLAVA_GATEWAY_", "OLLAMA_"))}
    return {**mine, "OLLAMA_HOST": _NOBODY, "LLAVA_GATEWAY_PORT": "9", "XDG_RUNTIME_DIR": _RUNTIME.name, "XDG_DATA_HOME": data, **more}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def run(*arguments: str, stdin: bytes = b"", limit: float = LIMIT, **variables: str) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, env=environment(**variables), timeout=limit, check=False
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Start processes in it that SIGINT reaches. A shell that runs the tests in the background ignores it, and processes inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@asynccontextmanager
async def running(*arguments: str, **variables: str) -> AsyncIterator[Process]:
    """Start a command that keeps running; it is killed at the end if it still runs."""
    with heeding_ctrl_c():
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(**variables)
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(stream: asyncio.StreamReader | None, pattern: str | re.Pattern[str]) -> re.Match[str]:
    """Read until the pattern arrives; discards the rest of the last chunk."""
    assert stream is not None
    read = ""
    async with asyncio.timeout(LIMIT):
        while not (found := re.search(pattern, read)):
            piece = await stream.read(4096)
            assert piece, f"it ended after {read!r}"
            read += piece.decode()
    return found


@asynccontextmanager
async def serving(*arguments: str, **variables: str) -> AsyncIterator[tuple[str, Process]]:
    """Start `serve` on a free port. Yields its address and the process."""
    async with running("serve", "--port", "0", *arguments, **variables) as process:
        yield (await until(process.stdout, _LISTENING))[1], process
