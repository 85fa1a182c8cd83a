"""Fixtures for the tests of the commands: image files, and running gateways."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from llava_gateway.settings import Settings
from tests import sample_images
from tests.serving import served_in_thread
from tests.synthetic_llava import SyntheticPair, write_pair


@pytest.fixture(scope="session")
def demo_url() -> Iterator[str]:
    """Start a gateway with the demo model."""
    with served_in_thread(Settings(port=0, engine="embedded")) as url:
        yield url


@pytest.fixture(scope="session")
def endless_pair(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPair:
    return write_pair(tmp_path_factory.mktemp("endless"))


@pytest.fixture(scope="session")
def endless_url(endless_pair: SyntheticPair) -> Iterator[str]:
    """Start a gateway whose model answers ENDLESS until it is stopped."""
    with served_in_thread(Settings(port=0, gguf=endless_pair.gguf, mmproj=endless_pair.mmproj)) as url:
        yield url


@pytest.fixture
def without_embedded(tmp_path: Path) -> str:
    """Return the PYTHONPATH of a process that can't import the embedded engine's package, as without the extra `embedded`."""
    folder = tmp_path / "blocked"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['xllamacpp'] = None\n")
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


@pytest.fixture
def red_circle(tmp_path: Path) -> Path:
    path = tmp_path / "a red circle.png"
    path.write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    return path


@pytest.fixture
def blue_square(tmp_path: Path) -> Path:
    path = tmp_path / "blue.png"
    path.write_bytes(sample_images.encoded(sample_images.shape("square", "blue")))
    return path


@pytest.fixture
def rotated_letters(tmp_path: Path) -> Path:
    """Draw "F7" as a phone stores it: rotated a quarter turn to the left, with the EXIF orientation that corrects it."""
    stored = sample_images.words("F7").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.jpg"
    stored.save(path, quality=95, exif=exif)
    return path
