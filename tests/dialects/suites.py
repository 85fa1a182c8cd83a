"""The suites: which there are, where they come from, and how each is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llava_gateway.api.ollama.models import FOLLOWED
from tests.dialects.cases import Case, cases_of_go, cases_of_junit
from tests.pdfs import pdf
from tests.sample_images import encoded, shape

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache/dialects"


class CannotRun(Exception):
    """What a suite needs is not installed. The message says what."""


class Suite(Protocol):
    @property
    def name(self) -> str: ...

    def run(self, url: str, model: str) -> list[Case]:
        """Run it against a gateway. Returns its cases. Raises CannotRun, or RuntimeError if it did not run to its end."""


@dataclass(frozen=True)
class PytestSuite:
    """Files of pytest; `package`: the Python package in whose sources they are, "" for ours."""

    name: str
    files: tuple[str, ...]
    package: str = ""

    OPTIONS = (
        *("-W", "ignore", "-p", "no:cacheprovider", "--asyncio-mode=auto"),
        *("-o", "addopts=", "-o", "xfail_strict=false", "-o", "asyncio_default_test_loop_scope=session"),
    )
    """They replace those of each project."""

    def run(self, url: str, model: str) -> list[Case]:
        folder = _sources(self.package) if self.package else HERE.parents[1]
        with tempfile.TemporaryDirectory() as reports:
            report = Path(reports) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *self.OPTIONS, *self.files]
            base = f"{url}/v1" if self.package == "openai" else url
            own = {"GATEWAY_URL": url, "GATEWAY_MODEL": model, "TEST_API_BASE_URL": base, "PYTHONPATH": str(folder)}
            said = _said(command, folder, own)
            if not report.exists():
                raise RuntimeError(f"the suite {self.name} did not run: {said[-2000:]}")
            return cases_of_junit(self.name, report)


@dataclass(frozen=True)
class NodeSuite:
    """A file of javascript/ for Node's test runner. It runs in a copy of that folder, beside the packages that npm installs there."""

    name: str
    file: str

    def run(self, url: str, model: str) -> list[Case]:
        folder = _installed_javascript()
        with tempfile.TemporaryDirectory() as reports:
            report = Path(reports) / "report.xml"
            command = ["node", "--test", "--test-reporter=junit", f"--test-reporter-destination={report}", self.file]
            said = _said(command, folder, {"GATEWAY_URL": url, "GATEWAY_MODEL": model})
            cases = cases_of_junit(self.name, report) if report.exists() else []
        if not cases:
            raise RuntimeError(f"the suite {self.name} did not run: {said[-2000:]}")
        return cases


@dataclass(frozen=True)
class GoSuite:
    """The integration tests of Ollama, of the version whose API the gateway has; `groups`: which of them, `models`: for which models.

    They name the models that they ask; each of `models` is one that has cases of its own.
    """

    name: str
    groups: tuple[str, ...]
    models: tuple[str, ...]

    def run(self, url: str, model: str) -> list[Case]:
        binary, folder = _built_tests_of_ollama()
        wanted = f"^({'|'.join(self.groups)})$//^({'|'.join(self.models)})$"
        command = ["go", "tool", "test2json", str(binary), "-test.v=test2json", "-test.run", wanted]
        said = _said(command, folder, {"OLLAMA_TEST_EXISTING": "1", "OLLAMA_HOST": url})
        cases = cases_of_go(self.name, said.splitlines())
        if not cases:
            raise RuntimeError(f"the suite {self.name} did not run: {said[-2000:]}")
        return cases


SUITES: tuple[Suite, ...] = (
    PytestSuite("langchain", ("tests/dialects/langchain_suite.py",)),
    PytestSuite("pydantic-ai", ("tests/dialects/pydantic_ai_suite.py",)),
    PytestSuite("llm", ("tests/dialects/llm_suite.py",)),
    PytestSuite(
        "openai",
        tuple(
            f"tests/api_resources/{name}"
            for name in ("chat/test_completions.py", "test_embeddings.py", "test_models.py", "test_responses.py")
        ),
        "openai",
    ),
    PytestSuite("anthropic", ("tests/api_resources/test_messages.py", "tests/api_resources/test_models.py"), "anthropic"),
    NodeSuite("openai-js", "openai.js"),
    NodeSuite("anthropic-js", "anthropic.js"),
    NodeSuite("ollama-js", "ollama.js"),
    NodeSuite("ai-sdk", "ai_sdk.js"),
    GoSuite(
        "ollama",
        ("TestAPI", "TestBasic", "TestChat", "TestVision", "TestContext", "TestTools", "TestStructuredOutput"),
        ("llama3.2:1b", "llama3.2", "gemma2:2b", "qwen3.6:27b", "qwen3.5:2b", "gpt-oss:20b", "deepseek-coder-v2:16b-lite-instruct-q2_K"),
    ),
)


def _said(command: list[str], folder: Path, own: Mapping[str, str]) -> str:
    """Run a command, whose status does not matter. Returns what it wrote."""
    environment = {**os.environ, **own}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def _sources(package: str) -> Path:
    """Return the folder of a package's sources, with its tests, of the version that is installed. Downloads it once."""
    version = subprocess.run(
        [sys.executable, "-c", f"from importlib.metadata import version; print(version({package!r}))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = CACHE / f"{package}-{version}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--dest", str(CACHE), f"{package}=={version}"], check=True)
        with tarfile.open(next(CACHE.glob(f"{package}-{version}.tar.gz"))) as archive:
            archive.extractall(CACHE, filter="data")
    return folder


def _installed_javascript() -> Path:
    """Return a copy of javascript/ with the packages of its lock file and the files that the tests ask about."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise CannotRun("there is no Node with npm")
    source, folder = HERE / "javascript", CACHE / "javascript"
    folder.mkdir(parents=True, exist_ok=True)
    lock, installed = source / "package-lock.json", folder / "installed.json"
    for file in source.iterdir():
        shutil.copy(file, folder)
    if not (installed.exists() and installed.read_bytes() == lock.read_bytes()):
        subprocess.run(["npm", "ci", "--loglevel=error", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
        shutil.copy(lock, installed)
    for colour in ("red", "green", "blue"):
        (folder / f"{colour}.png").write_bytes(encoded(shape("circle", colour, size=(640, 480))))
    (folder / "page.pdf").write_bytes(pdf("A page"))
    return folder


def _built_tests_of_ollama() -> tuple[Path, Path]:
    """Return the binary with the tests, and the folder to run it in. Downloads Ollama's sources and builds the tests once."""
    if not shutil.which("go"):
        raise CannotRun("there is no Go")
    command = ["go", "mod", "download", "-json", f"github.com/ollama/ollama@v{FOLLOWED}"]
    sources = Path(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["Dir"])
    binary = CACHE / f"ollama-{FOLLOWED}.test"
    if not binary.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        build = ["go", "test", "-c", "-tags=integration,release", "-o", str(binary), "./integration"]
        subprocess.run(build, cwd=sources, check=True)
    return binary, sources / "integration"
