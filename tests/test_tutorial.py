"""The tutorial's commands, run in order in one shell against a gateway with the demo model; each prints the output shown below it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_gateway.settings import Settings
from tests.cli.program import environment
from tests.conftest import there
from tests.serving import served_in_thread

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]
TUTORIALS = ("docs/tutorial.md", "docs/tutorial.zh-CN.md")
NOT_RUN = {"make run", 'make run ARGS="--engine embedded"', "ollama pull llava:7b"}
"""The test starts the server itself; tests/test_installing.py covers `make run`."""


def blocks(tutorial: str) -> list[tuple[str, str]]:
    """Return (commands, their output), in order."""
    found = re.findall(r"```sh\n(.*?)```(?:(?:(?!```sh).)*?```text\n(.*?)```)?", (ROOT / tutorial).read_text("utf-8"), re.DOTALL)
    return [(commands, printed) for commands, printed in found if commands.strip() not in NOT_RUN]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_in_thread(Settings(port=0, engine="embedded")) as address:
        yield address


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_every_command_prints_what_stands_below_it(tutorial: str, url: str) -> None:
    there(Path(found) if (found := shutil.which("curl")) else None, "there is no curl to run the tutorial's lines with")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = environment(LLAVA_GATEWAY_URL=url, PATH=path)
    assert len(blocks(tutorial)) == 8
    for commands, expected in blocks(tutorial):
        script = "set -e\n" + commands.replace("PATH=$PWD/.venv/bin:$PATH\n", "").replace("http://127.0.0.1:8000", url)
        done = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, env=variables, timeout=60, check=False)
        assert done.returncode == 0, f"{commands}\n{done.stderr}"
        assert expected, f"{commands} has nothing below it"
        if "…" in expected:
            assert matches(expected, done.stdout), f"{commands} printed {done.stdout}"
        else:
            assert done.stdout == expected, commands


def matches(expected: str, printed: str) -> bool:
    """Return whether the output matches; in `expected`, line breaks are free and … stands for left-out text."""
    pieces = expected.replace("\n", "").split("…")
    return re.fullmatch(".*?".join(map(re.escape, pieces)), printed.strip(), re.DOTALL) is not None


def test_what_is_left_out_is_all_that_may_differ() -> None:
    assert matches('{"id":"…",\n"a":1…\n', '{"id":"x","a":1}\n')
    assert not matches('{"id":"…",\n"a":1…\n', '{"id":"x","a":2}\n')


def test_both_tutorials_run_the_same_commands() -> None:
    def shape(tutorial: str) -> list[str]:
        words = re.compile(r"prompt='[^']*'|\"[^\"]*\"$", re.MULTILINE)
        return [words.sub("", commands) for commands, _ in blocks(tutorial)]

    assert shape(TUTORIALS[0]) == shape(TUTORIALS[1])
