"""The options: what is set there goes with the questions, and what is not set is shown as unset."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from llava_gateway.parts import Sight, TextPart
from tests import sample_images
from tests.page.visit import Scripted, Visit, file
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
PRESETS: dict[str, Any] = {"receipts": {"temperature": 0.0, "glossary": ["SKU: stock number", "TTL: total"]}}


async def test_detail_policy_and_read_text_go_with_the_question(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine)
    visitor = await visit(served.url)
    page = visitor.page
    await page.locator(".composer-line").get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog", name="Options")
    await expect(dialog).to_contain_text("New chats start with these options.")
    await dialog.get_by_role("button", name="High", exact=True).click()
    await expect(dialog).to_contain_text("Small text stays readable")
    await dialog.get_by_label("no longer fits").select_option(label="Drop the oldest text and pictures")
    await dialog.get_by_label("another program read").fill("TOTAL 12.50")
    await visitor.fits()
    await page.keyboard.press("Escape")
    await expect(page.locator(".composer-line")).to_contain_text("3 changed")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is the total?")
    (part,) = engine.requests[-1].renditions
    assert part.sight == Sight(detail="high")
    assert TextPart("Text that another program read in the picture (it may contain mistakes):\nTOTAL 12.50", note=True) in (
        engine.requests[-1].messages[-1].parts
    )
    (session,) = (await served.client.get("/sessions")).json()["sessions"]
    kept = (await served.client.get(f"/sessions/{session['id']}")).json()
    assert (kept["policy"], kept["detail"]) == ("sliding", "high")
    # The text was for that question, the rest is the session's.
    await visitor.ask("And now?")
    assert engine.requests[-1].messages[-1].parts == (TextPart("And now?"),)
    await page.reload()
    await expect(page.locator(".composer-line")).to_contain_text("2 changed")
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

    glossary = page.get_by_label("Names and terms")
    await choose("receipts")
    await expect(glossary).to_have_value("SKU: stock number\nTTL: total")
    await page.keyboard.press("Escape")
    await visitor.ask("Hi")
    assert "SKU: stock number" in engine.requests[-1].messages[0].text
    await choose("Balanced")
    await expect(glossary).to_have_value("")
    await page.keyboard.press("Escape")
    await visitor.ask("Hi again")
    assert [message.role for message in engine.requests[-1].messages] == ["user", "assistant", "user"]
    await choose("receipts")
    await expect(glossary).to_have_value("SKU: stock number\nTTL: total")
    await glossary.fill("VAT: tax\n")
    await glossary.press_sequentially("IBAN: account")
    await page.keyboard.press("Escape")
    await visitor.ask("And now?")
    assert engine.requests[-1].messages[0].text == "Names and terms that may occur:\n- VAT: tax\n- IBAN: account"


async def test_a_chat_keeps_its_options_for_every_page_and_new_chats_keep_theirs(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine)
    visitor = await visit(served.url)
    page = visitor.page
    line, dialog = page.locator(".composer-line"), page.get_by_role("dialog", name="Options")

    def asked_with() -> int | None:
        return engine.requests[-1].options.top_k

    async def set_top_k(value: str) -> None:
        await line.get_by_role("button").nth(1).click()
        await dialog.get_by_label("top_k").first.fill(value)
        await dialog.get_by_label("top_k").first.press("Tab")

    await visitor.ask("Hi")
    await set_top_k("7")
    await expect(dialog).to_contain_text("These options apply to this chat only.")
    await expect(dialog.locator(".option[data-own=true]")).to_have_count(1)
    await page.keyboard.press("Escape")
    await visitor.ask("Again")
    assert asked_with() == 7
    # Another person's page of this chat shows the same, a new chat begins as before.
    second = await visit(served.url, path=page.url.removeprefix(served.url))
    await expect(second.page.locator(".composer-line")).to_contain_text("1 changed")
    await page.get_by_role("button", name="New chat").first.click()
    await expect(line).not_to_contain_text("changed")
    await visitor.ask("Hi")
    assert asked_with() is None
    # Unless that is wished for.
    await set_top_k("9")
    await dialog.get_by_role("button", name="Use for new chats").click()
    await expect(dialog.get_by_role("button", name="New chats start with them too")).to_be_disabled()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.ask("Hi")
    assert asked_with() == 9
    await line.get_by_role("button").nth(1).click()
    await dialog.get_by_role("button", name="Reset top_k").click()
    await expect(line).not_to_contain_text("changed")
    await page.keyboard.press("Escape")
    await visitor.ask("Hi again")
    assert asked_with() is None


async def test_each_option_says_where_its_value_comes_from(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine)
    visitor = await visit(served.url)
    page = visitor.page
    await page.get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog", name="Options")
    await dialog.get_by_role("button", name="Factual").click()
    temperature = dialog.locator(".option", has_text="temperature")
    await expect(temperature).to_contain_text("from Factual")
    await expect(temperature.get_by_role("textbox")).to_have_value("0.2")
    await expect(dialog.locator(".option", has_text="seed").get_by_role("textbox")).to_have_attribute("placeholder", "default")
    await expect(dialog.locator(".option", has_text="Reloads the model")).to_have_count(3)
    await expect(dialog.locator(".option", has_text="num_ctx")).to_contain_text("tokens")
    await dialog.get_by_label("stop").fill("END\nTHE END")
    await dialog.get_by_role("textbox", name="keep_alive").fill("1h")
    await dialog.get_by_role("textbox", name="keep_alive").press("Tab")
    await dialog.get_by_role("textbox", name="keep_alive").fill("soon")
    await dialog.get_by_role("textbox", name="keep_alive").press("Tab")
    await expect(dialog.get_by_role("textbox", name="keep_alive")).to_have_value("1h")
    await page.keyboard.press("Escape")
    await visitor.ask("Hi")
    request = engine.requests[-1]
    assert (request.options.temperature, request.options.stop, request.keep_alive) == (0.2, ("END", "THE END"), "1h")


async def test_what_the_gateway_refuses_is_said_and_taken_back(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    page = visitor.page
    await visitor.ask("Hi")
    visitor.refused = {400}
    await page.get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog", name="Options")
    await dialog.get_by_label("Answer format").select_option(label="Your own JSON schema")
    await dialog.get_by_label("JSON schema", exact=True).fill("{")
    await expect(dialog).to_contain_text("This is not valid JSON yet")
    schema = dialog.get_by_label("JSON schema", exact=True)
    async with visitor.refusal() as said:
        await schema.fill('{"type": "objekt"}')
    state = dialog.get_by_text(f"This is not a valid JSON schema: {said[0]}")
    await expect(state).to_contain_text("The last valid schema stays in use.")
    await expect(state).to_be_in_viewport()
    await expect(schema).to_have_attribute("aria-invalid", "true")
    # It stays so when something else is chosen, which is taken, and when the options are closed.
    await dialog.get_by_label("no longer fits").select_option(label="Drop the oldest text and pictures")
    await page.keyboard.press("Escape")
    await page.locator(".composer-line").get_by_role("button", name="Options").or_(page.get_by_text("changed")).first.click()
    await expect(schema).to_have_value('{"type": "objekt"}')
    await expect(state).to_be_visible()
    (session,) = (await served.client.get("/sessions")).json()["sessions"]
    kept = (await served.client.get(f"/sessions/{session['id']}")).json()
    assert (list(kept["format"]["properties"]), kept["policy"]) == (["things"], "sliding")
    await schema.fill('{"type": "object"}')
    await expect(dialog.locator("#format-state")).to_contain_text("Every answer is JSON in this format")
    await expect(schema).to_have_attribute("aria-invalid", "false")


async def test_no_new_chat_begins_with_a_schema_that_is_none(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    visitor = await visit((await scripted(engine)).url)
    page = visitor.page
    visitor.refused = {400}
    await page.get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog", name="Options")
    await dialog.get_by_label("Answer format").select_option(label="Your own JSON schema")
    schema = dialog.get_by_label("JSON schema", exact=True)
    for wrong in ('{"type": "objekt"}', '{"type": "objekts"}'):
        async with visitor.refusal() as said:
            await schema.fill(wrong)
        await expect(dialog).to_contain_text(f"This is not a valid JSON schema: {said[0]}")
    await expect(schema).to_have_value('{"type": "objekts"}')
    await page.keyboard.press("Escape")
    await visitor.ask("Hi")
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
    (request,) = engine.requests
    assert isinstance(request.format, dict)
    assert list(request.format["properties"]) == ["things"]


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
