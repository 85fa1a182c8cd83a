"""The curl lines of both READMEs, run as they stand in a shell against a server started by the command they name."""

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

ROOT = Path(__file__).parents[1]
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


def curl_blocks() -> list[tuple[str, str]]:
    """(README's name, commands) of every block that asks with curl."""
    blocks = []
    for name in ("README.md", "README.zh-CN.md"):
        found = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
        blocks += [(name, block) for block in found if "curl" in block]
    return blocks


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    if shutil.which("curl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no curl")
        pytest.skip("there is no curl to run the READMEs' lines with")
    command = [sys.executable, "-m", "llava_gateway", "serve", "--engine", "embedded", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LLAVA_GATEWAY_", "OLLAMA_"))}
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
            server.communicate(timeout=15)


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
    done = subprocess.run(["sh", "-c", script], cwd=images, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    chinese = readme.endswith("zh-CN.md")
    if "/sessions" in commands:
        assert ("背景是白色。" if chinese else "The background is white.") in done.stdout
    else:
        assert ("红色圆形" if chinese else "red circle") in done.stdout
    if "Accept" not in commands and "/sessions" not in commands:
        assert json.loads(done.stdout)["finish_reason"] == "stop"


def test_both_readmes_ask_the_same_things() -> None:
    def routes(name: str) -> list[list[str]]:
        return [re.findall(r"localhost:8000(\S*)", block) for readme, block in curl_blocks() if readme == name]

    assert routes("README.md") == routes("README.zh-CN.md")
