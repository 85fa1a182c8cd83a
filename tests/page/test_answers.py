"""Answers: written as they come, stopped, broken off, failed; and a model's words are never more than words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx2
import pytest
from playwright.async_api import expect

from llava_gateway.chat import EngineEvent, EngineRequest, Loading, PromptProgress, TextDelta
from llava_gateway.errors import ModelOutOfMemory, UpstreamDisconnected
from llava_gateway.notes import note
from tests import sample_images
from tests.page.visit import Scripted, Visit, file
from tests.scripted_engine import END, ScriptedEngine, says, says_then_waits
from tests.synthetic_llava import ENDLESS

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
EVIL = """<img src=x onerror="alert(1)"> <script>alert(2)</script> <svg onload=alert(3)>
[click](javascript:alert(4)) [data](data:text/html,hi) ![pixel](https://evil.example/pixel.png) [fine](https://fine.example/)

<style>body { display: none }</style>

| a | b |
|--:|---|
| <iframe src=https://evil.example></iframe> | `<b>` |
"""


async def stored_statuses(visitor_url: str, page_url: str) -> list[str]:
    """The statuses of the turns of the session that the page shows, as the server keeps them."""
    session = page_url.partition("#session=")[2]
    async with httpx2.AsyncClient(base_url=visitor_url, trust_env=False) as client:
        return [turn["status"] for turn in (await client.get(f"/sessions/{session}")).json()["turns"]]


@pytest.mark.parametrize("way", ["Escape", "button"])
async def test_an_answer_is_written_as_it_comes_and_can_be_stopped(visit: Visit, endless_url: str, way: str) -> None:
    visitor = await visit(endless_url, stored={"options": ENDLESS})
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("Go on")
    await visitor.words.press("Enter")
    await expect(visitor.page.locator(".phase[data-phase=writing]")).to_contain_text("Writing")
    early = await visitor.answer.inner_text()
    await expect(visitor.answer).not_to_have_text(early)
    if way == "Escape":
        await visitor.page.keyboard.press("Escape")
    else:
        await visitor.page.get_by_role("button", name="Stop (Esc)").click()
    await expect(visitor.turns.last).to_contain_text("Stopped. The text so far is kept.")
    await visitor.ended()
    kept = await visitor.answer.inner_text()
    # The engine is free, and the session takes the next question; so says the reload too.
    await visitor.words.fill("And on")
    await visitor.words.press("Enter")
    await expect(visitor.turns.nth(1).locator(".words")).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.turns.nth(1)).to_contain_text("Stopped.")
    await visitor.ended()
    await visitor.page.reload()
    await expect(visitor.turns).to_have_count(2)
    assert (await visitor.turns.first.locator(".words").inner_text()).startswith(kept[:20])
    assert await stored_statuses(endless_url, visitor.page.url) == ["cancelled", "cancelled"]


async def test_a_second_page_shows_the_answer_as_it_comes(visit: Visit, scripted: Scripted) -> None:
    go_on = asyncio.Event()

    async def slowly(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Half")
        await go_on.wait()
        yield TextDelta(" and whole")
        yield END

    served = await scripted(ScriptedEngine(slowly))
    first = await visit(served.url)
    await first.words.fill("Hi")
    await first.words.press("Enter")
    await expect(first.answer).to_have_text("Half")
    second = await visit(served.url, path=first.page.url.removeprefix(served.url))
    await expect(second.answer).to_have_text("Half")
    await second.words.fill("And I")
    await expect(second.page.get_by_role("button", name="Send")).to_have_count(0)
    go_on.set()
    await expect(second.answer).to_have_text("Half and whole")
    await expect(second.page.get_by_role("button", name="Send")).to_be_enabled()


async def test_a_stopped_question_can_be_asked_again_in_its_place(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says_then_waits("Well"))
    served = await scripted(engine)
    visitor = await visit(served.url)
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    await expect(visitor.answer).to_have_text("Well")
    await visitor.page.keyboard.press("Escape")
    engine.script = says("Hello", " there.")
    await visitor.page.get_by_role("button", name="Ask again").click()
    await expect(visitor.answer).to_have_text("Hello there.")
    await expect(visitor.turns).to_have_count(1)
    await visitor.ended()
    assert await stored_statuses(served.url, visitor.page.url) == ["complete"]
    assert [message.text for message in engine.requests[-1].messages] == ["Hi"]


async def test_what_is_done_before_the_first_word_is_said(visit: Visit, scripted: Scripted) -> None:
    go_on = asyncio.Event()

    async def slowly(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield PromptProgress(64, 128)
        await go_on.wait()
        yield TextDelta("Done")
        yield END

    engine = ScriptedEngine(slowly)
    engine.load = Loading("scripted", note("model_not_loaded", model="scripted"), 2000)
    served = await scripted(engine)
    visitor = await visit(served.url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    await expect(visitor.page.locator(".phase")).to_contain_text("Reading the picture: 64 of 128 tokens")
    # A second person waits in line.
    second = await visit(served.url)
    await second.words.fill("Me too")
    await second.words.press("Enter")
    await expect(second.page.locator(".phase")).to_contain_text("Queued, position 1")
    go_on.set()
    await expect(visitor.answer).to_have_text("Done")
    await expect(second.answer).to_have_text("Done")
    await expect(visitor.turns.last.locator(".summary")).to_contain_text("tokens: 7 read, 2 written")


async def test_a_failure_says_its_cause_the_next_step_and_offers_it(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    engine.refusal = ModelOutOfMemory()
    served = await scripted(engine)
    visitor = await visit(served.url)
    visitor.refused = {502}
    await visitor.words.fill("Hi")
    await visitor.words.press("Enter")
    failed = visitor.page.get_by_role("alert")
    await expect(failed).to_contain_text(ModelOutOfMemory().message)
    await expect(failed).to_contain_text(ModelOutOfMemory().hint)
    await expect(failed.get_by_role("button", name="Choose a model")).to_be_visible()
    await visitor.page.get_by_role("button", name="中文").click()
    await expect(failed).to_contain_text("内存不够运行这个模型。")
    engine.refusal = None
    await failed.get_by_role("button", name="再问一次").click()
    await expect(visitor.answer).to_have_text("Hello there.")
    await expect(visitor.turns).to_have_count(1)


async def test_an_answer_that_breaks_off_keeps_its_words(visit: Visit, scripted: Scripted) -> None:
    async def breaks_off(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Half of")
        raise UpstreamDisconnected

    served = await scripted(ScriptedEngine(breaks_off))
    visitor = await visit(served.url)
    await visitor.ask("Hi")
    await expect(visitor.answer).to_have_text("Half of")
    await expect(visitor.page.get_by_role("alert")).to_contain_text(UpstreamDisconnected().message)
    await visitor.page.reload()
    await expect(visitor.answer).to_have_text("Half of")
    await expect(visitor.turns.last).to_contain_text("Cut off: the engine disconnected.")


async def test_a_models_words_are_never_more_than_words(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says(*EVIL)))
    visitor = await visit(served.url)
    dialogs: list[str] = []
    visitor.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await visitor.ask("Hi")
    for shown in ("<img src=x", "<script>alert(2)</script>", "<svg onload", "<style>", "<iframe src="):
        await expect(visitor.answer).to_contain_text(shown)
    assert await visitor.answer.locator("img, script, svg, style, iframe, [onerror], [onload]").count() == 0
    links = visitor.answer.locator("a")
    assert [await link.get_attribute("href") for link in await links.all()] == ["https://evil.example/pixel.png", "https://fine.example/"]
    assert {await link.get_attribute("rel") for link in await links.all()} == {"noopener noreferrer nofollow"}
    assert await visitor.answer.locator("td[align=right]").count() == 1
    assert dialogs == []


async def test_an_answer_can_be_copied(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says("**Bold**")))
    visitor = await visit(served.url, permissions=["clipboard-read", "clipboard-write"])
    await visitor.ask("Hi")
    await visitor.page.get_by_role("button", name="Copy answer").click()
    await expect(visitor.page.get_by_role("button", name="Copied")).to_be_visible()
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == "**Bold**"


async def test_options_preset_model_and_system_prompt_go_with_the_question(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(model_names=("first", "second"))
    served = await scripted(engine)
    visitor = await visit(served.url)
    page = visitor.page
    await page.get_by_role("button", name="Options").click()
    await page.get_by_role("button", name="Factual").click()
    await page.get_by_label("top_k").first.fill("7")
    await page.get_by_label("top_k").first.press("Tab")
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="first").click()
    await page.get_by_role("dialog").get_by_role("button", name="second sees").click()
    await visitor.ask("Hi")
    request = engine.requests[-1]
    assert (request.model, request.options.temperature, request.options.top_k) == ("second", 0.2, 7)
    assert request.messages[0].text == "Be brief."
    await page.reload()
    await expect(page.locator(".composer-line")).to_contain_text("Factual · 2 changed")
