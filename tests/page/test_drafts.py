"""What is being composed: it stays with its chat, is sent when it was to be, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue")), "square.png")


@asynccontextmanager
async def held(page: Page, path: str) -> AsyncIterator[None]:
    """What is posted to `path` meanwhile reaches the gateway at the end."""
    over = asyncio.Event()

    async def late(route: Route) -> None:
        if route.request.method == "POST":
            await over.wait()
        await route.continue_()

    await page.route(path, late)
    try:
        yield
    finally:
        over.set()
        await page.unroute_all(behavior="wait")


async def two_chats(visit: Visit, scripted: Scripted) -> Visitor:
    """In the second of them."""
    visitor = await visit((await scripted(ScriptedEngine())).url)
    await visitor.ask("Alpha")
    await new_chat(visitor)
    await visitor.ask("Beta")
    return visitor


async def new_chat(visitor: Visitor) -> None:
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(visitor.turns).to_have_count(0)


async def go_to(visitor: Visitor, title: str) -> None:
    await visitor.page.locator(".session-open", has_text=title).click()
    await expect(visitor.turns.first.locator(".asked")).to_have_text(title)


async def change_the_question(visitor: Visitor) -> None:
    await visitor.turns.first.hover()
    await visitor.turns.first.get_by_role("button", name="Edit the question").click()
    await expect(visitor.page.locator(".changing")).to_be_visible()


def questions_on_screen(visitor: Visitor) -> Locator:
    return visitor.turns.locator(".asked")


async def read_elsewhere(visitor: Visitor, words: str | None = None) -> str:
    """The text that another program read, as the options show it; `words` are written there first."""
    await visitor.page.locator(".composer-line").get_by_role("button").nth(1).click()
    field = visitor.page.get_by_label("Text that another program read")
    if words is not None:
        await field.fill(words)
    found = await field.input_value()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.page.get_by_role("dialog")).to_have_count(0)
    return found


async def test_a_question_that_waits_for_its_picture_stays_in_its_chat(visit: Visit, scripted: Scripted) -> None:
    visitor = await two_chats(visit, scripted)
    await visitor.words.fill("Not finished")
    await go_to(visitor, "Alpha")
    async with held(visitor.page, "**/images"):
        await visitor.pick(RED_CIRCLE)
        await visitor.words.fill("About the circle")
        await visitor.words.press("Enter")
        await expect(visitor.page.locator(".line-note")).to_have_text("Will be sent as soon as the picture is ready")
        await go_to(visitor, "Beta")
        await expect(visitor.page.locator(".toast")).to_contain_text("Your question was not sent")
        await expect(visitor.chips).to_have_count(0)
        await expect(visitor.page.locator(".line-note")).to_have_text("")
    await go_to(visitor, "Alpha")
    await visitor.prepared()
    await expect(visitor.words).to_have_value("About the circle")
    await go_to(visitor, "Beta")
    await expect(visitor.words).to_have_value("Not finished")
    await expect(questions_on_screen(visitor)).to_have_text(["Beta"])
    await go_to(visitor, "Alpha")
    await expect(questions_on_screen(visitor)).to_have_text(["Alpha"])
    await visitor.words.press("Enter")
    await expect(questions_on_screen(visitor)).to_have_text(["Alpha", "About the circle"])
    await expect(visitor.turns.last.locator(".picture")).to_have_count(1)
    await visitor.ended()


async def test_a_question_that_waits_is_not_sent_when_another_one_is_changed(visit: Visit, scripted: Scripted) -> None:
    visitor = await two_chats(visit, scripted)
    async with held(visitor.page, "**/images"):
        await visitor.pick(RED_CIRCLE)
        await visitor.words.fill("About the circle")
        await visitor.words.press("Enter")
        await change_the_question(visitor)
        await expect(visitor.words).to_have_value("Beta")
        await expect(visitor.chips).to_have_count(0)
    await visitor.page.keyboard.press("Escape")
    await visitor.prepared()
    await expect(visitor.words).to_have_value("About the circle")
    await expect(questions_on_screen(visitor)).to_have_text(["Beta"])


async def test_what_waited_for_a_picture_that_was_taken_away_is_not_sent_later(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    async with held(visitor.page, "**/images"):
        await visitor.pick(RED_CIRCLE)
        await visitor.words.press("Enter")
        await expect(visitor.page.locator(".line-note")).not_to_have_text("")
        await visitor.chips.get_by_role("button", name="Remove").click()
    await expect(visitor.page.locator(".line-note")).to_have_text("")
    await visitor.pick(BLUE_SQUARE)
    await visitor.prepared()
    await visitor.words.fill("About the square")
    await expect(visitor.turns).to_have_count(0)


async def test_a_picture_refused_before_holds_back_no_question_and_one_refused_since_does(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    visitor.refused = {415}
    await visitor.pick(file(b"", "empty.png"))
    await expect(visitor.page.locator(".chip[data-state=refused]")).to_have_count(1)
    async with held(visitor.page, "**/images"):
        await visitor.pick(RED_CIRCLE)
        await visitor.words.fill("One")
        await visitor.words.press("Enter")
    await expect(questions_on_screen(visitor)).to_have_text(["One"])
    await visitor.ended()
    async with held(visitor.page, "**/images"):
        await visitor.pick(BLUE_SQUARE, file(b"none", "broken.png"))
        await visitor.words.fill("Two")
        await visitor.words.press("Enter")
    await expect(visitor.page.locator(".chip[data-state=refused]")).to_have_count(2)
    await expect(visitor.words).to_have_value("Two")
    await expect(questions_on_screen(visitor)).to_have_text(["One"])


async def test_an_example_is_asked_only_while_its_chat_is_looked_at(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.ask("Alpha")
    await new_chat(visitor)
    async with held(visitor.page, "**/images"):
        await visitor.page.locator(".examples button").first.click()
        await expect(visitor.chips).to_have_count(1)
        await go_to(visitor, "Alpha")
    await new_chat(visitor)
    await visitor.prepared()
    await expect(visitor.page.locator(".send")).to_be_enabled()
    await expect(visitor.turns).to_have_count(0)


async def test_a_changed_question_survives_going_to_another_chat_and_a_reload(visit: Visit, scripted: Scripted) -> None:
    visitor = await two_chats(visit, scripted)
    await visitor.words.fill("Next")
    await change_the_question(visitor)
    await visitor.words.fill("Beta, written anew")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await go_to(visitor, "Alpha")
    await expect(visitor.words).to_have_value("")
    await go_to(visitor, "Beta")
    for _ in range(2):
        await expect(visitor.words).to_have_value("Beta, written anew")
        await expect(visitor.page.locator(".changing")).to_be_visible()
        await visitor.prepared()
        await visitor.page.reload()
    await expect(visitor.page.locator(".turn[inert]")).to_have_count(1)
    await visitor.words.press("Enter")
    await expect(questions_on_screen(visitor)).to_have_text(["Beta, written anew"])
    await visitor.ended()
    await expect(visitor.turns.locator(".branches")).to_have_text("2/2")
    await expect(visitor.words).to_have_value("Next")
    await expect(visitor.chips).to_have_count(0)
    await visitor.page.reload()
    await expect(visitor.words).to_have_value("Next")


async def test_a_changed_question_whose_turn_is_not_shown_any_more_becomes_the_next_one(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("One")
    session = visitor.page.url.partition("#session=")[2]
    first = (await served.turns(session))[0]["id"]
    await visitor.words.fill("Next")
    await change_the_question(visitor)
    await visitor.words.fill("One, written anew")
    answer = await served.client.post(f"/sessions/{session}/turns", json={"prompt": "Another one", "after": 0})
    assert answer.status_code == 200
    assert first not in [turn["id"] for turn in await served.turns(session)]
    await visitor.page.reload()
    await expect(questions_on_screen(visitor)).to_have_text(["Another one"])
    await expect(visitor.words).to_have_value("One, written anew\n\nNext")
    await expect(visitor.page.locator(".changing")).to_have_count(0)


async def test_the_text_that_another_program_read_is_kept_with_the_question(visit: Visit, scripted: Scripted) -> None:
    visitor = await two_chats(visit, scripted)
    await read_elsewhere(visitor, "TOTAL 16.00")
    await go_to(visitor, "Alpha")
    assert await read_elsewhere(visitor) == ""
    await go_to(visitor, "Beta")
    await change_the_question(visitor)
    assert await read_elsewhere(visitor) == ""
    await visitor.words.focus()
    await visitor.page.keyboard.press("Escape")
    assert await read_elsewhere(visitor) == "TOTAL 16.00"
    await visitor.page.reload()
    await expect(visitor.turns).to_have_count(1)
    assert await read_elsewhere(visitor) == "TOTAL 16.00"
    async with visitor.page.expect_request("**/turns") as asking:
        await visitor.ask("What is the total?")
    body = (await asking.value).post_data_json
    assert body
    assert body["ocr_text"] == "TOTAL 16.00"
    assert await read_elsewhere(visitor) == ""


async def test_a_picture_that_was_on_its_way_when_a_question_was_changed_is_there_afterwards(visit: Visit, scripted: Scripted) -> None:
    visitor = await two_chats(visit, scripted)
    async with held(visitor.page, "**/images"):
        await visitor.pick(RED_CIRCLE)
        await change_the_question(visitor)
        await expect(visitor.chips).to_have_count(0)
        await visitor.pick(BLUE_SQUARE)
    await expect(visitor.chips).to_contain_text(["square.png"])
    await visitor.prepared()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.chips).to_contain_text(["circle.png"])
    await visitor.prepared()


async def test_words_typed_while_a_session_is_made_stay_in_its_chat(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    await visitor.ask("Alpha")
    await new_chat(visitor)
    async with held(visitor.page, "**/sessions"):
        await visitor.words.fill("Beta")
        await visitor.words.press("Enter")
        await expect(visitor.turns).to_have_count(1)
        await visitor.words.fill("And then")
    await visitor.ended()
    await go_to(visitor, "Alpha")
    await go_to(visitor, "Beta")
    await expect(visitor.words).to_have_value("And then")
    await new_chat(visitor)
    await expect(visitor.words).to_have_value("")


async def test_a_network_break_takes_no_picture_out_of_a_draft(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.refused = {404}
    await visitor.ask("Alpha")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("About the circle")
    await visitor.page.route("http://*/images/*", lambda route: route.abort())
    visitor.offline = True
    await visitor.page.reload()
    await visitor.prepared()
    await visitor.page.unroute_all()
    await visitor.page.reload()
    await visitor.prepared()
    assert "circle.png" in await visitor.page.evaluate("JSON.stringify(sessionStorage)")
    # One that neither the gateway nor this browser has is said to be gone.
    await visitor.page.evaluate("indexedDB.deleteDatabase('llava')")
    await visitor.page.route("http://*/images/*", lambda route: route.fulfill(status=404, json={"error": {"code": "image_not_found"}}))
    await visitor.page.reload()
    await expect(visitor.chips).to_contain_text("This picture is no longer on the gateway.")
