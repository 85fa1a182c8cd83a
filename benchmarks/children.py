"""Child processes of benchmarks. They exchange lines of JSON on stdin and stdout, and end when their stdin does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Child:
    """A child process that has reported that it is ready; `hello` is that report."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.hello = self._read()

    def ask(self, command: str) -> Any:
        """Send one command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {self._process.wait()}")
        return json.loads(line)


@contextmanager
def child(module: str, *arguments: str) -> Iterator[Child]:
    """Start `python -m benchmarks.MODULE ARGUMENTS`, wait until it is ready, and end it with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Child(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def say(value: Any) -> None:
    """Send an answer; called in a child."""
    print(json.dumps(value), flush=True)


def serve_commands(commands: Mapping[str, Callable[[], Any]], at_end: Callable[[], None]) -> None:
    """Answer commands in a thread, and call `at_end` when stdin has ended; called in a child."""

    def listen() -> None:
        for line in sys.stdin:
            say(commands[line.strip()]())
        at_end()

    threading.Thread(target=listen, daemon=True).start()
