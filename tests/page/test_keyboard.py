"""The whole job with the keyboard alone, and what screen readers hear of it: focus is never lost, answers come in whole sentences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import FileChooser, expect

from llava_gateway.chat import EngineEvent, EngineRequest, TextDelta
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import END, ScriptedEngine, says_then_waits

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue")), "square.png")
FOCUSED = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText.trim()"
HEARD = """
window.heard = [];
const region = document.querySelector('[role=status].for-readers');
const listener = new MutationObserver(() => region.textContent && window.heard.push(region.textContent));
listener.observe(region, { childList: true, characterData: true, subtree: true });
"""
STOPS = 90


async def reach(visitor: Visitor, name: str, key: str = "Tab") -> None:
    """Go with Tab (or Shift+Tab) to the control of this name."""
    passed: list[str] = []
    for _ in range(STOPS):
        await visitor.page.keyboard.press(key)
        passed.append(await visitor.page.evaluate(FOCUSED))
        if passed[-1].startswith(name):
            return
    raise AssertionError(f"{key} does not lead to {name!r} but through {passed}")


async def test_a_picture_is_asked_about_looked_at_and_the_chat_put_in_order(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    press = page.keyboard.press
    choosing: asyncio.Future[FileChooser] = asyncio.get_running_loop().create_future()
    page.on("filechooser", lambda chooser: choosing.set_result(chooser))
    await expect(visitor.words).to_be_focused()
    await reach(visitor, "Add pictures", "Shift+Tab")
    await press("Enter")
    await expect(page.get_by_role("menuitem", name="Choose files")).to_be_focused()
    await press("Enter")
    await (await choosing).set_files([RED_CIRCLE, BLUE_SQUARE])
    await expect(visitor.words).to_be_focused()
    await visitor.prepared(2)
    await reach(visitor, "Remove square.png", "Shift+Tab")
    await press("Enter")
    await visitor.prepared(1)
    await press("/")
    await page.keyboard.type("What is in this image?")
    await reach(visitor, "Send")
    await press("Space")
    await expect(visitor.answer).to_contain_text("red circle")
    await visitor.ended()
    await expect(visitor.words).to_be_focused()
    # The picture, its panel, and back where it was.
    await reach(visitor, "Look at picture 1", "Shift+Tab")
    await press("Enter")
    await expect(page.get_by_role("complementary", name="Picture")).to_be_visible()
    await press("Escape")
    await expect(page.get_by_role("button", name="Look at picture 1")).to_be_focused()
    # The model and the options.
    for opener, dialog in (("demo", "Model"), ("Options", "Options")):
        await reach(visitor, opener)
        await press("Enter")
        await expect(page.get_by_role("dialog", name=dialog)).to_be_visible()
        assert await page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
        await press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert (await page.evaluate(FOCUSED)).startswith(opener)
    # Its chat gets another name, and goes.
    title = "What is in this image?"
    await reach(visitor, f"More actions for {title}")
    await press("Enter")
    await expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await press("Enter")
    await press("Control+a")
    await page.keyboard.type("A circle")
    await press("Enter")
    await reach(visitor, "A circle")
    await reach(visitor, "More actions for A circle")
    await press("Enter")
    await expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        await press(key)
    await expect(visitor.turns).to_have_count(0)
    # The language and the colours.
    await reach(visitor, "中文", "Shift+Tab")
    await press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("给它看一张图片")
    await reach(visitor, "深色")
    await press("Space")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_tab_goes_through_the_page_as_it_is_read(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.page.evaluate("document.activeElement.blur()")
    before = ("New chat", "中文", "Look at picture 1", "Remove circle.png")
    for name in (*before, "Add pictures", "Ask about a picture", "Send", "demo", "Options"):
        await reach(visitor, name)
    assert await visitor.page.locator("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").count() == 0


async def test_every_key_of_the_list_is_listed_in_both_languages(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.words.blur()
    await visitor.page.keyboard.press("?")
    dialog = visitor.page.get_by_role("dialog", name="Keyboard shortcuts")
    keys = await dialog.locator("dt").all_inner_texts()
    assert {"Enter", "Shift Enter", "Esc", "/", "Ctrl V", "← →", "?"} <= {" ".join(key.split()) for key in keys}
    await visitor.page.keyboard.press("Escape")
    await visitor.page.get_by_role("button", name="中文").click()
    await visitor.page.keyboard.press("?")
    await expect(visitor.page.get_by_role("dialog", name="键盘").locator("dt")).to_have_text(keys)


async def test_an_answer_is_spoken_in_sentences_some_seconds_apart(visit: Visit, scripted: Scripted) -> None:
    written, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in ("There are ", "**two** ", "shapes.", " The [first](https://example.org/) is a ", "cir"):
            yield TextDelta(word)
        written.set()
        await go_on.wait()
        yield TextDelta("cle.\n\n| a | b |\n|---|---|\n| 1 | 2 |")
        yield END

    served = await scripted(ScriptedEngine(slowly))
    visitor = await visit(served.url)
    await visitor.page.clock.install()
    await visitor.page.evaluate(HEARD)
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    await written.wait()
    await visitor.page.clock.run_for(2000)
    await expect(visitor.answer).to_have_text("There are two shapes. The first is a cir")
    heard = await visitor.page.evaluate("window.heard")
    assert heard == ["Sent, waiting for the first word"]
    await visitor.page.clock.run_for(2000)
    go_on.set()
    await visitor.ended()
    assert await visitor.page.evaluate("window.heard") == [*heard, "There are two shapes.", "The first is a circle. a b 1 2"]


async def test_a_stopped_answer_is_said_to_be(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says_then_waits("One")))
    visitor = await visit(served.url)
    await visitor.page.evaluate(HEARD)
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    await expect(visitor.answer).to_have_text("One")
    await visitor.page.keyboard.press("Escape")
    await visitor.ended()
    assert await visitor.page.evaluate("window.heard") == ["Sent, waiting for the first word", "Stopped."]


async def test_nothing_moves_under_reduced_motion(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says_then_waits("One")))
    moving = {}
    for wish in ("reduce", "no-preference"):
        visitor = await visit(served.url, reduced_motion=wish)
        await visitor.words.fill("Hi")
        await visitor.words.press("Enter")
        await expect(visitor.page.locator(".phase")).to_be_visible()
        await visitor.page.keyboard.press("Tab")
        await visitor.page.get_by_role("button", name="Options").click()
        moving[wish] = await visitor.page.evaluate("document.getAnimations().length")
        await visitor.page.keyboard.press("Escape")
        await visitor.page.keyboard.press("Escape")
    assert moving["reduce"] == 0 < moving["no-preference"]


async def test_who_goes_on_before_a_change_is_drawn_keeps_the_focus(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    focused = await visitor.page.evaluate(
        """async () => {
            const remove = document.querySelector('[aria-label="Remove square.png"]');
            remove.focus();
            remove.click();
            document.getElementById('words').focus();
            for (let frames = 3; frames; frames--) await new Promise(requestAnimationFrame);
            return document.activeElement.id;
        }"""
    )
    assert focused == "words"
    await expect(visitor.chips).to_have_count(1)
