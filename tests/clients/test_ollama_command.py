"""The `ollama` command against the gateway, with OLLAMA_HOST as the only change."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.clients.conftest import soon
from tests.sample_images import encoded, shape

Run: TypeAlias = Callable[..., "Done"]
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[⠀-⣿]\s*")


class Done:
    """What a command printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = _TERMINAL.sub("", done.stdout)
        self.err = _TERMINAL.sub("", done.stderr)


@pytest.fixture
def run(gateway_url: str, ollama_binary: Path, tmp_path: Path) -> Run:
    """Run the command, with its home in a folder of the test."""

    def run(*arguments: str | Path) -> Done:
        environment = {"OLLAMA_HOST": gateway_url, "HOME": str(tmp_path), "OLLAMA_NO_CLOUD": "1"}
        command = [str(ollama_binary), *map(str, arguments)]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        return Done(done)

    return run


def test_list_names_the_model(run: Run) -> None:
    header, *rows = run("list").out.splitlines()
    assert header.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert any(row.startswith("demo:latest") for row in rows)


def test_show_describes_the_model(run: Run) -> None:
    shown = run("show", "demo")
    assert (shown.code, "vision" in shown.out, "4096" in shown.out) == (0, True, True)


def test_run_answers_about_an_image(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(encoded(shape("circle", "red")))
    answered = run("run", "demo", f"What color is the circle? {file}")
    assert (answered.code, answered.out.strip()) == (0, "The circle is red."), answered.err
    in_detail = run("run", "demo", "--verbose", f"What color is the circle? {file}")
    assert "eval rate" in in_detail.err


def test_ps_and_stop(run: Run) -> None:
    assert run("run", "demo", "Hi").code == 0
    assert "demo:latest" in run("ps").out
    assert run("stop", "demo").code == 0
    assert soon(lambda: "demo:latest" not in run("ps").out)


def test_a_missing_model_is_named(run: Run) -> None:
    missing = run("show", "nope")
    assert (missing.code, missing.err.strip()) == (1, "Error: model 'nope' not found")


def test_the_version_is_found(run: Run) -> None:
    assert re.match(r"ollama version is \d+\.\d+", run("--version").out)


@pytest.mark.wording
def test_models_that_are_not_ollamas_stay(run: Run, gateway_url: str, embedded: str) -> None:
    removed = run("rm", "no-such-model")
    assert removed.code == 1
    assert ("without Ollama" if gateway_url == embedded else "not found") in removed.err


def test_a_model_is_created_copied_and_removed(before_ollama: str, run: Run, gateway_url: str, tmp_path: Path) -> None:
    if gateway_url != before_ollama:
        pytest.skip("only Ollama makes models")
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text("FROM demo\nSYSTEM Be kind.\n")
    for command in (("create", "command-kind", "-f", modelfile), ("cp", "command-kind", "command-copy")):
        done = run(*command)
        assert done.code == 0, done.err
    assert "Be kind." in run("show", "command-copy", "--modelfile").out
    removed = run("rm", "command-kind", "command-copy")
    assert removed.code == 0, removed.err
