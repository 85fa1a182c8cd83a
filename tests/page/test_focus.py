"""Where the focus goes when what has it goes away: never to nowhere; and a finger brings no keyboard onto the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from playwright.async_api import Locator, Route, expect

from llava_gateway.chat import EngineEvent, EngineRequest, TextDelta
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import END, ScriptedEngine, says_then_waits

pytestmark = pytest.mark.asyncio(loop_scope="session")

WIDE_IMAGE = file(sample_images.encoded(sample_images.shape("circle", "red").resize((200, 100))), "wide.png")
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


async def press(button: Locator) -> None:
    """Press the button with the keyboard."""
    await button.focus()
    await button.press("Enter")


async def choose(visitor: Visitor, menu: Locator, name: str) -> None:
    """Choose in a menu, with the keyboard."""
    await press(menu)
    await expect(visitor.page.get_by_role("menuitem").first).to_be_focused()
    await press(visitor.page.get_by_role("menuitem", name=name))


async def begin(visitor: Visitor) -> Locator:
    """Ask a question. Returns the button that stops the answer."""
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    return visitor.page.get_by_role("button", name="Stop")


async def test_it_goes_from_the_stop_button_to_the_words_when_the_answer_is_stopped_and_when_it_ends(
    visit: Visit, scripted: Scripted
) -> None:
    go_on = asyncio.Event()

    async def one_that_ends(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        await go_on.wait()
        yield TextDelta("One")
        yield END

    engine = ScriptedEngine(says_then_waits("One"))
    served = await scripted(engine)
    visitor = await visit(served.url)
    await press(await begin(visitor))
    await visitor.ended()
    await expect(visitor.words).to_be_focused()
    engine.script = one_that_ends
    await (await begin(visitor)).focus()
    go_on.set()
    await visitor.ended()
    await expect(visitor.words).to_be_focused()


async def test_a_finger_on_the_stop_button_brings_no_keyboard(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says_then_waits("One")))
    visitor = await visit(served.url, **PHONE)
    stop = await begin(visitor)
    await expect(visitor.words).to_be_focused()
    await stop.tap()
    await visitor.ended()
    await visitor.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    assert await visitor.page.evaluate("document.activeElement.id") != "words"


async def test_it_goes_to_the_words_from_a_question_that_is_asked_again_and_one_that_is_changed_no_longer(
    visit: Visit, scripted: Scripted
) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("Hi")
    await press(visitor.turns.get_by_role("button", name="Ask again"))
    await expect(visitor.page.locator(".branches")).to_have_text("2/2")
    await expect(visitor.words).to_be_focused()
    await press(visitor.turns.get_by_role("button", name="Edit the question"))
    await expect(visitor.words).to_be_focused()
    await press(visitor.page.get_by_role("button", name="Cancel editing"))
    await expect(visitor.page.locator(".changing")).to_have_count(0)
    await expect(visitor.words).to_be_focused()


async def test_it_stays_on_the_menu_of_a_picture_that_is_rotated(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(WIDE_IMAGE)
    await visitor.prepared()
    asked: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await visitor.page.route("**/rotate*", lambda route: asked.set_result(route))
    menu = visitor.chips.get_by_role("button", name="More actions for wide.png")
    await choose(visitor, menu, "Rotate right")
    turning = await asked
    # Meanwhile it is there and does not open.
    await expect(visitor.chips).to_have_attribute("data-state", "preparing")
    await expect(menu).to_be_focused()
    await expect(menu).to_be_disabled()
    await visitor.page.keyboard.press("Enter")
    await expect(visitor.page.get_by_role("menu")).to_have_count(0)
    await turning.continue_()
    await visitor.prepared()
    await expect(visitor.chips).to_contain_text("100 × 200")
    await expect(menu).to_be_focused()
    await visitor.page.keyboard.press("Enter")
    await expect(visitor.page.get_by_role("menu")).to_be_visible()


async def test_it_stays_with_a_picture_that_is_uploaded_again(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.offline = True
    await visitor.context.set_offline(True)
    await visitor.pick(WIDE_IMAGE)
    again = visitor.chips.get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    await visitor.context.set_offline(False)
    await press(again)
    await visitor.prepared()
    await expect(visitor.chips.get_by_role("button", name="Look at picture 1")).to_be_focused()


async def test_it_goes_from_a_chat_that_is_renamed_or_deleted_to_its_row_or_the_next(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    page = visitor.page
    chats = page.get_by_role("navigation", name="Chats")
    for question in ("first", "second", "third"):
        await page.get_by_role("button", name="New chat").first.click()
        await visitor.ask(question)
    await expect(chats.get_by_role("link")).to_have_text(["third", "second", "first"])
    await choose(visitor, chats.get_by_role("button", name="More actions for first"), "Rename")
    await page.keyboard.press("Escape")
    await expect(chats.get_by_role("link", name="first")).to_be_focused()
    await choose(visitor, chats.get_by_role("button", name="More actions for first"), "Rename")
    await page.keyboard.type("other")
    await page.keyboard.press("Enter")
    await expect(chats.get_by_role("link", name="other")).to_be_focused()
    for title, neighbour in (("second", "other"), ("other", "third")):
        await choose(visitor, chats.get_by_role("button", name=f"More actions for {title}"), "Delete")
        await expect(chats.get_by_role("link", name=title)).to_have_count(0)
        await expect(chats.get_by_role("link", name=neighbour)).to_be_focused()
    await choose(visitor, chats.get_by_role("button", name="More actions for third"), "Delete")
    await expect(chats.get_by_role("link")).to_have_count(0)
    await expect(chats.get_by_role("button", name="New chat")).to_be_focused()
    await press(page.get_by_role("button", name="Undo").last)
    await expect(chats.get_by_role("link", name="third")).to_be_visible()
    await expect(visitor.words).to_be_focused()


async def test_it_goes_into_the_list_of_chats_and_back(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    page = visitor.page
    show, hide = page.get_by_role("button", name="Show chats"), page.locator(".sidebar").get_by_role("button", name="Hide chats")
    await visitor.ask("Hi")
    await press(hide)
    await expect(show).to_be_focused()
    await press(show)
    await expect(hide).to_be_focused()
    # As a drawer it lies over the page, which can't be reached meanwhile.
    await page.set_viewport_size({"width": 360, "height": 740})
    for close in ("Escape", "Enter"):
        await press(show)
        await expect(hide).to_be_focused()
        await visitor.words.evaluate("(words) => words.focus()")
        await expect(hide).to_be_focused()
        await page.keyboard.press(close)
        await expect(show).to_be_focused()
    await press(show)
    await press(page.get_by_role("link", name="Hi"))
    await expect(show).to_be_focused()
    await press(show)
    await choose(visitor, page.get_by_role("button", name="More actions for Hi"), "Delete")
    await expect(visitor.turns).to_have_count(0)
    await expect(show).to_be_focused()


async def test_it_goes_from_the_button_that_takes_an_option_back_to_its_field(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await press(visitor.page.get_by_role("button", name="Options"))
    dialog = visitor.page.get_by_role("dialog", name="Options")
    field = dialog.get_by_role("textbox", name="top_k")
    await field.fill("7")
    await field.press("Enter")
    await press(dialog.get_by_role("button", name="Reset top_k"))
    await expect(field).to_be_focused()
    await expect(field).to_have_value("")


async def test_it_goes_from_an_example_to_the_words(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await press(visitor.page.locator(".examples button").first)
    await expect(visitor.answer).not_to_be_empty()
    await visitor.ended()
    await expect(visitor.words).to_be_focused()
