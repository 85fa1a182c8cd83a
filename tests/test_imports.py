"""The import linter rejects a bad import in any module, even in new ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "llava_gateway"
ALLOWED = {
    "fastapi": ("api.*",),
    "starlette": ("api.*",),
    "uvicorn": ("api.*",),
    "PIL": ("images.*", "cli.sample_images", "cli.odd_images"),
    "pillow_heif": ("images.*", "cli.sample_images", "cli.odd_images"),
    "ollama": ("engines.ollama_library",),
    "httpx": ("engines.ollama_library",),
    "xllamacpp": ("engines.llama_child",),
    "mcp": ("api.mcp.server",),
    "mcp_types": ("api.mcp.server",),
    "aiohttp": (),
    "httptools": ("engines.http",),
    "httpx2": ("engines.upstream", "cli.client"),
    "typer": ("cli.*",),
    "rich": ("cli.*",),
    "prometheus_client": ("telemetry",),
    "pydantic": ("api.*", "cli.*", "engines.local_models", "settings"),
    "pydantic_settings": ("cli.*", "settings"),
}
"""The modules that may import a library. The packages themselves import none: each `__init__.py` has no code."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the package, and add a package that the linter's configuration does not name."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src" / PACKAGE, tmp_path / "src" / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "web", "*.gguf"))
    newcomer = tmp_path / "src" / PACKAGE / "newcomer"
    newcomer.mkdir()
    (newcomer / "__init__.py").touch()
    (newcomer / "module.py").touch()
    return tmp_path


def test_bad_imports_are_refused_in_every_module(copy: Path) -> None:
    modules = _append(copy, "".join(f"import {library}\n" for library in ALLOWED))
    expected = {
        (module, library)
        for module in modules
        for library, places in ALLOWED.items()
        if not any(fnmatchcase(module, f"{PACKAGE}.{place}") for place in places)
    }
    refused = {(module, library) for module, library in _refused(copy) if library in ALLOWED}
    assert refused == expected
    assert (f"{PACKAGE}.gateway.attachments", "fastapi") in expected
    assert (f"{PACKAGE}.newcomer.module", "PIL") in expected


def test_imports_against_the_order_are_refused(copy: Path) -> None:
    """Modules that the command line may import must not import the command line."""
    modules = _append(copy, f"import {PACKAGE}.cli\n")
    below = {module for module in modules if not re.match(rf"{PACKAGE}(\.(cli|__main__|newcomer)\b.*)?$", module)}
    assert {module for module, imported in _refused(copy) if imported == f"{PACKAGE}.cli"} == below


def test_a_module_without_a_place_in_the_order_is_refused(copy: Path) -> None:
    assert f"- {PACKAGE}.newcomer" in _lint(copy)


def _append(copy: Path, lines: str) -> list[str]:
    """Append lines to every file of the package. Returns the names of the modules."""
    modules = []
    for path in sorted((copy / "src").rglob("*.py")):
        path.write_text(f"{path.read_text('utf-8')}\n{lines}", "utf-8")
        modules.append(".".join(path.relative_to(copy / "src").with_suffix("").parts).removesuffix(".__init__"))
    return modules


def _refused(copy: Path) -> set[tuple[str, str]]:
    """Return (importer, imported) of each import that the linter rejects."""
    return set(re.findall(r"^-\s+(\S+) -> (\S+) \(l\.", _lint(copy), re.MULTILINE))


def _lint(copy: Path) -> str:
    """Return the linter's report about the copy, which it must reject."""
    linter = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "1000", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", linter], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout
