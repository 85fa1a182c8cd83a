"""Runs `llava-gateway` as a process of its own, with nothing of the tests' environment that it reads."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

COMMAND = (sys.executable, "-m", "llava_gateway")
LIMIT = 30.0
_LISTENING = re.compile(r"listens on (http://\S+)")
_NOBODY = "127.0.0.1:9"


def environment(**more: str) -> dict[str, str]:
    """Without settings and without an Ollama that happens to run here; `more` are variables to set."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("LLAVA_GATEWAY_", "OLLAMA_"))}
    return {**mine, "OLLAMA_HOST": _NOBODY, "LLAVA_GATEWAY_PORT": "9", **more}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def run(*arguments: str, stdin: bytes = b"", limit: float = LIMIT, **variables: str) -> Done:
    """Runs a command to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, env=environment(**variables), timeout=limit, check=False
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@asynccontextmanager
async def running(*arguments: str, **variables: str) -> AsyncIterator[Process]:
    """A command that goes on; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(**variables))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(stream: asyncio.StreamReader | None, pattern: str | re.Pattern[str]) -> re.Match[str]:
    """Reads until the pattern has come; what came with it in one piece is gone."""
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
    """`serve` on a free port: its address, and the process."""
    async with running("serve", "--port", "0", *arguments, **variables) as process:
        yield (await until(process.stdout, _LISTENING))[1], process
