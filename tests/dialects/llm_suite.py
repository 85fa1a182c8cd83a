"""The `llm` command with llm-ollama: its list of models, images, schemas, and a conversation that goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sample_images import encoded, shape

MODEL = f"ollama/{os.environ['GATEWAY_MODEL']}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(encoded(shape("circle", "red", size=(640, 480)), "JPEG"))
    return tmp_path


def llm(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "OLLAMA_HOST": os.environ["GATEWAY_URL"], "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_models_are_listed(folder: Path) -> None:
    assert f"Ollama: {MODEL}" in llm(folder, "models", "list")


def test_an_image_and_a_conversation(folder: Path) -> None:
    assert "There is an image" in llm(folder, "-m", MODEL, "What is this?", "-a", "photo.jpg")
    assert "There is an image" in llm(folder, "-m", MODEL, "-c", "And now?")


def test_a_schema(folder: Path) -> None:
    assert '"name"' in llm(folder, "-m", MODEL, "--schema", "name str, count int", "Call it 'circle'; there are 7.")


def test_no_stream(folder: Path) -> None:
    assert "Hello" in llm(folder, "-m", MODEL, "--no-stream", "Say hello.")
