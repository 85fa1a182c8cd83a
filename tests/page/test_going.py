"""Going from chat to chat: what was asked, typed and looked at stays where it belongs, whatever the network does meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Route, expect

from llava_gateway.errors import ModelOutOfMemory
from tests import sample_images
from tests.page.test_sessions import choose
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue")), "square.png")


def id_of(visitor: Visitor) -> str:
    return visitor.page.url.partition("#session=")[2]


async def new_chat(visitor: Visitor) -> None:
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(visitor.turns).to_have_count(0)


async def go_to(visitor: Visitor, title: str) -> None:
    await visitor.page.locator(".session-open", has_text=title).click()


async def test_a_chat_that_opens_too_late_changes_nothing(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    visitor.offline = True
    await visitor.ask("First chat")
    first = id_of(visitor)
    await new_chat(visitor)
    await visitor.ask("Second chat")
    second = id_of(visitor)
    await new_chat(visitor)
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await visitor.page.route(f"**/sessions/{first}", lambda route: held.set_result(route), times=1)
    await go_to(visitor, "First chat")
    late = await held
    await go_to(visitor, "Second chat")
    await expect(visitor.turns).to_contain_text(["Second chat"])
    async with visitor.page.expect_event("requestfailed"):
        await late.abort()
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
    await expect(visitor.turns).to_contain_text(["Second chat"])
    assert id_of(visitor) == second


async def test_a_chat_that_is_gone_is_not_gone_back_to_twice(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.refused = {404}
    for words in ("First chat", "Second chat", "Third chat"):
        await visitor.ask(words)
        await new_chat(visitor)
    await go_to(visitor, "Second chat")
    await expect(visitor.turns).to_have_count(1)
    second = id_of(visitor)
    await go_to(visitor, "Third chat")
    await expect(visitor.turns).to_contain_text(["Third chat"])
    # Deleted here, it is left out of the way back at once; deleted elsewhere, once that has been found out.
    await served.client.delete(f"/sessions/{second}")
    await choose(visitor, "Third chat", "Delete")
    await expect(visitor.turns).to_have_count(0)
    await visitor.page.go_back()
    await expect(visitor.page.get_by_role("alert")).to_contain_text("This chat is gone. The gateway was restarted")
    assert id_of(visitor) == ""
    await visitor.page.go_back()
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
    await visitor.page.go_forward()
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def test_a_question_that_failed_stays_in_its_chat(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    visitor = await visit((await scripted(engine)).url)
    visitor.refused = {502}
    await visitor.ask("First chat")
    await new_chat(visitor)
    await visitor.ask("Second chat")
    engine.refusal = ModelOutOfMemory()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("A question that fails")
    await expect(visitor.turns.last.get_by_role("alert")).to_contain_text(ModelOutOfMemory().message)
    await go_to(visitor, "First chat")
    await expect(visitor.turns).to_have_count(1)
    await go_to(visitor, "Second chat")
    await expect(visitor.turns).to_have_count(2)
    await expect(visitor.turns.last.get_by_role("alert")).to_contain_text(ModelOutOfMemory().message)
    engine.refusal = None
    await visitor.turns.last.get_by_role("button", name="Ask again").first.click()
    await visitor.ended()
    assert [message.text for message in engine.requests[-1].messages][-1] == "A question that fails"
    assert len(engine.requests[-1].renditions) == 1


async def test_what_a_gone_chat_can_not_answer_goes_along_to_a_new_one(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.refused = {404}
    await visitor.ask("First chat")
    first = id_of(visitor)
    await new_chat(visitor)
    await visitor.words.fill("A draft")
    await go_to(visitor, "First chat")
    await expect(visitor.turns).to_have_count(1)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await served.client.delete(f"/sessions/{first}")
    await visitor.ask("What is it?")
    await visitor.turns.last.get_by_role("button", name="New chat").click()
    await expect(visitor.turns).to_have_count(0)
    await expect(visitor.words).to_have_value("What is it?\n\nA draft")
    await expect(visitor.words).to_be_focused()
    await visitor.prepared()
    # What was being typed in it goes along too.
    await visitor.words.press("Enter")
    await visitor.ended()
    await visitor.words.fill("And this?")
    await served.client.delete(f"/sessions/{id_of(visitor)}")
    await visitor.page.get_by_role("alert").get_by_role("button", name="New chat").click()
    await expect(visitor.turns).to_have_count(0)
    await expect(visitor.words).to_have_value("And this?")


async def test_a_chat_that_was_brought_back_is_no_longer_called_gone(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.refused = {404}
    for number in range(12):
        await visitor.ask(f"Question {number}")
    alert = visitor.page.get_by_role("alert")
    for found in ("by looking", "by asking"):
        path = f"/sessions/{id_of(visitor)}"
        await served.client.delete(path)
        await expect(alert).to_contain_text("This chat is gone. The gateway was restarted")
        # It is in view at the end of a long chat.
        await expect(alert).to_be_in_viewport(ratio=1)
        await served.client.post(f"{path}/restore")
        if found == "by asking":
            await visitor.ask("And on")
        await expect(alert).to_have_count(0)


async def test_what_could_not_be_done_is_said_until_something_can_or_it_is_put_away(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    alert = visitor.page.get_by_role("alert")
    await visitor.ask("First chat")
    await visitor.turns.last.hover()
    await visitor.turns.last.get_by_role("button", name="Ask again").click()
    await expect(visitor.turns.last.locator(".branches")).to_have_text("2/2")
    await visitor.ended()
    async with visitor.unchanging():
        await visitor.turns.last.get_by_role("button", name="Previous version").click()
        await alert.get_by_role("button", name="Close").click()
        await expect(alert).to_have_count(0)
        await expect(visitor.words).to_be_focused()
        await visitor.turns.last.get_by_role("button", name="Previous version").click()
        await expect(alert).to_have_count(1)
    await visitor.ask("And on")
    await expect(alert).to_have_count(0)


async def test_a_question_that_goes_along_has_no_more_pictures_than_one_may_have(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(), images_per_turn=2)
    visitor = await visit(served.url)
    visitor.refused = {404}
    await visitor.ask("First chat")
    first = id_of(visitor)
    await new_chat(visitor)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await go_to(visitor, "First chat")
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await served.client.delete(f"/sessions/{first}")
    await visitor.ask("What is it?")
    await visitor.turns.last.get_by_role("button", name="New chat").click()
    await expect(visitor.page.locator(".chip[data-state='ready']")).to_have_count(2)
    await expect(visitor.page.locator(".chip[data-state='refused']")).to_have_count(1)
