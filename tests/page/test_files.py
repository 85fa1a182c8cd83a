"""The page's files: libraries are as published, words exist in both languages, text can be read, nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from llava_gateway import errors
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.settings import built_in_presets
from tests.page.visit import Visit

WEB = Path(errors.__file__).parent / "web"
SOURCES = sorted([*WEB.glob("js/**/*.js"), *WEB.glob("css/*.css"), WEB / "index.html"])
VENDORED: list[dict[str, Any]] = json.loads((WEB / "vendor" / "vendored.json").read_text("utf-8"))["libraries"]
NEVER_SHOWN = {"client_stalled", "invalid_request", "internal_error"}
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
    for path in re.findall(r"(?:src|href)=\"static/([^\"]+)\"", text):
        assert (WEB / path).is_file(), path


@pytest.mark.asyncio(loop_scope="session")
async def test_both_languages_have_the_same_words(visit: Visit, demo_url: str) -> None:
    known = {cls.code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.GatewayError)}
    visitor = await visit(demo_url, locale="zh-CN")
    en, zh, untold, options, presets = await visitor.page.evaluate(
        """async (codes) => {
            const names = ['i18n/en', 'i18n/zh', 'api', 'failures'];
            const [en, zh, { Failure }, { explained }] = await Promise.all(names.map((name) => import(`/static/js/${name}.js`)));
            const words = (code) => Object.values(explained(new Failure(code, { message: 'A cause.', hint: 'A way.' }))).join();
            const untold = codes.filter((code) => /A cause|A way/.test(words(code)));
            return [en.default, zh.default, untold, Object.keys(zh.OPTIONS), Object.keys(zh.PRESETS)];
        }""",
        list(known),
    )
    assert set(en) == set(zh)
    for key, words in en.items():
        forms = [words] if isinstance(words, str) else list(words.values())
        one, *_, other = [set(re.findall(r"\{\w+\}", form)) for form in (forms[0], *forms)]
        assert other == set(re.findall(r"\{\w+\}", zh[key])), key
        assert one in (other, other - {"{count}"}), key  # a single one need not be counted
        assert not re.search(r"[!！]", "".join(forms) + zh[key]), key
    used = set(re.findall(r"(?:\bt|rich)\('([\w.]+)'|'((?:shortcut|phase)\.\w+)'", "".join(path.read_text("utf-8") for path in SOURCES)))
    assert {key for pair in used for key in pair if key} <= set(en)
    assert set(untold) <= NEVER_SHOWN
    assert set(options) == set(OPTION_LIMITS)
    assert set(presets) == set(built_in_presets())


@pytest.mark.asyncio(loop_scope="session")
async def test_what_was_done_to_a_picture_is_said_in_chinese(visit: Visit, demo_url: str) -> None:
    """Every sentence of images/ has its words."""
    source = "".join((WEB.parent / "images" / name).read_text("utf-8") for name in ("resize.py", "decode.py", "colour.py", "ingest.py"))
    sentences = [
        *re.findall(r"Image\.Transpose\.\w+, \"([^\"]+)\"", source),
        *re.findall(r"^[A-Z_]+ = \"([a-z][a-z ]+)\"$", source, re.MULTILINE),
        *re.findall(r"facts\.append\(\"([^\"]+)\"\)", source),
        *re.findall(r"\"((?:first|main) [a-z ]+)\"", source),
        "16-bit to 8-bit",
        "32-bit to 8-bit, stretched to the full range",
        "colour profile Display P3 to sRGB",
        "CMYK to sRGB",
        "HEIC to JPEG",
        "turned 90 degrees by hand",
        "contact sheet of 3 pictures",
        "shrunk from 8000x6000 to 4000x3000",
        "enlarged from 9x9 to 32x32",
    ]
    assert len(sentences) > 18
    visitor = await visit(demo_url, locale="zh-CN")
    said = await visitor.page.evaluate(
        """async (sentences) => {
            const { described } = await import('/static/js/images/changes.js');
            return sentences.map((sentence) => described([sentence]));
        }""",
        sentences,
    )
    assert [sentence for sentence, words in zip(sentences, said, strict=True) if words == sentence] == []


@pytest.mark.asyncio(loop_scope="session")
async def test_every_step_to_a_model_is_said_in_chinese(visit: Visit, demo_url: str) -> None:
    source = (WEB.parent / "images" / "steps.py").read_text("utf-8")
    codes = set(re.findall(r"^        \(\"(\w+)\", r\"|Step\(\s*\"(\w+)\"", source, re.MULTILINE))
    visitor = await visit(demo_url)
    words = await visitor.page.evaluate("async () => Object.keys((await import('/static/js/i18n/zh.js')).STEPS)")
    assert {name for pair in codes for name in pair if name} | {"stretched", "shrunk", "enlarged"} == set(words)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_browser_takes_every_rule_of_the_style_sheets(visit: Visit, demo_url: str) -> None:
    sheets = {path.name: path.read_text("utf-8") for path in SOURCES if path.suffix == ".css"}
    visitor = await visit(demo_url)
    shown = await visitor.page.evaluate("[...document.styleSheets].map((sheet) => sheet.href.split('/').at(-1))")
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
    """WCAG 2.2, 1.4.3."""

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
