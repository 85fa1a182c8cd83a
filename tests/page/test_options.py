"""The options: what is set there goes with the questions, and what is not set is shown as unset."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from llava_gateway.chat import Sight, TextPart
from tests import pictures
from tests.page.visit import Scripted, Visit, file
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(pictures.encoded(pictures.shape("circle", "red")), "circle.png")
PRESETS: dict[str, Any] = {"receipts": {"temperature": 0.0, "glossary": ["SKU: stock number", "TTL: total"]}}


async def test_detail_policy_and_read_text_go_with_the_question(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine)
    visitor = await visit(served.url)
    page = visitor.page
    await page.locator(".composer-line").get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog", name="Options")
    await dialog.get_by_role("button", name="High", exact=True).click()
    await expect(dialog).to_contain_text("Small text can be read")
    await dialog.get_by_label("no longer fits").select_option(label="Drop the oldest text and pictures")
    await dialog.get_by_label("another program read").fill("TOTAL 12.50")
    await visitor.fits()
    await page.keyboard.press("Escape")
    await expect(page.locator(".composer-line")).to_contain_text("3 of your own")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is the total?")
    (part,) = engine.requests[-1].renditions
    assert part.sight == Sight(detail="high")
    assert TextPart("Text that another program read in the picture (it may contain mistakes):\nTOTAL 12.50", note=True) in (
        engine.requests[-1].messages[-1].parts
    )
    (session,) = (await served.client.get("/sessions")).json()["sessions"]
    assert (await served.client.get(f"/sessions/{session['id']}")).json()["policy"] == "sliding"
    # The text was for that question, the detail is for all, and the policy is the session's.
    await visitor.ask("And now?")
    assert engine.requests[-1].messages[-1].parts == (TextPart("And now?"),)
    await page.reload()
    await expect(page.locator(".composer-line")).to_contain_text("2 of your own")
    await page.locator(".composer-line").get_by_role("button", name="Options").click()
    await expect(dialog.get_by_label("no longer fits")).to_have_value("sliding")
    await expect(dialog.get_by_role("button", name="High", exact=True)).to_have_attribute("aria-pressed", "true")
    await dialog.get_by_role("button", name="Reset all").click()
    await expect(dialog.get_by_role("button", name="Auto", exact=True)).to_have_attribute("aria-pressed", "true")


async def test_the_glossary_of_a_preset_is_shown_told_and_taken_back_with_it(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine, presets=PRESETS)
    visitor = await visit(served.url)
    page = visitor.page

    async def choose(preset: str) -> None:
        await page.locator(".composer-line").locator("button").nth(1).click()
        await page.get_by_role("dialog").get_by_role("button", name=preset, exact=True).click()

    await choose("receipts")
    await expect(page.get_by_role("dialog")).to_contain_text("SKU: stock number")
    await page.keyboard.press("Escape")
    await visitor.ask("Hi")
    assert "SKU: stock number" in engine.requests[-1].messages[0].text
    await choose("Balanced")
    await expect(page.get_by_role("dialog")).not_to_contain_text("SKU: stock number")
    await page.keyboard.press("Escape")
    await visitor.ask("Hi again")
    assert [message.role for message in engine.requests[-1].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("locale", "gap"), [("en-US", r"\. "), ("zh-CN", "。")])
async def test_what_is_unset_looks_unset_until_it_is_touched(visit: Visit, scripted: Scripted, locale: str, gap: str) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url, locale=locale)
    page = visitor.page
    await page.locator(".composer-line").locator("button").nth(1).click()
    option = page.locator(".option", has_text="temperature")
    slider = option.get_by_role("slider")
    await expect(slider).to_have_attribute("data-unset", "true")
    await expect(slider).to_have_attribute("aria-valuetext", "default" if locale == "en-US" else "默认")
    await slider.click()  # in the middle, where it stands already
    await expect(slider).to_have_attribute("data-unset", "false")
    await expect(option.get_by_role("textbox")).to_have_value("1")
    reloads = await page.locator(".option", has_text="num_gpu").locator(".quiet").inner_text()
    assert re.search(gap, reloads), reloads
