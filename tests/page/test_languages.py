"""The page's languages: facts are told by codes and values, no words are missing, and another language is one new file."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from playwright.async_api import Route, expect

from llava_gateway import errors
from llava_gateway.built_in import built_in_presets
from llava_gateway.notes import SENTENCES, note
from llava_gateway.options import OPTION_LIMITS
from tests import sample_images
from tests.odd_images import exif
from tests.page.visit import Visit, Visitor, file

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPTS = Path(errors.__file__).parent / "web" / "js"
LANGUAGES = SCRIPTS / "i18n" / "languages.js"
CODES = {cls.code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.GatewayError)}
SOURCES = "".join(path.read_text("utf-8") for path in SCRIPTS.parents[1].rglob("*.py"))
CODES |= set(re.findall(r"\bcode=\"(\w+)\"", SOURCES))  # those of errors whose class has another one
# The finer reasons that some codes have, with their values.
SIZE = {"width": 5000, "height": 40}
REASONS: dict[str, dict[str, Any]] = {
    "frame_damaged": {"frame": 3},
    "image_cut_off": {},
    "image_cut_off_at": {"percent": 42},
    "image_cut_off_about": {"percent": 42},
    "file_image": {"name": "OpenEXR"},
    "file_sound": {},
    "file_document": {"name": "DjVu"},
    "file_archive": {"name": "RAR"},
    "raw_without_preview": {"least": 1000},
    "image_kind": {"format": "TIFF", "kind": "RGB, 4 bits per channel"},
    "image_short_side": {**SIZE, "least": 64},
    "image_long_side": {**SIZE, "most": 4000, "setting": "image_max_side"},
    "image_megapixels": {**SIZE, "most": 178.9, "format": "WEBP", "setting": "image_max_pixels_webp_gif"},
    "image_megapixels_progressive": {**SIZE, "most": 64, "setting": "image_max_pixels"},
    "image_memory": {},
    "image_aspect": {**SIZE, "most": 100, "setting": "image_max_aspect"},
    "modelfile_role": {"line": 3, "role": "nobody"},
    "modelfile_name_and_value": {"line": 3, "instruction": "PARAMETER"},
    "modelfile_quote": {"line": 3},
    "modelfile_from": {"line": 3},
    "modelfile_instruction": {"line": 3, "word": "FORM", "known": ["FROM", "SYSTEM"]},
    "modelfile_value": {"line": 3, "instruction": "SYSTEM"},
    "modelfile_whole_number": {"line": 3, "name": "num_ctx", "value": "many"},
    "modelfile_number": {"line": 3, "name": "top_p", "value": "most"},
    "modelfile_boolean": {"line": 3, "name": "penalize_newline", "value": "maybe"},
    "modelfile_parameter": {"line": 3, "name": "heat", "known": ["seed", "top_k"]},
    "modelfile_no_from": {},
    "proxy_without_scheme": {},
    "proxy_not_trusted": {},
    "proxy_without_host": {},
    "model_not_found": {"model": "llava:7b"},
    "model_lacks_vision": {"model": "llava:7b"},
    "session_model_gone": {"model": "llava:7b"},
}
# What notes have whose sentence is made by a function, and what others have that their sentence does not say.
VALUES: dict[str, dict[str, Any]] = {
    "encoded": {"bytes": 700},
    "context_trimmed": {"turns": 2, "images": 1, "summarised": 0},
    "model_reload": {"reason": "model_not_loaded", "model": "llava:7b"},
    "option_changed": {"option": "num_ctx", "new": 8192},
    "num_visual_tokens_adjusted": {"wanted": 100},
    **{
        code: {"engine": "ollama", "model": "llava:7b"}
        for code in ("default_only_one", "default_loaded", "default_installed", "default_smallest")
    },
}
EXPLAINED = """
async (failures) => {
  const [{ Failure }, { explained }] = await Promise.all(['api', 'failures'].map((name) => import(`/static/js/${name}.js`)));
  const plain = (words) => words.flat().map(String).join('');
  return failures.map(({ code, ...what }) => Object.values(explained(new Failure(code, what))).map(plain));
}
"""
SAID = "async (notes) => { const { said } = await import('/static/js/notes.js'); return notes.map(said); }"
TOKENS = """
async (counts) => {
  const { t } = await import('/static/js/i18n.js');
  return counts.map((count) => t('picture.tokens', { count }));
}
"""
POLISH = """
export const tag = 'pl';
export const label = 'PL';
export const name = 'Polski';
export const between = ' ';
export const words = {
  'empty.title': 'Pokaż obraz',
  'picture.tokens': { one: '{count} token', few: '{count} tokeny', many: '{count} tokenów', other: '{count} tokenu' },
};
export const notes = {
  rotated: 'Obrócono o {degrees} stopni.',
  shrunk: 'Zmniejszono z {from_width} × {from_height} do {width} × {height}.',
};
export const failures = { unsupported_image_media_type: { cause: 'To nie jest obraz.', next: 'Wybierz inny plik.' } };
export const options = { seed: 'Ziarno losowości.' };
export const presets = {};
"""


def wire(code: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A note as the gateway sends it."""
    made = note(code, **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    return {"code": code, "message": made.text, "values": made.to_json()["values"]}


async def languages(visitor: Visitor) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = await visitor.page.evaluate(
        """async () => {
            const { LANGUAGES } = await import('/static/js/i18n/languages.js');
            return Object.fromEntries(Object.entries(LANGUAGES).map(([code, language]) => [code, { ...language }]));
        }"""
    )
    return found


def forms(words: str | dict[str, str]) -> list[str]:
    return [words] if isinstance(words, str) else list(words.values())


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


async def test_all_languages_have_the_same_words(visit: Visit, demo_url: str) -> None:
    known = await languages(await visit(demo_url))
    english = known["en"]
    assert len(known) > 1
    for code, language in known.items():
        assert {name: type(part) for name, part in language.items()} == {name: type(part) for name, part in english.items()}, code
        assert set(language["words"]) == set(english["words"]), code
        for key, words in language["words"].items():
            meant = places(forms(english["words"][key])[-1])
            for form in forms(words):
                assert places(form) in (meant, meant - {"count"}), (code, key)  # a single one need not be counted
                assert not re.search(r"[!！]", form), (code, key)
    sources = "".join(path.read_text("utf-8") for path in SCRIPTS.rglob("*.js"))
    used = set(re.findall(r"(?:\bt|rich)\('([\w.]+)'|'((?:shortcut|phase)\.\w+)'", sources))
    assert {key for pair in used for key in pair if key} <= set(english["words"])


async def test_chinese_has_words_for_all_that_the_gateway_says(visit: Visit, demo_url: str) -> None:
    chinese = (await languages(await visit(demo_url)))["zh"]
    assert set(SENTENCES) == set(chinese["notes"])
    assert CODES | set(REASONS) <= set(chinese["failures"])
    for code in CODES:
        assert set(chinese["failures"][code]) == {"cause", "next"}, code
    assert set(chinese["options"]) == set(OPTION_LIMITS)
    assert set(chinese["presets"]) == set(built_in_presets())


async def test_no_language_has_words_that_nothing_needs(visit: Visit, demo_url: str) -> None:
    english, chinese = (await languages(await visit(demo_url))).values()
    assert set(english["notes"]) <= set(SENTENCES)
    assert set(english["failures"]) <= set(chinese["failures"])
    scripts = "".join(path.read_text("utf-8") for path in SCRIPTS.rglob("*.js") if "i18n" not in path.parts)
    said = set(re.findall(r"[\"']([\w.]+)[\"']", SOURCES + scripts + (SCRIPTS.parent / "index.html").read_text("utf-8")))
    families = tuple(re.findall(r"`((?:\w+\.)+)\$\{", scripts))  # keys that end in a value
    assert {key for key in chinese["failures"] if key not in said} == set()
    assert {key for key in english["words"] if key not in said and not key.startswith(families)} == set()


@pytest.mark.wording
async def test_the_values_of_a_note_are_those_that_its_words_need(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, locale="zh-CN")
    notes = []
    for code, said in SENTENCES.items():
        named = set() if callable(said) else {name for _, name, _, _ in Formatter().parse(said) if name}
        notes.append({**wire(code, {**dict.fromkeys(named, 7), **VALUES.get(code, {})}), "message": "?"})
    words = dict(zip(SENTENCES, await visitor.page.evaluate(SAID, notes), strict=True))
    assert {code: said for code, said in words.items() if re.search(r"[?{}]|undefined|NaN", said)} == {}


@pytest.mark.wording
async def test_notes_are_said_with_figures_as_the_page_shows_them(visit: Visit, demo_url: str) -> None:
    from_to = {"from_width": 8000, "from_height": 6000, "width": 336, "height": 336}
    told: list[tuple[dict[str, Any], str, str]] = [
        (wire("shrunk", from_to), "Shrunk from 8000 × 6000 to 336 × 336.", "从 8000 × 6000 缩小到 336 × 336。"),
        (wire("tokens", {"tokens": 2880, "label": "exact"}), "2,880 tokens, exact.", "2,880 个词元，精确。"),
        (
            wire("region", {"x": 0.25, "y": 0.5, "width": 99, "height": 80}),
            "Cut out 99 × 80 pixels at 25% from the left and 50% from the top.",
            "截取 99 × 80 像素的局部，距左 25%，距上 50%。",
        ),
        (
            wire("encoded", {"format": "PNG", "count": 5, "bytes": 123_456, "kilobytes": 123.456}),
            "Encoded as PNG: 5 files of 123 kB.",
            "编码为 PNG，5 个文件，共 123 kB。",
        ),
        (
            wire("encoded", {"format": "PNG", "count": 1, "bytes": 700, "kilobytes": 0.7}),
            "Encoded as PNG: 1 file of 700 B.",
            "编码为 PNG，1 个文件，共 700 B。",
        ),
        (
            wire("sight_ignored", {"fields": ["detail", "region"]}),
            "Ignored detail or region: the question has no picture.",
            "detail或region 不起作用：这个问题没有图片。",
        ),
        (
            wire("model_reload", {"reason": "option_changed", "option": "num_ctx", "old": 4096, "new": 8192, "last_load_ms": 1500.0}),
            "num_ctx changes from 4096 to 8192, so the model is reloaded. The last load took 1.5 s.",
            "num_ctx 从 4,096 改为 8,192，需要重新加载模型。上次加载用了 1.5 s。",
        ),
        (
            wire("model_reload", {"reason": "model_not_loaded", "model": "llava"}),
            "llava is not loaded yet.",
            "llava 还没有加载。",
        ),
        (
            wire("context_trimmed", {"turns": 0, "images": 1, "summarised": 1}),
            "The context was full. From here on the model no longer sees 1 picture. A summary by the model takes its place.",
            "上下文已满。从这里起，模型看不到1 张图片了。由模型写的摘要代替。",
        ),
        # A newer gateway may know more, and an imported session may have less.
        (
            {"code": "constructor", "message": "Said by a newer gateway.", "values": {}},
            "Said by a newer gateway.",
            "Said by a newer gateway.",
        ),
        (
            {"code": "rotated_by_hand", "message": "Rotated ? degrees by hand.", "values": {}},
            "Rotated ? degrees by hand.",
            "Rotated ? degrees by hand.",
        ),
        ({"code": "context_trimmed", "message": "Dropped ?.", "values": {}}, "Dropped ?.", "Dropped ?."),
    ]
    for locale, at in (("en-US", 1), ("zh-CN", 2)):
        visitor = await visit(demo_url, locale=locale)
        assert await visitor.page.evaluate(SAID, [sent for sent, *_ in told]) == [one[at] for one in told]


async def test_errors_are_explained_by_reason_then_by_code(visit: Visit, demo_url: str) -> None:
    gateway: dict[str, Any] = {"message": "A cause.", "hint": "A way."}
    told: list[tuple[dict[str, Any], str]] = [
        (
            {"code": "image_too_large", "reason": "image_long_side", "values": REASONS["image_long_side"]},
            "图片有 5000 × 40 像素，长边最多 4,000 像素。",
        ),
        (
            {"code": "image_too_large", "reason": "image_aspect", "values": REASONS["image_aspect"]},
            "图片有 5000 × 40 像素，长边最多是短边的 100 倍。",
        ),
        ({"code": "image_too_large", "reason": "image_of_a_newer_gateway"}, "图片的像素太多。"),
        ({"code": "image_too_large", "reason": "image_long_side", "values": {}}, "图片的像素太多。"),
        (
            {"code": "invalid_modelfile", "reason": "modelfile_instruction", "values": REASONS["modelfile_instruction"]},
            "第 3 行：没有“FORM”这个指令，可用的有 FROM或SYSTEM。",
        ),
        ({"code": "model_not_found", "values": {"model": "llava"}}, "没有引擎提供模型 llava。"),
        ({"code": "model_not_found"}, "没有引擎提供这个模型。"),
        ({"code": "__proto__"}, "A cause."),
    ]
    chinese = await visit(demo_url, locale="zh-CN")
    said = await chinese.page.evaluate(EXPLAINED, [{**gateway, **failure} for failure, _ in told])
    assert [cause for cause, _ in said] == [words for _, words in told]
    assert [way for _, way in said][:2] == [
        "请缩小图片、只截取一部分，或在设置里调大 image_max_side。",
        "请分成几部分发送，或在设置里调大 image_max_aspect。",
    ]
    assert said[-1] == ["A cause.", "A way."]
    # All that have words of their own find them, with their values in them.
    reasons = [{**gateway, "code": "invalid_request", "reason": reason, "values": values} for reason, values in REASONS.items()]
    causes = [cause for cause, _ in await chinese.page.evaluate(EXPLAINED, reasons)]
    assert [cause for cause in causes if re.search(r"[{}]|A cause|没能读懂", cause)] == []
    assert len(set(causes)) == len(REASONS)
    # In English the gateway speaks for itself, but where a person needs other words.
    english = await visit(demo_url)
    failures = [failure for failure, _ in told] + [{"code": "session_not_found"}]
    said = await english.page.evaluate(EXPLAINED, [{**gateway, **failure} for failure in failures])
    assert said[:-1] == [["A cause.", "A way."]] * len(told)
    assert "This chat is gone" in said[-1][0]
    # What went wrong in the page has no sentence of the gateway.
    assert await english.page.evaluate(
        EXPLAINED, [{"code": "of_no_kind"}, {"code": "image_file_too_large", "values": {"bytes": 30_000_000, "most_bytes": 20_000_000}}]
    ) == [
        ["Something went wrong in this page.", "Reload it and try again."],
        ["The file is 30 MB. The limit is 20 MB.", "Export it as JPEG or make it smaller."],
    ]


async def test_another_language_is_one_new_file(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, locale="pl-PL")
    page = visitor.page
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    registry = LANGUAGES.read_text("utf-8")
    registry = registry.replace("import * as zh from './zh.js';", "import * as zh from './zh.js';\nimport * as pl from './pl.js';")
    registry = registry.replace("{ en, zh }", "{ en, zh, pl }")

    async def give(route: Route) -> None:
        body = POLISH if route.request.url.endswith("/pl.js") else registry
        await route.fulfill(body=body, content_type="text/javascript")

    async def unbundled(route: Route) -> None:
        await route.fulfill(body="import '../js/main.js';", content_type="text/javascript")

    await page.route(re.compile(r"/i18n/(pl|languages)\.js$"), give)
    await page.route("**/built/page.js*", unbundled)
    visitor.refused = {415}
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "pl")
    await expect(page.get_by_role("button", name="PL", exact=True)).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Pokaż obraz")
    await expect(visitor.words).to_have_attribute("placeholder", "Ask about a picture")
    # What the gateway did to a picture, and why it refused another; in the gateway's words where the language has none.
    data = io.BytesIO()
    sample_images.shape("circle", "red", size=(320, 240)).save(data, "JPEG", exif=exif(3))
    await visitor.pick(file(data.getvalue(), "phone.jpg", "image/jpeg"), file(b"none", "none.bin", "image/png"))
    await visitor.prepared()
    await expect(visitor.chips.first.locator(".chip-changes")).to_contain_text("Obrócono o 180 stopni.")
    await expect(visitor.chips.last).to_contain_text("To nie jest obraz.")
    await expect(visitor.chips.last).to_contain_text("Wybierz inny plik.")
    await expect(visitor.chips.first).to_contain_text("64 tokeny")
    await visitor.page.get_by_role("button", name="Look at picture 1").click()
    await expect(page.locator(".steps li").filter(has_text="Zmniejszono")).to_have_text("Zmniejszono z 320 × 240 do 112 × 84.")
    await expect(page.locator(".steps li").last).to_have_text("64 tokens, exact.")
    # As the language counts and writes numbers.
    counted = await page.evaluate(TOKENS, [1, 3, 5, 12345])
    assert counted == ["1 token", "3 tokeny", "5 tokenów", "12\u00a0345 tokenów"]
    # It is kept as others are.
    await page.get_by_role("button", name="中文").click()
    await expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")


async def test_the_first_language_that_a_person_reads_is_chosen(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    read = "Object.defineProperty(navigator, 'languages', { get: () => ['fr-CA', 'zh-TW', 'en'] });"
    await visitor.page.add_init_script(read)
    await visitor.page.reload()
    await expect(visitor.page.locator("html")).to_have_attribute("lang", "zh-Hans")


async def test_only_the_languages_themselves_name_one(visit: Visit, demo_url: str) -> None:
    known = await languages(await visit(demo_url))
    named = {re.escape(name) for code, language in known.items() for name in (code, *(language[part] for part in ("tag", "label", "name")))}
    mention = re.compile(rf"['\"`/](?:{'|'.join(sorted(named))})['\"`.\-]|\b(?:English|Chinese)\b|中文")
    sources = {path: path.read_text("utf-8") for path in SCRIPTS.rglob("*.js")}
    found = {path.relative_to(SCRIPTS).as_posix(): mention.findall(text) for path, text in sources.items() if mention.search(text)}
    assert set(found) == {"i18n/languages.js", *(f"i18n/{code}.js" for code in known)}, found
