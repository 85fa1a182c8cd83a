"""The installed package is complete and the same everywhere: the wheel has its data, the lock files name versions with hashes and no
addresses.
"""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from llava_gateway import __version__

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[1]
CONSTRAINTS = REPOSITORY / "constraints"
LOCKS = ("run", "dev", "dialects", "bench")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def locked(name: str) -> dict[str, set[str]]:
    """Return {package: its pins}; a package has several if the newest one does not support our oldest Python."""
    pins: dict[str, set[str]] = {}
    for package, pin in re.findall(r"^([a-z0-9._-]+)==(.+?) \\$", (CONSTRAINTS / f"{name}.txt").read_text("utf-8"), re.MULTILINE):
        pins.setdefault(package, set()).add(pin)
    return pins


def package(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower().replace("_", "-")


def build_wheel(project: Path, folder: Path) -> Path:
    return Path(next(WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(REPOSITORY, tmp_path_factory.mktemp("wheel"))


def metadata(wheel: Path) -> Message:
    """Return the metadata of the package that an index shows."""
    with zipfile.ZipFile(wheel) as inside:
        name = next(name for name in inside.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(inside.read(name))


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as inside:
        return set(inside.namelist())


def test_the_wheel_has_what_runs_without_the_checkout(wheel: Path) -> None:
    inside = contents(wheel)
    package_files = {
        path.relative_to(REPOSITORY / "src").as_posix()
        for path in (REPOSITORY / "src" / "llava_gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside >= package_files
    data = ("demo/demo.gguf", "demo/demo-mmproj.gguf", "presets.toml", "vision.toml", "modelfiles/llava-7b-ocr", "py.typed")
    assert inside >= {f"llava_gateway/{name}" for name in data}
    assert not {name for name in inside if not name.startswith(("llava_gateway/", f"llava_gateway-{__version__}.dist-info/"))}


def test_the_source_package_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = next(SdistBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(source) as packed:
        packed.extractall(tmp_path, filter="data")
    unpacked = tmp_path / f"llava_gateway-{__version__}"
    assert contents(build_wheel(unpacked, tmp_path)) == contents(wheel)
    there = {path.name for path in unpacked.iterdir()}
    assert there >= {"tests", "docs", "examples", "constraints", "Makefile", "LICENSE", "CHANGELOG.md", "README.md"}
    assert not there & {".venv", ".cache", ".git", "build", "dist"}


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    assert metadata(wheel)["Version"] == __version__
    assert "version" not in PROJECT["project"]
    written = [path for path in (REPOSITORY / "src").rglob("*.py") if f'"{__version__}"' in path.read_text("utf-8")]
    assert written == [REPOSITORY / "src/llava_gateway/__init__.py"]
    assert re.search(rf"^## \[({re.escape(__version__)}|Unreleased)\]", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)


def test_the_licences_of_all_that_is_inside_are_in_the_wheel(wheel: Path) -> None:
    inside = contents(wheel)
    licences = metadata(wheel).get_all("License-File", [])
    assert inside >= {f"llava_gateway-{__version__}.dist-info/licenses/{name}" for name in licences}
    assert "LICENSE" in licences
    for folder in {path.parent for path in (REPOSITORY / "src").rglob("*LICENSE*")}:
        named = {path.relative_to(REPOSITORY).as_posix() for path in folder.glob("*LICENSE*")}
        assert named <= set(licences)


@pytest.mark.parametrize("repository", [None, "someone/llava_gateway"])
def test_nothing_that_an_index_shows_leads_nowhere(repository: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    if repository:
        monkeypatch.setenv("GITHUB_REPOSITORY", repository)
    shown = metadata(build_wheel(REPOSITORY, tmp_path))
    text = shown.get_payload()
    assert isinstance(text, str)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [target for target in targets if not target.startswith(("http://", "https://"))] == []
    assert "## Changes" in text
    urls = dict(url.split(", ") for url in shown.get_all("Project-URL", []))
    if repository:
        assert urls["Issues"] == "https://github.com/someone/llava_gateway/issues"
        own = [target.split("/HEAD/")[1] for target in [*targets, *urls.values()] if "/HEAD/" in target]
        assert len(own) > 10
        assert [path for path in own if not (REPOSITORY / path.partition("#")[0]).exists()] == []
    else:
        assert not urls
        assert "](http" in text, "links to other places are left"
        assert "![" not in text
        assert "中文" not in text, "nor are there words that were nothing but a link"


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_hashes_and_no_addresses(name: str) -> None:
    text = (CONSTRAINTS / f"{name}.txt").read_text("utf-8")
    assert "://" not in text
    for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9._-]+==\S+[^\n]* \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry[:80]


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_all_that_the_project_asks_for(name: str) -> None:
    extras = ["embedded"] if name == "run" else ["embedded", *dict.fromkeys(("dev", name))]
    optional = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], *(r for extra in extras for r in optional[extra])]
    assert {package(requirement) for requirement in asked} <= set(locked(name))


@pytest.mark.parametrize("name", ["dev", "dialects", "bench"])
def test_all_locks_fit_into_one_environment(name: str) -> None:
    run, other = locked("run"), locked(name)
    assert {package: other.get(package) for package in run} == run
