"""The docs match the code: tables, links, settings files, setting names."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])
FOLDERS = ("src", "tests", "docs", "benchmarks", "scripts", "demo-model", "configs", "Modelfiles", "examples", "skills", ".github")
NOT_HERE = {"session.md", "gateway.toml"}
"""A file that the gateway writes for a client, and one that a reader writes."""


@pytest.mark.wording  # the table of errors contains their sentences
def test_tables_of_settings_options_and_errors_are_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts/docs_tables.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.real
def test_images_show_what_the_code_does() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts/docs_images.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_image_is_on_a_page() -> None:
    images = list((ROOT / "docs/images").glob("*.webp"))
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    assert [image.name for image in images if f"](images/{image.name})" not in pages] == []
    assert 0 < sum(image.stat().st_size for image in images) < 600_000


def test_every_screenshot_is_on_the_page_about_the_page() -> None:
    screenshots = sorted((ROOT / "docs/screenshots").iterdir())
    page = (ROOT / "docs/page.md").read_text("utf-8")
    assert [screenshot.name for screenshot in screenshots if f"](screenshots/{screenshot.name})" not in page] == []
    for look in ("en-light-1440", "zh-dark-1440", "zh-light-360", "en-dark-360"):
        assert len([screenshot for screenshot in screenshots if look in screenshot.name]) >= 13
    assert sum(screenshot.stat().st_size for screenshot in screenshots) < 2_000_000


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(page for page in pages if f"]({page})" not in index) == []


def test_every_command_of_the_program_is_described() -> None:
    from llava_gateway.cli.main import app

    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [str(group.name) for group in app.registered_groups]
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    assert len(names) >= 8
    assert [name for name in names if f"llava-gateway {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target, anchor in re.findall(r"\]\(([^)#\s:]*\.md|)#([^)\s]+)\)", page.read_text("utf-8")):
        headings = re.findall(r"^#+ (.*)$", (page.parent / target if target else page).read_text("utf-8"), re.MULTILINE)
        assert anchor in {_anchor(heading) for heading in headings}, f"{page.name} links to {target}#{anchor}"


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives the heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_architecture_names_only_files_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    components = text.partition("## Components")[2].partition("## One request")[0]
    src = ROOT / "src/llava_gateway"
    for cell in re.findall(r"^\| (`[^|]+) \|", components, re.MULTILINE):
        names = re.findall(r"[\w./*-]+", cell.replace("`", "").replace(",", " "))
        folder = names[0].rpartition("/")[0] if not names[0].endswith("/") else ""
        for name in names:
            path = name if "/" in name or not folder else f"{folder}/{name}"
            assert list(src.glob(path.rstrip("/"))), f"docs/architecture.md names {path}"


def test_comments_and_pages_name_only_files_that_exist() -> None:
    files = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path.name for path in ROOT.iterdir() if path.is_file()]
    ends = {path.split("/", start)[-1] for path in files for start in range(path.count("/") + 1)}
    named = {(path.name, name) for path in _written() for name in _names(path)}
    assert len(named) > 100
    assert sorted((page, name) for page, name in named if name not in ends | NOT_HERE) == []


def _written() -> Iterator[Path]:
    """Yield the pages and code files of the project, without vendored ones."""
    yield from PAGES
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".js", ".css", ".toml", ".sh"} and not {"vendor", "node_modules"} & set(path.parts):
                yield path


def _names(path: Path) -> set[str]:
    """Return the files that a page, or the comments and docstrings of a code file, name; except those in web addresses."""
    text = re.sub(r"https?://\S+", "", _prose(path))
    return {name.lstrip("./") for name in re.findall(r"(?<![\w*/.-])(?:\.\./)*[\w-][\w./-]*\.(?:md|py|toml|sh)\b", text)}


def _prose(path: Path) -> str:
    text = path.read_text("utf-8")
    match path.suffix:
        case ".md":
            return text
        case ".py":
            docstrings = [
                node.value.value
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            ]
            comments = [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT]
            return "\n".join(map(str, [*docstrings, *comments]))
        case ".js" | ".css":
            return "\n".join(re.findall(r"/\*.*?\*/|(?<!:)//[^\n]*", text, re.DOTALL))
        case _:
            return "\n".join(re.findall(r"#.*", text))
