"""The page's files: libraries are as published, text can be read, nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from llava_gateway import errors
from tests.page.visit import Visit

WEB = Path(errors.__file__).parent / "web"
SOURCES = sorted([*WEB.glob("js/**/*.js"), *WEB.glob("css/*.css"), WEB / "index.html"])
VENDORED: list[dict[str, Any]] = json.loads((WEB / "vendor" / "vendored.json").read_text("utf-8"))["libraries"]
# What style sheets say and the browser makes nothing of: rules that its parser drops, declarations that it does not know, and rules that
# stand in other rules because a brace is missing. Only what is for other browsers may be lost on this one.
LOST = r"""
(sheets) => Object.entries(sheets).flatMap(([name, source]) => {
  const lost = [];
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(source);
  const kept = [];
  const walk = (rules, around) => {
    for (const rule of rules) {
      kept.push(rule.cssText.slice(0, rule.cssText.indexOf('{')).trim());
      if (around instanceof CSSStyleRule) lost.push(`${name}: ${kept.at(-1)} stands in ${around.selectorText}`);
      walk(rule.cssRules ?? [], rule);
    }
  };
  walk(sheet.cssRules, null);
  const said = source.replace(/\/\*.*?\*\//gs, '');
  const heads = [...said.matchAll(/[^{};]+(?=\{)/g)].map(([head]) => head.trim().replace(/\s+/g, ' ').replace(/^from$/, '0%'));
  const ours = heads.filter((head) => !head.includes('::-moz-'));
  if (ours.length !== kept.length) lost.push(`${name}: no rule for ${ours.filter((head) => !kept.includes(head))}`);
  for (const [, property, value] of said.matchAll(/([\w-]+): ([^;{}]+?)(?: !important)?;/g)) {
    if (!CSS.supports(property, value)) lost.push(`${name}: ${property}: ${value}`);
  }
  return lost;
})
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("library", VENDORED, ids=lambda library: library["file"])
def test_a_library_is_the_published_file_but_for_the_changes_named(library: dict[str, Any]) -> None:
    data = (WEB / "vendor" / library["file"]).read_bytes()
    assert sha256(data) == library["sha256"]
    for before, after in reversed(library["changes"]):
        data = data.replace(after.encode(), before.encode())
    assert sha256(data) == library["sha256_in_package"]
    assert {"name", "version", "licence", "package", "path"} <= set(library)


def test_the_types_checked_are_those_of_the_same_versions() -> None:
    checked = json.loads((Path(__file__).parent / "types" / "package.json").read_text("utf-8"))["devDependencies"]
    shipped = {library["name"]: library["version"] for library in VENDORED}
    assert {name: shipped.get(name) for name in checked if name != "typescript"} == {n: v for n, v in checked.items() if n != "typescript"}


def test_every_file_beside_the_libraries_is_named() -> None:
    named = {library["file"] for library in VENDORED}
    others = {path.name for path in (WEB / "vendor").iterdir()} - named
    assert others == {"vendored.json", "LICENSES.txt"} | {name for name in others if name.endswith(".LICENSE.txt")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(WEB).as_posix())
def test_our_own_files_fetch_nothing_from_elsewhere_and_run_nothing_inline(source: Path) -> None:
    text = source.read_text("utf-8")
    addresses = re.findall(r"https?://[^\s'\"`)]+", text)
    assert [address for address in addresses if not address.startswith(("http://www.w3.org/", "http://127.0.0.1"))] == []
    assert not re.search(r"innerHTML|dangerouslySet|\beval\(|new Function|document\.write|<script>|style=\"|\son[a-z]+=\"", text)
    for path in re.findall(r"(?:from|import) '(\.[^']+)'", text):
        assert (source.parent / path).is_file(), path
    for path in re.findall(r"(?:src|href)=\"static/([^\"?]+)(?:\?v=\w+)?\"", text):
        assert (WEB / path).is_file(), path


@pytest.mark.asyncio(loop_scope="session")
async def test_the_browser_takes_every_rule_of_the_style_sheets(visit: Visit, demo_url: str) -> None:
    sheets = {path.name: path.read_text("utf-8") for path in SOURCES if path.suffix == ".css"}
    visitor = await visit(demo_url)
    shown = re.findall(r'@import "./([^"]+)"', sheets.pop("page.css"))
    assert sorted(shown) == sorted(sheets)
    assert await visitor.page.evaluate(LOST, sheets) == []
    broken = {"broken.css": ".a {\n  colour: red;\n}\n}\n\n.b {\n  opacity: 0.5;\n}\n\n.c {\n.d {\n  opacity: 1;\n}\n}\n"}
    assert await visitor.page.evaluate(LOST, broken) == [
        "broken.css: & .d stands in .c",
        "broken.css: no rule for .b,.d",
        "broken.css: colour: red",
    ]


def test_every_value_of_the_styles_is_used_and_every_export_imported() -> None:
    texts = {path: path.read_text("utf-8") for path in SOURCES}
    everything = "".join(texts.values())
    given = set(re.findall(r"(--[\w-]+)(?=:|')", everything))
    assert given == set(re.findall(r"var\((--[\w-]+)", everything))
    for path, text in texts.items():
        others = "".join(other for at, other in texts.items() if at != path)
        for name in re.findall(r"^export (?:async )?(?:function\*?|const|class) (\w+)", text, re.MULTILINE):
            assert re.search(rf"\b{name}\b", others), f"{name} is exported from {path.name} for nobody"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2.2, 1.4.3."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "grounds", "least"),
    [
        ("text", ("ground", "surface", "raised"), 7),
        ("text-quiet", ("ground", "surface", "raised", "sunken", "hover", "accent-soft", "wrong-soft"), 4.5),
        ("text-faint", ("raised", "sunken"), 4.5),
        ("accent", ("ground", "raised", "surface"), 4.5),
        ("on-accent", ("accent", "accent-strong"), 4.5),
        ("wrong", ("ground", "wrong-soft"), 4.5),
        ("care", ("raised", "care-soft"), 4.5),
    ],
)
def test_text_can_be_read_on_its_ground(text: str, grounds: tuple[str, ...], least: float, scheme: int) -> None:
    css = (WEB / "css" / "tokens.css").read_text("utf-8")
    tokens = {name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", css)}
    for ground in grounds:
        assert contrast(tokens[text][scheme], tokens[ground][scheme]) >= least, ground
