"""The GitHub Actions workflows and the forms next to them: checked by actionlint, and consistent with the project's metadata."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import there

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """Return an installed actionlint, else build one with Go in .cache/actionlint; the first build takes about a minute."""
    if found := os.environ.get("LLAVA_GATEWAY_TEST_ACTIONLINT") or shutil.which("actionlint"):
        return Path(found)
    folder = ROOT / ".cache/actionlint"
    if not (folder / "actionlint").exists() and shutil.which("go"):
        subprocess.run(["go", "install", ACTIONLINT], env={**os.environ, "GOBIN": str(folder)}, capture_output=True, check=False)
    missing = f"there is no actionlint to read the workflows with, and Go did not build {ACTIONLINT}"
    return there(folder / "actionlint" if (folder / "actionlint").exists() else None, missing)


def lint(actionlint: Path, *files: Path) -> str:
    """Return the errors that it finds, without shellcheck and pyflakes, so that the result is the same everywhere."""
    command: list[str | Path] = [actionlint, "-no-color", "-shellcheck=", "-pyflakes=", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_actionlint_finds_nothing(actionlint: Path, tmp_path: Path) -> None:
    assert lint(actionlint, *WORKFLOWS) == ""
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text("utf-8").replace("runs-on:", "run-on:"), "utf-8")
    assert "run-on" in lint(actionlint, broken), "it reads them, then"


def test_what_the_workflows_run_is_there() -> None:
    text = "".join(path.read_text("utf-8") for path in WORKFLOWS)
    named = set(re.findall(r"(?<![\w.@/-])(?:tests|scripts|constraints)/[\w./-]+", text))
    assert len(named) > 8
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
    targets = re.findall(r"make (\w+)", text)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_every_python_that_the_locks_are_for_is_tested() -> None:
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    tested = re.search(r"python: \[(.*)\]", (ROOT / ".github/workflows/tests.yml").read_text("utf-8"))
    assert tested
    versions = re.findall(r"[\d.]+", tested[1])
    assert (lowest, versions) == (f">={versions[0]}", ["3.11", "3.12", "3.13", "3.14"])


def test_only_publishing_may_sign() -> None:
    """Only one job has the permission to publish, and no workflow uses a secret."""
    for path in WORKFLOWS:
        text = path.read_text("utf-8")
        assert "secrets." not in text
        assert text.count("id-token: write") == (path.name == "release.yml")
        assert re.search(r"^permissions:\n  contents: read$", text, re.MULTILINE)
