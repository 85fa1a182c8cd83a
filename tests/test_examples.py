"""The programs in examples/, each run unchanged against a gateway with the demo model and a key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from llava_gateway.settings import Settings
from tests.conftest import there
from tests.sample_images import encoded, shape, words
from tests.serving import served_in_thread

pytestmark = pytest.mark.real

EXAMPLES = Path(__file__).parents[1] / "examples"
KEY = "the key of the examples"
RUNNERS = {".py": sys.executable, ".mjs": "node", ".sh": "sh"}
ASKING = ("ask.py", "ask.mjs", "ask.sh")
TALKING = ("session.py", "session.mjs", "session.sh")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_in_thread(Settings(port=0, engine="embedded", api_key=SecretStr(KEY))) as address:
        yield address


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(shape("circle", "red", size=(640, 480))))
    return path


def run(example: str, url: str, *arguments: str | Path, key: str = KEY) -> subprocess.CompletedProcess[str]:
    runner = shutil.which(RUNNERS[Path(example).suffix])
    program = there(Path(runner) if runner else None, f"there is nothing to run {example} with")
    if example.endswith(".sh"):
        there(Path(found) if (found := shutil.which("curl")) else None, "there is no curl")
    variables = {**os.environ, "LLAVA_GATEWAY_URL": url, "LLAVA_GATEWAY_API_KEY": key}
    return subprocess.run([program, EXAMPLES / example, *arguments], capture_output=True, text=True, env=variables, timeout=60, check=False)


@pytest.mark.parametrize("example", ASKING)
def test_an_answer_is_printed(example: str, url: str, photo: Path) -> None:
    done = run(example, url, photo, "What is in this image?")
    assert (done.returncode, done.stdout) == (0, "A red circle on a white background.\n"), done.stderr


@pytest.mark.parametrize("example", TALKING)
def test_later_questions_are_about_the_same_image(example: str, url: str, photo: Path) -> None:
    done = run(example, url, photo, "Describe this image.", "What color is the background?")
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "Describe this image.",
        "A red circle on a white background.",
        "What color is the background?",
        "The background is white.",
    ]


@pytest.mark.wording  # that it says something about the image
@pytest.mark.parametrize("example", [*ASKING, *TALKING])
def test_what_the_gateway_refuses_is_said_and_ends_with_a_status(example: str, url: str, tmp_path: Path, photo: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image at all", "utf-8")
    no_image = run(example, url, text, "Describe this image.")
    assert no_image.returncode != 0
    assert "image" in no_image.stdout + no_image.stderr
    assert run(example, url, photo, "Describe this image.", key="another").returncode != 0


def test_a_folder_becomes_a_table(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(shape("square", "blue", background="yellow")))
    (tmp_path / "b.png").write_bytes(encoded(words("F7")))
    done = run("folder_to_csv.py", url, tmp_path)
    assert (done.returncode, done.stdout) == (0, "file,background,shapes,text\na.png,yellow,blue square,\nb.png,white,,F7\n"), done.stderr
    (tmp_path / "c.png").write_text("no image", "utf-8")
    again = run("folder_to_csv.py", url, tmp_path)
    assert (again.returncode, again.stdout) == (1, done.stdout)
    assert again.stderr.startswith("c.png: ")


def test_all_examples_are_tested_and_described() -> None:
    programs = {path.name for path in EXAMPLES.iterdir() if path.suffix in RUNNERS}
    assert programs == {*ASKING, *TALKING, "folder_to_csv.py"}
    assert set(re.findall(r"\]\((\w+\.(?:py|mjs|sh))\)", (EXAMPLES / "README.md").read_text("utf-8"))) == programs
