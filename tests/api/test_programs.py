"""The programs and samples of docs/api.md, run and compared with the description."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from llava_gateway.settings import Settings
from tests import sample_images
from tests.api.described import Described, events_in
from tests.conftest import there
from tests.serving import served_in_thread

KEY = "s3cret"
WORDS = "A red circle on a white background."
DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


@pytest.fixture(scope="module")
def guarded_url() -> Iterator[str]:
    with served_in_thread(Settings(port=0, engine="embedded", api_key=KEY)) as url:
        yield url


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Return the command that runs the program in the language of the test's parameter."""
    language = request.param
    (text,) = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    path = tmp_path / ("ask.py" if language == "python" else "ask.mjs")
    path.write_text(text, "utf-8")
    if language == "python":
        return [sys.executable, "-W", "error", str(path)]
    found = shutil.which("node")
    return [str(there(Path(found) if found else None, "there is no Node.js to run the program of docs/api.md with")), str(path)]


LANGUAGES = pytest.mark.parametrize("program", ["python", "javascript"], indirect=True)


def run(program: list[str], url: str, key: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    image = tmp_path / "circle.png"
    image.write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    environment = {**os.environ, "LLAVA_GATEWAY_URL": url, "LLAVA_GATEWAY_API_KEY": key}
    command = [*program, str(image), "Describe this image."]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@LANGUAGES
def test_a_documented_program_asks(program: list[str], guarded_url: str, tmp_path: Path) -> None:
    done = run(program, guarded_url, KEY, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (f"{WORDS}\n", "", 0)


@LANGUAGES
def test_a_documented_program_says_what_was_refused(program: list[str], guarded_url: str, tmp_path: Path) -> None:
    done = run(program, guarded_url, "wrong", tmp_path)
    assert (done.stdout, done.returncode) == ("", 1)
    assert "invalid_api_key: " in done.stderr


@LANGUAGES
def test_a_documented_program_needs_no_key_where_there_is_none(program: list[str], demo_url: str, tmp_path: Path) -> None:
    done = run(program, demo_url, "", tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (f"{WORDS}\n", "", 0)


def test_the_sample_of_the_event_stream_is_as_described(demo_url: str) -> None:
    described = Described(httpx2.get(f"{demo_url}/openapi.json", trust_env=False).json())
    (sample,) = re.findall(r"```\n(event: .*?)```", DOCS, re.DOTALL)
    whole, done = sample.split("event: done\n")
    events = events_in(whole)
    assert [name for name, _ in events] == ["queued", "loading", "progress", "delta", "delta"]
    for name, data in events:
        described.validate({"event": name, "data": data}, {"$ref": "#/components/schemas/AnswerEvent"})
    content = re.search(r'"content":("[^"]*")', done)
    assert content
    assert json.loads(content[1]) == "".join(data["text"] for name, data in events if name == "delta")


def test_statuses_are_all_in_the_table(demo_url: str) -> None:
    """The table of statuses contains all statuses of the table of errors and of the description."""
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", DOCS.partition("## Errors")[2], re.MULTILINE)
    listed = {status for row in rows if "," in row for status in row.split(", ")}
    errors = {row for row in rows if "," not in row}
    description = httpx2.get(f"{demo_url}/openapi.json", trust_env=False).json()
    good = {status for item in description["paths"].values() for operation in item.values() for status in operation["responses"]}
    assert (errors | good) - {"4XX", "5XX", "431"} <= listed
