"""Answers side by side: asked at once, honest about the queue, stopped one by one, and a vote that is saved with the figures."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import Locator, expect

from llava_gateway.chat import EngineEvent, EngineRequest, TextDelta
from llava_gateway.errors import ModelOutOfMemory
from tests import sample_images
from tests.page.test_axe import WCAG, faults
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import END, ScriptedEngine, says_then_waits

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue")), "square.png")
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


async def compare(visitor: Visitor, name: str = "Compare") -> Locator:
    await visitor.page.locator(".composer-line").get_by_role("button", name=name).click()
    dialog = visitor.page.locator("dialog.compare")
    await expect(dialog.locator(".column-box")).to_have_count(2)
    return dialog


async def names_itself(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    yield TextDelta(f"I am {request.model}.")
    yield END


async def test_option_sets_are_compared_with_figures_and_the_vote_is_saved(visit: Visit, demo_url: str, tmp_path: Path) -> None:
    """The demo model against itself with a preset; what is asked comes from the composer."""
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("What is in this image?")
    dialog = await compare(visitor)
    await expect(dialog.get_by_label("Question for all of them")).to_have_value("What is in this image?")
    first, second = dialog.locator(".column-box").first, dialog.locator(".column-box").nth(1)
    await expect(second.get_by_label("Preset")).to_have_value("factual")
    await second.get_by_label("Picture detail").select_option("low")
    await dialog.get_by_role("button", name="Ask all").click()
    for column in (first, second):
        await expect(column.locator(".words")).to_contain_text("red circle")
        await expect(column.locator("dl")).to_contain_text(re.compile(r"First word after[\d.]+ m?s"))
        await expect(column.locator("dl")).to_contain_text(re.compile(r"Speed[\d,.]+ tokens/s"))
        await expect(column.locator("dl")).to_contain_text(re.compile(r"Time in the queue[\d.,]+ m?s"))
    await visitor.fits()

    await dialog.get_by_role("group", name="Which one is best?").get_by_role("button", name="Answer 2").click()
    await expect(second).to_contain_text("Best answer")
    await expect(dialog.get_by_role("table")).to_contain_text("demo")
    assert await faults(visitor, {"runOnly": WCAG}) == []
    async with httpx2.AsyncClient(base_url=demo_url, trust_env=False) as client:
        saved = (await client.get("/votes")).json()
    (vote,) = saved["votes"]
    assert (vote["prompt"], vote["best"], len(vote["images"])) == ("What is in this image?", 1, 1)
    assert [(c["model"], c["preset"], c["detail"]) for c in vote["candidates"]] == [("demo", None, "auto"), ("demo", "factual", "low")]
    assert all("red circle" in c["answer"] and c["timings"]["first_token_ms"] > 0 for c in vote["candidates"])
    assert [(s["model"], s["best"], s["compared"]) for s in saved["tally"]] == [("demo", 1, 1)]

    async with page.expect_download() as waiting:
        await dialog.get_by_role("button", name="Save as JSON").click()
    download = await waiting.value
    await download.save_as(tmp_path / "votes.json")
    assert json.loads((tmp_path / "votes.json").read_text("utf-8")) == saved
    await dialog.get_by_role("button", name="Clear all votes").click()
    await dialog.get_by_role("button", name="Clear", exact=True).click()
    await expect(dialog.get_by_role("table")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(visitor.chips).to_have_count(1)  # the question in the composer is still to be asked
    await expect(visitor.turns).to_have_count(0)


async def test_models_of_one_engine_wait_for_each_other_and_each_can_be_stopped(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says_then_waits("Half an answer"), model_names=("one", "two", "three"))
    served = await scripted(engine)
    visitor = await visit(served.url)
    dialog = await compare(visitor)
    columns = dialog.locator(".column-box")
    await dialog.get_by_role("button", name="Add another").click()
    await expect(columns).to_have_count(3)
    assert await columns.get_by_label("Model").evaluate_all("(all) => all.map((one) => one.value)") == ["one", "two", "three"]
    await dialog.get_by_label("Question for all of them").fill("Who are you?")
    await dialog.get_by_role("button", name="Ask all").click()
    await expect(columns.first.locator(".words")).to_contain_text("Half an answer")
    await expect(columns.nth(1).locator("[data-phase=queued]")).to_contain_text("Queued, position 1")
    await expect(columns.nth(2).locator("[data-phase=queued]")).to_contain_text("Queued, position 2")

    engine.script = names_itself
    await columns.nth(2).get_by_role("button", name="Stop").click()
    await expect(columns.nth(2)).to_contain_text("Stopped.")
    await columns.first.get_by_role("button", name="Stop").click()
    await expect(columns.first).to_contain_text("Stopped. The text so far is kept.")
    await expect(columns.nth(1).locator(".words")).to_have_text("I am two.")
    await expect(columns.nth(1).locator("dl")).to_contain_text("Time in the queue")
    # One whole answer is nothing to choose from.
    await expect(dialog.locator(".vote")).to_have_count(0)

    # Closing the dialog stops nothing, and the answers are there again.
    await dialog.get_by_role("button", name="Ask all").click()
    await visitor.page.keyboard.press("Escape")
    await engine.idle.wait()
    await visitor.page.locator(".composer-line").get_by_role("button", name="Compare").click()
    await expect(columns.locator(".words")).to_have_text(["I am one.", "I am two.", "I am three."])
    await dialog.get_by_role("button", name="It’s a tie").click()
    await expect(dialog.locator(".vote")).to_have_text("Saved as a tie.")
    tally = (await served.client.get("/votes")).json()["tally"]
    assert [(s["model"], s["compared"], s["best"], s["ties"]) for s in tally] == [("one", 1, 0, 1), ("three", 1, 0, 1), ("two", 1, 0, 1)]


async def test_one_that_fails_says_why_and_the_others_are_compared(visit: Visit, scripted: Scripted) -> None:
    async def only_small(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.model == "large":
            raise ModelOutOfMemory
        async for event in names_itself(request):
            yield event

    engine = ScriptedEngine(only_small, model_names=("large", "small", "tiny"))
    small = engine.installed[1]
    engine.installed = (*engine.installed, replace(small, name="blind", vision=False))
    visitor = await visit((await scripted(engine)).url, locale="zh-CN", **PHONE)
    visitor.refused = {502}
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    dialog = await compare(visitor, "对比")
    await dialog.get_by_role("button", name="再加一个").click()
    await dialog.get_by_label("向它们提同一个问题").fill("你是谁？")
    await expect(dialog.locator("option", has_text="blind").first).to_be_disabled()
    await visitor.fits()
    await dialog.get_by_role("button", name="一起提问").click()
    await expect(dialog.locator(".column-box").first.get_by_role("alert")).to_contain_text("内存不够运行这个模型。")
    await expect(dialog.locator(".column-box .words")).to_have_text(["I am small.", "I am tiny."])
    await expect(dialog.locator(".vote button")).to_have_text(["回答 2", "回答 3", "不相上下"])
    await visitor.fits()
    assert [len(request.renditions) for request in engine.requests] == [1, 1, 1]
    await dialog.get_by_role("button", name="去掉回答 1").click()
    await dialog.get_by_role("button", name="回答 1", exact=True).click()
    await expect(dialog.locator(".column-box").first).to_contain_text("最佳回答")


async def test_the_chats_own_options_are_compared_with_none(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(names_itself, slots=2)
    visitor = await visit((await scripted(engine)).url)
    page = visitor.page
    await page.locator(".composer-line").get_by_role("button", name="Options").click()
    await page.get_by_role("textbox", name="temperature").fill("0.3")
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Close").click()
    dialog = await compare(visitor)
    await dialog.get_by_label("Preset").first.select_option(label="Same as this chat")
    await dialog.get_by_label("Preset").nth(1).select_option(label="No preset")
    await dialog.get_by_label("Question for all of them").fill("Who are you?")
    await dialog.get_by_role("button", name="Ask all").click()
    await expect(dialog.locator(".words")).to_have_text(["I am scripted."] * 2)
    assert sorted(request.options.temperature or 0 for request in engine.requests) == [0, 0.3]


async def test_answers_stay_with_the_pictures_and_the_chat_they_are_about(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(names_itself, model_names=("one", "two"), slots=2)
    visitor = await visit((await scripted(engine)).url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is red?")
    red = await visitor.turns.locator("img").get_attribute("src")
    dialog = await compare(visitor)
    question, answers = dialog.get_by_label("Question for all of them"), dialog.locator(".column-box .words")
    shown = dialog.locator(".compare-pictures img")
    await dialog.get_by_label("Model").first.select_option("two")
    await dialog.get_by_role("button", name="Ask all").click()
    await expect(answers).to_have_count(2)
    await dialog.get_by_role("button", name="Answer 1").click()
    await expect(dialog).to_contain_text("Best answer")
    await page.keyboard.press("Escape")

    # Another chat: nothing of the first one but with what is asked.
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.pick(BLUE_SQUARE)
    await visitor.prepared()
    await visitor.ask("What is blue?")
    blue = await visitor.turns.locator("img").get_attribute("src")
    await compare(visitor)
    await expect(question).to_have_value("What is blue?")
    await expect(shown).to_have_attribute("src", blue or "")
    await expect(answers).to_have_count(0)
    await expect(dialog.locator(".vote")).to_have_count(0)
    await expect(dialog.get_by_label("Model").first).to_have_value("two")

    # While its answers run they are seen from the first one too, with their picture.
    engine.script = says_then_waits("Half an answer")
    await dialog.get_by_role("button", name="Ask all").click()
    await expect(answers).to_have_count(2)
    await page.keyboard.press("Escape")
    await page.locator(".session-open", has_text="What is red?").click()
    await expect(visitor.turns.locator("img")).to_have_attribute("src", red or "")
    await compare(visitor)
    await expect(question).to_have_value("What is blue?")
    await expect(shown).to_have_attribute("src", blue or "")
    await expect(answers).to_have_count(2)
    await dialog.get_by_role("button", name="Stop all").click()
    await expect(dialog.locator(".ended")).to_have_count(2)
    await expect(shown).to_have_attribute("src", blue or "")
    await page.keyboard.press("Escape")
    await compare(visitor)
    await expect(question).to_have_value("What is red?")
    await expect(shown).to_have_attribute("src", red or "")
    await expect(answers).to_have_count(0)
