"""Test that the child of the embedded engine never outlives its parent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files

import pytest

from llava_gateway.engines.llama_process import LlamaCommand

pytestmark = pytest.mark.real
DEMO = files("llava_gateway") / "demo"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", "llava_gateway.engines.llama_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


def ask_for(process: subprocess.Popen[bytes], gguf: str) -> None:
    command = LlamaCommand("demo", gguf, str(DEMO / "demo-mmproj.gguf"), num_ctx=512, num_gpu=0, slots=1, threads=1)
    assert process.stdin
    process.stdin.write(json.dumps({**asdict(command), "api_key": "key"}).encode() + b"\n")
    process.stdin.flush()


def test_it_ends_if_its_parent_is_gone_before_the_model_is_loaded(child: subprocess.Popen[bytes]) -> None:
    """Then it can't write its address: the interpreter would wait for the server's threads for ever."""
    assert child.stdin
    assert child.stdout
    ask_for(child, str(DEMO / "demo.gguf"))
    child.stdout.close()
    child.stdin.close()
    assert child.wait(timeout=60) == 1


def test_it_ends_with_its_stdin(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin
    assert child.stdout
    ask_for(child, str(DEMO / "demo.gguf"))
    assert json.loads(child.stdout.readline())["address"].startswith("http://127.0.0.1:")
    child.stdin.close()
    assert child.wait(timeout=60) == 0


def test_a_file_that_does_not_load_ends_it(child: subprocess.Popen[bytes]) -> None:
    ask_for(child, "/dev/null")
    assert child.wait(timeout=60) == 1
