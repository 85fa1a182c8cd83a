from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from llava_gateway import __version__
from llava_gateway.cli.main import app
from llava_gateway.settings import Settings
from tests.cli.program import run

SLOW = (
    "asyncio", "fastapi", "httptools", "httpx2", "http.client", "llava_gateway.chat", "ollama", "PIL", "pydantic", "rich", "ssl",
    "urllib.request", "uvicorn",
)  # fmt: skip


def test_the_version() -> None:
    assert run("--version").out == f"llava-gateway {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("ask",),
        ("chat",),
        ("models",),
        ("models", "pull"),
        ("models", "create"),
        ("doctor",),
        ("showcase",),
        ("autostart",),
        ("autostart", "on"),
    ],
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert "Usage: " in done.stdout
    if len(command) == 1:
        assert "Examples:" in done.stdout


def all_commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*words, name))


def test_no_help_shows_a_type_of_python() -> None:
    commands = list(all_commands(typer.main.get_command(app)))
    assert ("autostart", "on") in commands
    shown = {command: CliRunner().invoke(app, [*command, "--help"]).stdout for command in commands}
    assert [command for command, text in shown.items() if re.search(r"<\w+>|\bBOOLEAN\b", text)] == []


def test_settings_lists_each_with_its_default() -> None:
    lines = run("settings").out.splitlines()
    assert [line.partition(" = ")[0] for line in lines[::2]] == list(Settings.model_fields)
    assert {"port = 8000", "read_ahead = true", "model = unset", "allowed_hosts = 127.0.0.1,localhost,[::1]"} <= set(lines)
    wrong = run("serve", LLAVA_GATEWAY_PRT="9000")
    assert "`llava-gateway settings` lists all settings." in wrong.err


def test_the_help_is_there_at_once() -> None:
    """Modules that take long to import are imported only by the commands that need them."""
    program = (
        "import sys, runpy; slow, sys.argv = sys.argv[1:], ['llava-gateway', '--help']\n"
        "try: runpy.run_module('llava_gateway', run_name='__main__')\n"
        "except SystemExit: print(*[name for name in slow if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *SLOW], capture_output=True, text=True, check=True)
    assert "Usage: " in done.stdout
    assert done.stderr.split() == []


def test_a_wrong_command_is_wrong_use() -> None:
    for wrong in (["dance"], ["ask"], ["serve", "--port", "x"], ["serve", "--engine", "steam"]):
        assert CliRunner().invoke(app, wrong).exit_code == 2
