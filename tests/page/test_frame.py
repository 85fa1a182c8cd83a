"""The page around the conversation: sessions, language, colours, small screens, keyboard, and what it says when the engine is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests import sample_images
from tests.page.visit import Scripted, Visit, drawn, file
from tests.scripted_engine import ScriptedEngine, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "a picture with a long name that has to end somewhere.png")
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WIDE = (
    "| one | two | three | four | five | six | seven | eight |\n|"
    + "---|" * 8
    + "\n|"
    + " a wide cell |" * 8
    + "\n\n```\n"
    + "x" * 300
    + "\n```\n"
)


async def test_the_language_follows_the_browser_and_can_be_switched(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, locale="zh-CN")
    html = visitor.page.locator("html")
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("给它看一张图片")
    await expect(html).to_have_attribute("lang", "zh-Hans")
    await visitor.page.get_by_role("button", name="EN", exact=True).click()
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Show it a picture")
    await expect(html).to_have_attribute("lang", "en")
    await visitor.page.reload()
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Show it a picture")


@pytest.mark.parametrize("system", ["light", "dark"])
async def test_colours_follow_the_system_and_can_be_switched(visit: Visit, demo_url: str, system: Any) -> None:
    visitor = await visit(demo_url, color_scheme=system)

    async def ground() -> int:
        colour: str = await visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").partition(",")[0])

    assert (await ground() < 60) is (system == "dark")
    other = "Light" if system == "dark" else "Dark"
    await visitor.page.get_by_role("button", name=other).click()
    assert (await ground() < 60) is (system == "light")
    await visitor.page.reload()
    assert (await ground() < 60) is (system == "light")
    await visitor.page.get_by_role("button", name="System", exact=True).click()
    assert (await ground() < 60) is (system == "dark")


async def test_a_phone_shows_all_without_scrolling_sideways(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says(WIDE)))
    visitor = await visit(served.url, **PHONE)
    page = visitor.page
    await visitor.fits()
    await visitor.pick(RED_CIRCLE, file(b"", "another name that is too long for a line of a phone.png"))
    await visitor.prepared()
    await visitor.fits()
    await visitor.ask("A-very-long-word-" * 12)
    await visitor.fits()
    await expect(page.locator(".words table")).to_be_visible()
    await page.get_by_role("button", name="Look at picture 1").click()
    await visitor.fits()
    await page.get_by_role("button", name="Close").click()
    for name in ("scripted", "Options"):
        await page.locator(".composer-line").get_by_role("button", name=name).click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await visitor.fits()
        await page.get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Show chats").tap()
    await expect(page.get_by_role("navigation", name="Chats")).to_be_visible()
    await visitor.fits()
    small = await page.evaluate(
        """() => ['.composer', '.composer-line', '.topbar', '.sidebar-head', '.session']
            .flatMap((part) => [...document.querySelectorAll(`${part} button`)])
            .map((button) => button.getBoundingClientRect())
            .filter((box) => box.width && (box.width < 40 || box.height < 40)).length"""
    )
    assert small == 0, "every button is large enough for a finger"


async def test_the_words_are_seen_whole_in_a_window_that_becomes_narrower_and_wider(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, viewport={"width": 1440, "height": 860})
    size = "(box) => ({ shown: box.clientHeight, whole: box.scrollHeight })"
    await visitor.words.fill("A question of many words. " * 8)
    wide = await visitor.words.evaluate(size)
    await visitor.page.set_viewport_size({"width": 360, "height": 860})
    await visitor.page.wait_for_function(f"(least) => ({size})(document.getElementById('words')).shown > least", arg=wide["shown"])
    narrow = await visitor.words.evaluate(size)
    assert narrow["shown"] == narrow["whole"]
    await visitor.page.set_viewport_size({"width": 1440, "height": 860})
    await visitor.page.wait_for_function(f"(shown) => ({size})(document.getElementById('words')).shown === shown", arg=wide["shown"])


async def test_sessions_are_listed_opened_renamed_and_deleted(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    page = visitor.page
    chats = page.get_by_role("navigation", name="Chats")
    await visitor.ask("First question")
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.ask("Second question")
    await expect(chats.get_by_role("link")).to_have_text(["Second question", "First question"])
    await chats.get_by_role("link", name="First question").click()
    await expect(visitor.turns).to_contain_text("First question")
    # The address leads back to it, Back to the one before, and another tab sees the same.
    await page.reload()
    await expect(visitor.turns).to_contain_text("First question")
    await page.go_back()
    await expect(visitor.turns).to_contain_text("Second question")

    row = chats.locator(".session", has_text="Second question")
    await row.hover()
    await row.get_by_role("button", name="More actions for Second question").click()
    await page.get_by_role("menuitem", name="Rename").click()
    await chats.get_by_role("textbox", name="Rename").fill("Another name")
    await page.keyboard.press("Enter")
    await expect(chats.get_by_role("link", name="Another name")).to_be_visible()
    assert (await served.client.get("/sessions")).json()["sessions"][0]["title"] == "Another name"

    row = chats.locator(".session", has_text="Another name")
    await row.hover()
    await row.get_by_role("button", name="More actions for Another name").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(chats.get_by_role("link")).to_have_count(1)
    await expect(visitor.turns).to_have_count(0)
    assert [s["title"] for s in (await served.client.get("/sessions")).json()["sessions"]] == ["First question"]


@pytest.mark.parametrize(
    ("locale", "cause", "way"),
    [
        ("en-US", "This chat is gone. The gateway was restarted", "Continue in a new chat"),
        ("zh-CN", "这个对话已不存在：网关重启过", "在新对话里继续"),
    ],
)
async def test_a_session_that_is_gone_is_said_to_be_in_words_of_the_page(
    visit: Visit, scripted: Scripted, locale: str, cause: str, way: str
) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url, path="/#session=" + "0" * 32, locale=locale)
    visitor.refused = {404}
    alert = visitor.page.get_by_role("alert")
    await expect(alert).to_contain_text(cause)
    await expect(alert).to_contain_text(way)
    await expect(alert).not_to_contain_text("POST")


async def test_the_page_says_when_the_engine_goes_and_when_another_answers(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(model_names=("small",))
    served = await scripted(engine)
    visitor = await visit(served.url)
    visitor.refused = {503}
    banner = visitor.page.locator(".banner")
    await expect(visitor.page.locator(".running")).to_contain_text("small answers")
    engine.up = False
    await expect(banner).to_contain_text("No engine can answer right now.")
    engine.installed = ScriptedEngine(model_names=("large",)).installed
    engine.up = True
    await expect(banner).to_contain_text("New chats are now answered by large.")
    await expect(visitor.page.locator(".running")).to_contain_text("large answers")
    await banner.get_by_role("button", name="Close").click()
    await expect(banner).to_have_count(0)


async def test_the_page_says_when_the_gateway_is_gone(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.offline = True
    await visitor.context.set_offline(True)
    await expect(visitor.page.locator(".banner")).to_contain_text("The gateway does not answer.")
    await visitor.context.set_offline(False)
    await expect(visitor.page.locator(".banner")).to_have_count(0)


async def test_a_question_sent_before_the_gateway_reported_what_it_can_do_is_sent_then(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await answer.wait()
        await route.continue_()

    await visitor.page.route("**/readyz", hold)
    await visitor.page.reload()
    await asked.wait()
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    await expect(visitor.words).to_have_value("Hi")
    answer.set()
    await expect(visitor.answer).to_have_text("Hello there.")
    await expect(visitor.words).to_have_value("")


async def test_the_key_is_asked_for_once_and_kept_for_the_tab(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(), api_key="s3cret")
    visitor = await visit(served.url)
    visitor.refused = {401}
    page = visitor.page
    dialog = page.get_by_role("dialog", name="API key needed")
    await dialog.get_by_label("API key", exact=True).fill("wrong")
    await page.keyboard.press("Enter")
    await expect(dialog).to_contain_text("This key is wrong")
    await dialog.get_by_label("API key", exact=True).fill("s3cret")
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)
    # Pictures too are fetched with it.
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Hi")
    await expect(visitor.answer).to_have_text("Hello there.")
    image = visitor.turns.locator("img")
    await drawn(image)
    assert await image.evaluate("(image) => image.src.startsWith('blob:')")
    await page.reload()
    await expect(visitor.answer).to_have_text("Hello there.")
    await expect(dialog).to_have_count(0)


async def test_everything_can_be_done_with_the_keyboard(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    page = visitor.page
    await visitor.words.blur()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("/")
    await expect(visitor.words).to_be_focused()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await expect(visitor.words).to_have_value("one\ntwo")
    # While an input method composes, Enter chooses a word and does not send.
    await visitor.words.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    await expect(visitor.turns).to_have_count(0)
    await page.keyboard.press("Enter")
    await expect(visitor.answer).to_have_text("Hello there.")
