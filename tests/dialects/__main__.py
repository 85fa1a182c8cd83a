"""`python -m tests.dialects [SUITE ...]`: run the suites of other clients against the gateway, and print how many of their cases pass.

The gateway has an engine that obeys (`obedient.py`). Exits with status 1 if a case fails without a reason in `reasons.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from llava_gateway.engines.base import ModelInfo
from llava_gateway.settings import Settings
from tests.dialects.cases import Case
from tests.dialects.obedient import obey
from tests.dialects.suites import SUITES, CannotRun, Suite
from tests.scripted_engine import ScriptedEngine
from tests.serving import served_in_thread

MODEL = "model"
NAMED = (
    *("gpt-6-astra", "text-embedding-3-small", "claude-opus-5-5", "model_id"),
    *("llama3.2:1b", "llama3.2:latest", "gemma2:2b", "qwen3.6:27b", "qwen3.5:2b", "gpt-oss:20b"),
    "deepseek-coder-v2:16b-lite-instruct-q2_K",
)
"""The names that the suites use for models, where they can't be told another one."""
SIZE = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser("tests.dialects", description="Runs the suites of other clients against the gateway.")
    names = [suite.name for suite in SUITES]
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"which: {', '.join(names)}; default: all")
    wanted = parser.parse_args().suites
    if unknown := set(wanted) - set(names):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    suites = [suite for suite in SUITES if not wanted or suite.name in wanted]
    with served_in_thread(Settings(port=0), [_engine()]) as url:
        cases = {suite.name: found for suite in suites if (found := _run(suite, url)) is not None}
    Console(width=160).print(table(cases))
    unexplained = [case for found in cases.values() for case in found if case.fault and not case.reason]
    for case in unexplained:
        print(f"{case.suite} {case.name}: {case.fault[:300]}")
    if unexplained:
        sys.exit(f"{len(unexplained)} cases failed.")


def _engine() -> ScriptedEngine:
    engine = ScriptedEngine(obey, name="openai", slots=4)
    engine.installed = tuple(
        ModelInfo(
            name,
            "openai",
            vision=True,
            context_length=32768,
            loaded=True,
            size_bytes=SIZE,
            family="llama",
            parameters="1B",
            quantization="Q4_0",
            memory_bytes=SIZE,
            gpu_bytes=SIZE,
            tools=True,
            modified=1.7e9,
        )
        for name in (MODEL, *NAMED)
    )
    return engine


def _run(suite: Suite, url: str) -> Sequence[Case] | None:
    try:
        return suite.run(url, MODEL)
    except CannotRun as reason:
        print(f"The suite {suite.name} does not run: {reason}.")
        return None


def table(cases: Mapping[str, Sequence[Case]]) -> Table:
    found = Table("suite", "pass", "fail for a reason", "fail", "do not apply", title="The suites of other clients")
    for suite, own in cases.items():
        failed = [case for case in own if case.fault]
        explained, skipped = sum(bool(case.reason) for case in failed), sum(bool(case.skipped) for case in own)
        figures = (len(own) - len(failed) - skipped, explained, len(failed) - explained, skipped)
        found.add_row(suite, *map(str, figures))
    return found


if __name__ == "__main__":
    main()
