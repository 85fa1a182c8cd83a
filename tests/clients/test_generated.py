"""Clients that others generate from /openapi.json: they compile with types, and work against a running gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.settings import Settings
from tests import sample_images
from tests.conftest import there
from tests.serving import served_in_thread

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "clients"
KEY = "s3cret"
WORDS = "A red circle on a white background."


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with served_in_thread(Settings(port=0, engine="embedded", api_key=KEY)) as url:
        yield url


@pytest.fixture
def arguments(gateway: str, tmp_path: Path) -> tuple[str, str, str]:
    """Of the programs: the gateway, its key, and an image."""
    image = tmp_path / "circle.png"
    image.write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    return gateway, KEY, str(image)


@pytest.fixture
def description(gateway: str, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(httpx2.get(f"{gateway}/openapi.json", trust_env=False).content)
    return path


def run(*command: str | Path, **how: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(name: str, lock: Path, *commands: list[str | Path]) -> Path:
    """A folder in which these commands have installed what the lock names; the test is left out where they can't."""
    folder = CACHE / name
    marker = folder / "installed"
    if not marker.exists() or marker.read_bytes() != lock.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for command in commands:
            done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
            there(folder if done.returncode == 0 else None, f"the generator of {name} clients can't be installed: {done.stderr[-300:]}")
        marker.write_bytes(lock.read_bytes())
    return folder


@pytest.fixture(scope="module")
def python_generator() -> Path:
    lock = HERE / "python" / "requirements.txt"
    python = CACHE / "python" / "bin" / "python"
    return installed(
        "python",
        lock,
        [sys.executable, "-m", "venv", "."],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock],
    )


@pytest.fixture(scope="module")
def typescript_generator() -> Path:
    found = shutil.which("npm")
    npm = there(Path(found) if found else None, "there is no npm to install the generator of TypeScript clients with")
    lock = HERE / "typescript" / "package-lock.json"
    return installed(
        "typescript",
        lock,
        ["cp", HERE / "typescript" / "package.json", lock, "."],
        [npm, "ci", "--loglevel=error", "--ignore-scripts", "--no-audit", "--no-fund"],
    )


def check(printed: str) -> None:
    told = json.loads(printed)
    assert told.pop("tokens") > 0
    assert told == {"words": WORDS, "code": "model_not_found", "turns": 1, "written": WORDS}


def test_a_python_client(python_generator: Path, description: Path, arguments: tuple[str, str, str], tmp_path: Path) -> None:
    programs, client = python_generator / "bin", tmp_path / "gateway_client"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path), "MYPYPATH": str(tmp_path)}
    run(programs / "openapi-python-client", "generate", "--path", description, "--meta", "none", "--output-path", client, env=environment)
    program = shutil.copy(HERE / "python" / "client.py", tmp_path)
    check(run(programs / "python", program, *arguments, env=environment))

    types = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={CACHE / 'mypy'}", "--follow-imports=silent"]
    run(*types, program, env=environment, cwd=tmp_path)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from gateway_client.models import Answer\n\ndef f(a: Answer) -> None:\n    a.mesage\n", "utf-8")
    told = subprocess.run([*types, "wrong.py"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert '"Answer" has no attribute "mesage"' in told.stdout


def test_a_typescript_client(typescript_generator: Path, description: Path, arguments: tuple[str, str, str], tmp_path: Path) -> None:
    for name in ("client.mts", "tsconfig.json"):
        shutil.copy(HERE / "typescript" / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(typescript_generator / "node_modules")
    programs = typescript_generator / "node_modules" / ".bin"
    run(programs / "openapi-typescript", description, "-o", "api.d.ts", cwd=tmp_path)
    run(programs / "tsc", "--project", ".", cwd=tmp_path)
    check(run("node", "out/client.mjs", *arguments, cwd=tmp_path))
