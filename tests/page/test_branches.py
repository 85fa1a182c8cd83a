"""Versions of a question: changed, asked again, gone through; and that nothing is lost by it, on any page."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Locator, Route, expect

from llava_gateway.errors import ModelOutOfMemory
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, says, says_then_waits
from tests.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue")), "square.png")
PRESS_EDIT = "Edit the question"


def button(turn: Locator, name: str) -> Locator:
    return turn.get_by_role("button", name=name, exact=True)


async def more(visitor: Visitor, turn: Locator, *steps: str) -> None:
    """Choose in the menu of a turn."""
    await turn.hover()
    await button(turn, "More").click()
    await visitor.page.get_by_role("menuitem", name=steps[0], exact=True).click()


async def stored_turns(served: Served, visitor: Visitor) -> list[dict[str, Any]]:
    return await served.turns(visitor.page.url.partition("#session=")[2])


async def test_a_question_is_changed_with_its_pictures_and_both_versions_stay(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Describe this image.")
    await visitor.ask("What color is the circle?")
    first = visitor.turns.first
    await visitor.words.fill("a draft")
    await first.hover()
    await button(first, PRESS_EDIT).click()
    await expect(visitor.words).to_have_value("Describe this image.")
    await expect(visitor.chips).to_have_count(1)
    await expect(visitor.page.locator(".turn[inert]")).to_have_count(2)
    # Left as it was: the draft comes back.
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.words).to_have_value("a draft")
    await expect(visitor.chips).to_have_count(0)
    await first.hover()
    await button(first, PRESS_EDIT).click()
    await visitor.chips.get_by_role("button", name="Remove").click()
    await visitor.pick(BLUE_SQUARE)
    await visitor.prepared()
    await visitor.words.press("Enter")
    await expect(visitor.turns).to_have_count(1)
    await visitor.ended()
    await expect(visitor.answer).to_have_text("A blue square on a white background.")
    await expect(visitor.words).to_have_value("a draft")
    await expect(visitor.turns.first.locator(".branches")).to_have_text("2/2")
    # Back to the first version, with all that followed it.
    await button(visitor.turns.first, "Previous version").focus()
    await visitor.page.keyboard.press("Enter")
    await expect(visitor.turns).to_have_count(2)
    await expect(button(visitor.turns.first, "Next version")).to_be_focused()
    await expect(visitor.turns.first.locator(".words")).to_have_text("A red circle on a white background.")
    await expect(visitor.turns.first.locator(".branches")).to_have_text("1/2")
    await visitor.page.reload()
    await expect(visitor.turns).to_have_count(2)
    await expect(visitor.words).to_have_value("a draft")
    await visitor.page.evaluate("document.activeElement.blur()")
    await visitor.page.keyboard.press("]")
    await expect(visitor.turns).to_have_count(1)
    await visitor.page.keyboard.press("[")
    await expect(visitor.turns).to_have_count(2)
    # From any of its buttons, and without a word typed into the question.
    await button(visitor.turns.first, "Copy answer").focus()
    for pressed, turns in (("]", 1), ("[", 2)):
        await visitor.page.keyboard.press(pressed)
        await expect(visitor.turns).to_have_count(turns)
        await expect(visitor.turns.first.locator(".branches button:focus")).to_have_count(1)
    await expect(visitor.words).to_have_value("a draft")


async def test_an_answer_is_asked_for_again_with_another_preset_or_model(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says("One."), model_names=("one", "two"))
    served = await scripted(engine)
    visitor = await visit(served.url)
    await visitor.ask("Well?")
    engine.script = says("Two.")
    await visitor.turns.last.hover()
    await button(visitor.turns.last, "Ask again").click()
    await expect(visitor.answer).to_have_text("Two.")
    await visitor.ended()
    await more(visitor, visitor.turns.last, "Creative")
    await expect(visitor.turns.last.locator(".branches")).to_have_text("3/3")
    await visitor.ended()
    assert engine.requests[-1].options.top_k == 80
    await more(visitor, visitor.turns.last, "two")
    await expect(visitor.turns.last.locator(".branches")).to_have_text("4/4")
    await visitor.ended()
    assert engine.requests[-1].model == "two"
    assert [message.text for message in engine.requests[-1].messages] == ["Well?"]


async def test_an_attempt_that_fails_leaves_the_old_version_one_step_away(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says("One."))
    served = await scripted(engine)
    visitor = await visit(served.url)
    visitor.refused = {502}
    await visitor.ask("Well?")
    await visitor.ask("And?")
    engine.refusal = ModelOutOfMemory()
    await visitor.turns.first.hover()
    await button(visitor.turns.first, "Ask again").click()
    await expect(visitor.page.get_by_role("alert")).to_contain_text(ModelOutOfMemory().message)
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.turns.first.locator(".branches")).to_have_text("2/2")
    assert [turn["prompt"] for turn in await stored_turns(served, visitor)] == ["Well?", "And?"]
    await button(visitor.turns.first, "Previous version").click()
    await expect(visitor.turns).to_have_count(2)
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def test_a_stopped_attempt_is_a_version_too(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says("One."))
    served = await scripted(engine)
    visitor = await visit(served.url)
    await visitor.ask("Well?")
    engine.script = says_then_waits("Half")
    await visitor.turns.last.hover()
    await button(visitor.turns.last, "Ask again").click()
    await expect(visitor.answer).to_have_text("Half")
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.turns.last).to_contain_text("Stopped. The text so far is kept.")
    await expect(visitor.turns.last.locator(".branches")).to_have_text("2/2")
    await button(visitor.turns.last, "Previous version").click()
    await expect(visitor.answer).to_have_text("One.")
    engine.script = says("Two.")
    await visitor.ask("And?")
    assert [turn["prompt"] for turn in await stored_turns(served, visitor)] == ["Well?", "And?"]


async def test_what_is_asked_while_another_version_is_on_its_way_waits_for_it(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says("One."))
    served = await scripted(engine)
    visitor = await visit(served.url)
    await visitor.ask("Well?")
    engine.script = says("Two.")
    await visitor.turns.last.hover()
    await button(visitor.turns.last, "Ask again").click()
    await expect(visitor.answer).to_have_text("Two.")
    await visitor.ended()
    switches: asyncio.Queue[Route] = asyncio.Queue()

    async def hold(route: Route) -> None:
        await (switches.put(route) if route.request.method == "PATCH" else route.continue_())

    await visitor.page.route("**/sessions/*", hold)
    await button(visitor.turns.first, "Previous version").click()
    switch = await switches.get()
    engine.script = says_then_waits("Half")
    await visitor.words.fill("And?")
    await visitor.words.press("Enter")
    await expect(visitor.turns.last).to_contain_text("And?")
    assert len(engine.requests) == 2
    await switch.continue_()
    await expect(visitor.answer).to_have_text("Half")
    await expect(visitor.turns.first.locator(".words")).to_have_text("One.")
    await expect(visitor.turns.locator(".asked")).to_have_text(["Well?", "And?"])
    assert [message.text for message in engine.requests[-1].messages] == ["Well?", "One.", "And?"]
    await visitor.page.keyboard.press("Escape")
    await visitor.ended()
    await expect(visitor.turns.locator(".asked")).to_have_text(["Well?", "And?"])

    # A question in the place of another one is gone to instead.
    await button(visitor.turns.first, "Next version").click()
    await (await switches.get()).continue_()
    await expect(visitor.turns.locator(".words")).to_have_text(["Two."])
    await button(visitor.turns.first, "Previous version").click()
    switch = await switches.get()
    engine.script = says("Three.")
    await button(visitor.turns.first, "Ask again").click()
    await switch.continue_()
    await expect(visitor.turns.locator(".words")).to_have_text(["Three."])
    await expect(visitor.turns.first.locator(".branches")).to_have_text("3/3")
    assert [turn["message"]["content"] for turn in await stored_turns(served, visitor)] == ["Three."]


async def test_two_pages_show_the_same(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says("One."))
    served = await scripted(engine)
    first = await visit(served.url)
    await first.ask("Well?")
    second = await visit(served.url, path=first.page.url.removeprefix(served.url))
    await expect(second.turns).to_have_count(1)
    await first.ask("And?")
    await expect(second.turns).to_have_count(2)
    await served.client.post("/sessions/" + first.page.url.partition("#session=")[2] + "/fork")
    await expect(second.page.locator(".session")).to_have_count(2)
    await second.turns.first.hover()
    await button(second.turns.first, "Ask again").click()
    await expect(second.turns.first.locator(".branches")).to_have_text("2/2")
    await expect(first.turns).to_have_count(1)
    await expect(first.turns.first.locator(".branches")).to_have_text("2/2")
    await button(first.turns.first, "Previous version").click()
    await expect(second.turns).to_have_count(2)


async def test_an_answer_is_copied_as_text_or_with_its_question(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says("A **red** circle.")))
    visitor = await visit(served.url, permissions=["clipboard-read", "clipboard-write"])
    await visitor.ask("What is it?")
    await more(visitor, visitor.turns.last, "Copy as plain text")
    clipboard = "navigator.clipboard.readText()"
    assert await visitor.page.evaluate(clipboard) == "A red circle."
    await more(visitor, visitor.turns.last, "Copy with the question, as Markdown")
    assert await visitor.page.evaluate(clipboard) == "> What is it?\n\nA **red** circle.\n"
    await button(visitor.turns.last, "Copy answer").click()
    assert await visitor.page.evaluate(clipboard) == "A **red** circle."


async def test_a_draft_with_its_picture_survives_a_reload_and_stays_with_its_chat(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.ask("Hello")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("What is it")
    await visitor.page.reload()
    await expect(visitor.words).to_have_value("What is it")
    await visitor.prepared()
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(visitor.words).to_have_value("")
    await expect(visitor.chips).to_have_count(0)
    await visitor.page.go_back()
    await expect(visitor.words).to_have_value("What is it")
    await visitor.prepared()
    await visitor.words.press("Enter")
    await expect(visitor.turns).to_have_count(2)
    await visitor.ended()
    await visitor.page.reload()
    await expect(visitor.turns).to_have_count(2)
    await expect(visitor.words).to_have_value("")
    await expect(visitor.chips).to_have_count(0)
