"""What is installed is whole and the same everywhere: the wheel has its data, the lock files name versions with hashes and no addresses."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

REPOSITORY = Path(__file__).parents[1]
CONSTRAINTS = REPOSITORY / "constraints"
LOCKS = ("run", "dev", "bench")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def locked(name: str) -> dict[str, set[str]]:
    """{package: its pins}; a package has several where the newest one no longer runs on our oldest Python."""
    pins: dict[str, set[str]] = {}
    for package, pin in re.findall(r"^([a-z0-9._-]+)==(.+?) \\$", (CONSTRAINTS / f"{name}.txt").read_text("utf-8"), re.MULTILINE):
        pins.setdefault(package, set()).add(pin)
    return pins


def package(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower().replace("_", "-")


def test_the_wheel_has_what_runs_without_the_checkout(tmp_path: Path) -> None:
    wheel = next(WheelBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"]))
    inside = set(zipfile.ZipFile(wheel).namelist())
    package_files = {
        path.relative_to(REPOSITORY / "src").as_posix()
        for path in (REPOSITORY / "src" / "llava_gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside >= package_files
    data = ("demo/demo.gguf", "demo/demo-mmproj.gguf", "presets.toml", "vision.toml", "modelfiles/llava-7b-ocr", "py.typed")
    assert inside >= {f"llava_gateway/{name}" for name in data}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_hashes_and_no_addresses(name: str) -> None:
    text = (CONSTRAINTS / f"{name}.txt").read_text("utf-8")
    assert "://" not in text
    for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9._-]+==\S+[^\n]* \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry[:80]


@pytest.mark.parametrize(("name", "extras"), [("run", ["embedded"]), ("dev", ["embedded", "dev"]), ("bench", ["embedded", "dev", "bench"])])
def test_locks_hold_all_that_the_project_asks_for(name: str, extras: list[str]) -> None:
    optional = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], *(r for extra in extras for r in optional[extra])]
    assert {package(requirement) for requirement in asked} <= set(locked(name))


@pytest.mark.parametrize("name", ["dev", "bench"])
def test_all_locks_fit_into_one_environment(name: str) -> None:
    run, other = locked("run"), locked(name)
    assert {package: other.get(package) for package in run} == run
