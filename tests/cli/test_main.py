from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from llava_gateway import __version__
from llava_gateway.cli.main import app
from tests.cli.program import run

SLOW = ("fastapi", "uvicorn", "pydantic_settings", "httpx2", "aiohttp", "PIL", "ollama")


def test_the_version() -> None:
    assert run("--version").out == f"llava-gateway {__version__}\n"


@pytest.mark.parametrize(
    "command", [(), ("serve",), ("ask",), ("chat",), ("models",), ("models", "pull"), ("models", "create"), ("doctor",), ("showcase",)]
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert "Usage: " in done.stdout
    if len(command) == 1:
        assert "Examples:" in done.stdout


def test_the_help_is_there_at_once() -> None:
    """What takes long to import is imported by the commands that need it."""
    program = "import sys, llava_gateway.cli.main; print(*[name for name in sys.argv[1:] if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program, *SLOW], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_wrong_command_is_wrong_use() -> None:
    for wrong in (["dance"], ["ask"], ["serve", "--port", "x"], ["serve", "--engine", "steam"]):
        assert CliRunner().invoke(app, wrong).exit_code == 2
