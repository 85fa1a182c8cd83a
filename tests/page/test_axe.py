"""Everyone can read the page: axe finds nothing against WCAG 2.2 A and AA in any state of it, and answers have the contrast of AAA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from llava_gateway.errors import ModelOutOfMemory
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.pdfs import pdf
from tests.scripted_engine import ScriptedEngine, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue")), "square.png")
ANSWER = """Both show a **circle**, see [the list](https://example.org/).

# What is in them

| picture | shape | width |
|---------|-------|------:|
| 1 | circle | 320 |
| 2 | circle | 320 |

1. the first
   - with a note

> as it was said

`code` and

```
a block of it
```
"""
AXE = Axe()
#: Waits for what moves and ends: dialogs and notes that appear. A pulse goes on for ever; what moved an element that went away is done.
SETTLED = """Promise.allSettled(document.getAnimations()
    .filter((moving) => moving.effect.getComputedTiming().endTime !== Infinity)
    .map((moving) => moving.finished))"""
WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}


async def faults(visitor: Visitor, options: Mapping[str, Any], part: str | None = None) -> list[str]:
    """What axe finds once nothing is half faded in (colours are read as they are painted); each as rule, element and explanation."""
    page = visitor.page
    await page.evaluate(SETTLED)
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.axe_script)
    found = await page.evaluate(
        "([part, options]) => axe.run(part ?? document, options)", [part, {"resultTypes": ["violations"], **options}]
    )
    return [
        f"{violation['id']}: {json.dumps(node['target'])} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    ("locale", "colours", "screen"),
    [("en-US", "light", DESKTOP), ("zh-CN", "dark", DESKTOP), ("zh-CN", "light", PHONE), ("en-US", "dark", PHONE)],
    ids=["en-light-desktop", "zh-dark-desktop", "zh-light-phone", "en-dark-phone"],
)
async def test_axe_finds_nothing(visit: Visit, scripted: Scripted, locale: str, colours: str, screen: dict[str, Any]) -> None:
    engine = ScriptedEngine(says(ANSWER), model_names=("first", "second"))
    served = await scripted(engine)
    visitor = await visit(served.url, locale=locale, color_scheme=colours, reduced_motion="reduce", **screen)  # nothing half faded in
    visitor.refused = {415, 502}
    page = visitor.page
    found: dict[str, list[str]] = {}

    async def look(state: str) -> None:
        found[state] = await faults(visitor, {"runOnly": WCAG})

    await expect(page.locator(".running")).to_be_visible()
    await look("first run")
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE, file(b"\xff\x0a\xfa\x1f", "photo.jxl", "image/jxl"))
    await visitor.prepared(2)
    await look("pictures attached, one refused")
    for opener in (page.locator(".compose-row [aria-haspopup=menu]"), page.locator(".chip [aria-haspopup=menu]").first):
        await opener.click()
        await expect(page.get_by_role("menu")).to_be_visible()
        await look(f"menu, {await opener.get_attribute('aria-label')}")
        await page.keyboard.press("Escape")
    await visitor.ask("What is in them?" if locale == "en-US" else "图中有什么？")
    engine.refusal = ModelOutOfMemory()
    await visitor.ask("?")
    await look("conversation with pictures, table and failure")
    enhanced = {"runOnly": {"type": "rule", "values": ["color-contrast-enhanced"]}}
    found["answer, AAA"] = await faults(visitor, enhanced, ".answer .words")
    await page.locator(".picture").first.click()
    await look("panel")
    await page.locator(".panel-picture").click()
    await look("lightbox")
    await page.locator(".lightbox-tools [aria-pressed]").click()
    await expect(page.locator(".region-box")).to_be_focused()
    await look("a part is picked")
    for _ in range(3):
        await page.keyboard.press("Escape")
    await expect(page.locator(".panel, .lightbox")).to_have_count(0)
    for place in (0, 1):
        await page.locator(".composer-line [aria-haspopup=dialog]").nth(place).click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await look(f"dialog {place}")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("Escape")
    await page.locator("h1, .asked").first.click()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await look("keyboard")
    await page.keyboard.press("Escape")
    if screen is PHONE:
        await page.locator(".sidebar-toggle").tap()
    await expect(page.locator(".session")).to_be_visible()
    await look("chats")
    assert {state: faults for state, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    ("locale", "colours", "screen"), [("zh-CN", "light", DESKTOP), ("en-US", "dark", PHONE)], ids=["zh-light-desktop", "en-dark-phone"]
)
async def test_axe_finds_nothing_in_what_opens(visit: Visit, scripted: Scripted, locale: str, colours: str, screen: dict[str, Any]) -> None:
    """Menus of answers and chats, what a model sees as large as the window, and what a search finds."""
    served = await scripted(ScriptedEngine(says(ANSWER)))
    visitor = await visit(served.url, locale=locale, color_scheme=colours, reduced_motion="reduce", **screen)
    page = visitor.page
    found: dict[str, list[str]] = {}

    async def look(state: str) -> None:
        found[state] = await faults(visitor, {"runOnly": WCAG})

    async def open_menu(at: str, state: str) -> None:
        await page.locator(at).last.hover()
        await page.locator(f"{at} [aria-haspopup=menu]").last.click()
        await expect(page.locator(":popover-open")).to_be_visible()
        await look(state)
        await page.keyboard.press("Escape")

    await visitor.pick(file(pdf(*["Page"] * 9), "report.pdf", "application/pdf"))
    await expect(page.locator("dialog.pages-sheet img")).to_have_count(9)
    for place in range(1, 8):
        await page.get_by_role("checkbox").nth(place).check()
    await expect(page.get_by_role("checkbox").last).to_be_disabled()
    await look("the pages of a document, as many as a question takes")
    await page.keyboard.press("Escape")
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await visitor.ask("One question")
    await open_menu(".turn", "an answer's menu")
    await page.locator(".picture").first.click()
    await page.locator(".panel-picture").click()
    await expect(page.locator("dialog.lightbox")).to_be_visible()
    await page.locator(".lightbox [aria-pressed=false]").first.click()
    await look("lightbox, as the model sees it")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    if screen is PHONE:
        await page.locator(".sidebar-toggle").tap()
    await open_menu(".session", "a chat's menu")
    await page.locator("#search-chats").fill("question")
    await expect(page.locator(".found")).to_be_visible()
    await look("what was found")
    assert {state: faults for state, faults in found.items() if faults} == {}
