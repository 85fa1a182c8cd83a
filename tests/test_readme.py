"""The curl lines of both READMEs, run unchanged in a shell against a server that the README's command starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pillow_heif import register_heif_opener

from tests.sample_images import encoded, shape

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


def curl_blocks() -> list[tuple[str, str]]:
    """Return (README's name, commands) of every block with curl."""
    blocks = []
    for name in READMES:
        found = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
        blocks += [(name, block) for block in found if "curl" in block]
    return blocks


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("curl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no curl")
        pytest.skip("there is no curl to run the READMEs' lines with")
    command = [sys.executable, "-m", "llava_gateway", "serve", "--engine", "embedded", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LLAVA_GATEWAY_", "OLLAMA_"))}
    environment["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("data"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as server:
        assert server.stdout is not None
        said = ""
        for line in server.stdout:
            said += line
            if found := ADDRESS.search(line):
                break
        assert found, said
        try:
            yield found[1]
        finally:
            server.terminate()
            server.communicate(timeout=60)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    register_heif_opener()
    red_circle = shape("circle", "red", size=(640, 480))
    photo = red_circle.resize((3200, 2400))
    photo.save(tmp_path / "photo.jpg", quality=100, subsampling=0)
    assert (tmp_path / "photo.jpg").stat().st_size > 2**18, "larger than what a command line may take"
    (tmp_path / "photo.heic").write_bytes(encoded(red_circle, "HEIF"))
    return tmp_path


@pytest.mark.parametrize(("readme", "commands"), curl_blocks(), ids=lambda value: value.split(" http")[0].splitlines()[0][:60])
def test_the_lines_answer(readme: str, commands: str, port: str, images: Path) -> None:
    assert "localhost:8000" in commands
    script = "set -e\n" + commands.replace("localhost:8000", f"localhost:{port}")
    done = subprocess.run(["sh", "-c", script], cwd=images, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert ("红色圆形" if readme.endswith("zh-CN.md") else "red circle") in done.stdout
    if "Accept" not in commands:
        assert json.loads(done.stdout)["finish_reason"] == "stop"


def test_a_readme_is_short_and_asks_three_times() -> None:
    text = {name: (ROOT / name).read_text("utf-8") for name in READMES}
    assert len(text["README.md"].split()) <= 700
    assert len(re.findall(r"[\u4e00-\u9fff]|[A-Za-z]+", text["README.zh-CN.md"])) <= 1100, "two characters are about a word"
    for name in READMES:
        assert [readme for readme, _ in curl_blocks()].count(name) == 3
        commands = re.findall(r"```sh\n(.*?)```", text[name], re.DOTALL)
        assert commands[:2] == ["make run\n", "make test\n"]


def test_the_screenshots_show_real_answers() -> None:
    """Checks the screenshots of scripts/demo_screenshots.py; the others have prepared answers."""
    for name in READMES:
        shown = re.findall(r"\]\(docs/screenshots/(\S+)\)", (ROOT / name).read_text("utf-8"))
        assert len(shown) == 4
        assert [image for image in shown if not image.startswith("demo-")] == []


def test_both_readmes_ask_the_same_things() -> None:
    def routes(name: str) -> list[list[str]]:
        return [re.findall(r"localhost:8000(\S*)", block) for readme, block in curl_blocks() if readme == name]

    assert routes(READMES[0]) == routes(READMES[1])
