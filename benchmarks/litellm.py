"""LiteLLM's proxy, for comparison with the gateway: one worker, in a virtual environment that this module creates under .cache/."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engines.test_upstream import free_port

VERSION = "1.108"
_HOME = Path(__file__).parents[1] / ".cache" / f"litellm-{VERSION}"
_START_SECONDS = 120
_WITHOUT_A_KEY = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"  # it listens on loopback only


class NoLiteLLM(Exception):
    """LiteLLM can't be installed or started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Proxy:
    url: str
    pid: int
    version: str


@contextmanager
def litellm(upstream: str, models: tuple[str, ...]) -> Iterator[Proxy]:
    """Start a proxy in front of the OpenAI-compatible server `upstream` (with /v1). Raises NoLiteLLM."""
    program = _installed()
    rows = [{"model_name": m, "litellm_params": {"model": f"openai/{m}", "api_base": upstream, "api_key": "none"}} for m in models]
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"  # JSON is YAML
        config.write_text(json.dumps({"model_list": rows, "litellm_settings": {"telemetry": False}}))
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        # The package includes its price list: nothing is downloaded.
        environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", _WITHOUT_A_KEY: "true"}
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, Path(folder) / "log")
            yield Proxy(url, process.pid, _version(program))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _installed() -> Path:
    """Return the path of the program, and install it first if it is missing."""
    scripts = _HOME / ("Scripts" if sys.platform == "win32" else "bin")
    program = scripts / "litellm"
    done = _HOME / "installed"
    if done.is_file():
        return program
    print(f"Installing LiteLLM {VERSION} into {_HOME.relative_to(_HOME.parents[1])} ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(_HOME)], check=True)
    pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"litellm[proxy]=={VERSION}.*"]
    tried = subprocess.run(pip, capture_output=True, text=True)
    if tried.returncode:
        raise NoLiteLLM(f"LiteLLM {VERSION} can't be installed here: {tried.stderr.strip().splitlines()[-1:]}")
    done.touch()
    return program


def _version(program: Path) -> str:
    show = [str(program.with_name("python")), "-c", "from importlib.metadata import version; print(version('litellm'))"]
    return subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/liveliness", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise NoLiteLLM(f"LiteLLM did not start: {log.read_text('utf-8', 'replace').strip()[-300:]}")
