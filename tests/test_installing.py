"""The ways of installation in docs/install.md, each into an empty folder; then the demo model must answer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from llava_gateway import __version__
from tests.cli.program import environment
from tests.conftest import there
from tests.sample_images import encoded, shape

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the wheel with its engine as a requirement; skips the test if no package index can be reached."""
    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]))
    requirement = f"llava-gateway[embedded] @ {Path(built).as_uri()}"
    command: list[str | Path] = [UV, "pip", "install", "--dry-run", "--target", str(tmp_path_factory.mktemp("nothing")), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(done.stderr)
        pytest.skip(f"nothing can be installed here: {done.stderr.strip().splitlines()[-1]}")
    return requirement


def install(*command: str | Path, **variables: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
    assert done.returncode == 0, done.stderr


def answers(program: Path, folder: Path) -> None:
    """Check that it has the right version, and that its own engine answers."""
    assert program.exists()
    image = folder / "photo.png"
    image.write_bytes(encoded(shape("circle", "red")))
    given = {name: value for name, value in environment().items() if name != "LLAVA_GATEWAY_PORT"} | {"LLAVA_GATEWAY_PORT": "0"}
    version = subprocess.run([program, "--version"], capture_output=True, text=True, env=given, cwd=folder, check=True)
    assert version.stdout == f"llava-gateway {__version__}\n"
    asked: list[str | Path] = [program, "ask", str(image), "What is in this image?", "--model", "demo"]
    answer = subprocess.run(asked, capture_output=True, text=True, env=given, cwd=folder, check=False)
    assert answer.stdout == "A red circle on a white background.\n", answer.stderr


def test_make_run_installs_and_serves(wheel: str, tmp_path: Path) -> None:
    """Runs in a copy of the repository's files, as after a clone. `wheel` tells whether packages can be downloaded at all."""
    there(Path(found) if (found := shutil.which("make")) else None, "there is no make")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone of the repository")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    command = ["make", "run", f"PYTHON={sys.executable}", "ARGS=--engine embedded --port 0"]
    # A session of its own, so that make and its child processes can be ended together.
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True
    ) as server:
        assert server.stdout is not None
        try:
            said = list(iter_until(server.stdout, "listens on http://"))
        finally:
            os.killpg(server.pid, signal.SIGTERM)
        assert "listens on http://127.0.0.1:" in said[-1], said
        server.communicate(timeout=30)
    answers(tmp_path / ".venv/bin/llava-gateway", tmp_path)


def iter_until(lines: Iterable[str], words: str) -> Iterator[str]:
    for line in lines:
        yield line
        if words in line:
            return


def test_pip_installs_it(wheel: str, tmp_path: Path) -> None:
    install(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / SCRIPTS / "python"
    install(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    answers(python.with_name("llava-gateway"), tmp_path)


def test_pipx_installs_it(wheel: str, tmp_path: Path) -> None:
    places = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "programs"), "PIPX_MAN_DIR": str(tmp_path / "man")}
    install(UV, "tool", "run", "pipx", "install", "--python", sys.executable, wheel, **places)
    answers(tmp_path / "programs" / "llava-gateway", tmp_path)


def test_uv_installs_it_and_a_newer_one_takes_its_place(wheel: str, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "programs")}
    install(UV, "tool", "install", "--quiet", "--python", sys.executable, wheel, **places)
    install(UV, "tool", "install", "--quiet", "--python", sys.executable, "--reinstall-package", "llava-gateway", wheel, **places)
    answers(tmp_path / "programs" / "llava-gateway", tmp_path)
