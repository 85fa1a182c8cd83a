"""The shell completes model names, as the completion of a real bash asks for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import LIMIT, environment
from tests.ollama_server import RealOllama

PROGRAM = Path(sys.executable).with_name("llava-gateway")
SCRIPT = """
eval "$(_LLAVA_GATEWAY_COMPLETE=source_bash llava-gateway)"
COMP_WORDS=(llava-gateway "$@")
COMP_CWORD=$#
_llava_gateway_completion llava-gateway
printf '%s\\n' "${COMPREPLY[@]}"
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None or not PROGRAM.exists(), reason="there is no bash here, or no program")


def completed(*words: str, **variables: str) -> list[str]:
    """Return what bash offers for the last of these words."""
    env = environment(**variables)
    env["PATH"] = f"{PROGRAM.parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT, "bash", *words], env=env, capture_output=True, text=True, timeout=LIMIT, check=False, input=""
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_names_come_from_the_running_gateway(demo_url: str) -> None:
    for command in ("ask", "serve"):
        assert completed(command, "--model", "de", LLAVA_GATEWAY_URL=demo_url) == ["demo"]
    assert completed("ask", "--url", demo_url, "--model", "de") == ["demo"]
    assert completed("ask", "--model", "x", LLAVA_GATEWAY_URL=demo_url) == []


def test_without_a_gateway_they_come_from_ollama(real_ollama: RealOllama) -> None:
    assert completed("ask", "--model", "demo", OLLAMA_HOST=real_ollama.url)


def test_where_nothing_answers_nothing_is_offered_and_nothing_said() -> None:
    assert completed("ask", "--model", "") == []
