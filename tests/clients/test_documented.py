"""The programs of docs/clients.md that need only packages of the tests, run unchanged against the demo model."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_gateway.settings import Settings
from tests.sample_images import encoded, shape
from tests.serving import served_in_thread

pytestmark = pytest.mark.real

TEXT = (Path(__file__).parents[2] / "docs/clients.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
NAMES = ("ollama", "openai", "anthropic")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_in_thread(Settings(port=0, engine="embedded")) as address:
        yield address


@pytest.mark.parametrize("name", NAMES)
def test_a_program_prints_an_answer(name: str, url: str, tmp_path: Path) -> None:
    program = next(program for program in PROGRAMS if re.search(rf"^(import|from) {name}\b", program, re.MULTILINE))
    assert "http://127.0.0.1:8000" in program
    (tmp_path / "photo.jpg").write_bytes(encoded(shape("circle", "red", size=(640, 480)), "JPEG"))
    own = program.replace("http://127.0.0.1:8000", url).replace("llava:7b", "demo")
    done = subprocess.run([sys.executable, "-c", own], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "red circle" in done.stdout, done.stderr
