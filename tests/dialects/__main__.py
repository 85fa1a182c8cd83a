"""`python -m tests.dialects [SUITE ...]`: run the suites of other clients against the gateway, and print how many of their cases pass.

The gateway has an engine that obeys (`obedient.py`). Exits with status 1 if a case fails without a reason in `reasons.py`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llava_gateway.engines.base import ModelInfo
from llava_gateway.settings import Settings
from tests.dialects.obedient import obey
from tests.dialects.reasons import REASONS
from tests.scripted_engine import ScriptedEngine
from tests.serving import served_in_thread

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache/dialects"
MODELS = ("gpt-6-astra", "text-embedding-3-small", "claude-opus-5-5", "model", "model_id")
"""The names that the suites use for models."""

OPTIONS = (
    *("-W", "ignore", "-p", "no:cacheprovider", "--asyncio-mode=auto"),
    *("-o", "addopts=", "-o", "xfail_strict=false", "-o", "asyncio_default_test_loop_scope=session"),
)
"""Of pytest; they replace those of each project."""


@dataclass(frozen=True)
class Suite:
    """A suite of pytest: its name and its files; `package`: the one in whose sources they are, "" for ours."""

    name: str
    files: tuple[str, ...]
    package: str = ""

    @property
    def folder(self) -> Path:
        return _sources(self.package) if self.package else HERE.parents[1]


SUITES = (
    Suite("langchain", ("tests/dialects/langchain_suite.py",)),
    Suite("pydantic-ai", ("tests/dialects/pydantic_ai_suite.py",)),
    Suite("llm", ("tests/dialects/llm_suite.py",)),
    Suite(
        "openai",
        tuple(
            f"tests/api_resources/{name}"
            for name in ("chat/test_completions.py", "test_embeddings.py", "test_models.py", "test_responses.py")
        ),
        "openai",
    ),
    Suite("anthropic", ("tests/api_resources/test_messages.py", "tests/api_resources/test_models.py"), "anthropic"),
)


@dataclass(frozen=True)
class Case:
    """A case of a suite; `fault` is the first line of its failure, or "" if it passed. A skipped case has a `skipped` reason."""

    suite: str
    name: str
    fault: str = ""
    skipped: str = ""

    @property
    def reason(self) -> str:
        """Why its failure is no fault of the gateway; "" if nobody knows."""
        told = f"{self.name}: {self.fault}"
        return next((reason for (suite, pattern), reason in REASONS.items() if suite == self.suite and re.search(pattern, told)), "")


def main() -> None:
    parser = argparse.ArgumentParser("tests.dialects", description="Runs the suites of other clients against the gateway.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"which: {', '.join(suite.name for suite in SUITES)}; default: all")
    wanted = parser.parse_args().suites
    suites = [suite for suite in SUITES if not wanted or suite.name in wanted]
    engine = ScriptedEngine(obey, name="openai", slots=4)
    engine.installed = tuple(ModelInfo(name, "openai", vision=True, context_length=32768) for name in MODELS)
    with served_in_thread(Settings(port=0), [engine]) as url:
        cases = [case for suite in suites for case in run(suite, url)]
    Console(width=160).print(table(suites, cases))
    unexplained = [case for case in cases if case.fault and not case.reason]
    for case in unexplained:
        print(f"{case.suite} {case.name}: {case.fault[:300]}")
    if unexplained:
        sys.exit(f"{len(unexplained)} cases failed.")


def run(suite: Suite, url: str) -> list[Case]:
    """Run one suite. Returns its cases. Raises RuntimeError if it did not run."""
    own = {"GATEWAY_URL": url, "GATEWAY_MODEL": "model", "TEST_API_BASE_URL": f"{url}/v1" if suite.package == "openai" else url}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *OPTIONS, *suite.files]
        environment = {**os.environ, **own, "PYTHONPATH": str(suite.folder)}
        done = subprocess.run(command, cwd=suite.folder, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"the suite {suite.name} did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return [_case(suite.name, found) for found in ET.parse(report).iter("testcase")]  # noqa: S314 - pytest wrote it


def _case(suite: str, found: ET.Element) -> Case:
    name = f"{found.get('classname', '').rpartition('.')[2]}.{found.get('name')}"
    for kind in ("failure", "error"):
        if (fault := found.find(kind)) is not None:
            return Case(suite, name, fault=" ".join((fault.get("message") or "failed").split()))
    skipped = found.find("skipped")
    return Case(suite, name) if skipped is None else Case(suite, name, skipped=skipped.get("message") or "skipped")


def table(suites: Sequence[Suite], cases: Sequence[Case]) -> Table:
    found = Table("suite", "pass", "fail for a reason", "fail", "do not apply", title="The suites of other clients")
    for suite in suites:
        own = [case for case in cases if case.suite == suite.name]
        failed = [case for case in own if case.fault]
        explained, skipped = sum(bool(case.reason) for case in failed), sum(bool(case.skipped) for case in own)
        figures = (len(own) - len(failed) - skipped, explained, len(failed) - explained, skipped)
        found.add_row(suite.name, *map(str, figures))
    return found


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


if __name__ == "__main__":
    main()
