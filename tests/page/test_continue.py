"""An answer that was stopped or cut off says so, and goes on in its place when a person wants it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Locator, expect

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, TextDelta, Usage
from llava_gateway.errors import UpstreamDisconnected
from tests.page.visit import Scripted, Visit, Visitor
from tests.scripted_engine import ScriptedEngine, Speaker, says, says_then_waits

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDED = "p.ended:not(.context-note)"


def go_on(visitor: Visitor, name: str = "Continue") -> Locator:
    return visitor.turns.last.get_by_role("button", name=name, exact=True)


async def breaks_off(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    yield TextDelta("A red")
    raise UpstreamDisconnected


async def reaches_its_limit(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    yield TextDelta("A red")
    yield Finish("length", Usage(7, 2, 0))


async def test_a_stopped_answer_goes_on_in_its_place(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says_then_waits("A red"))
    visitor = await visit((await scripted(engine)).url)
    await visitor.words.fill("What is it?")
    await visitor.words.press("Enter")
    await expect(visitor.answer).to_have_text("A red")
    await expect(go_on(visitor)).to_have_count(0)
    await visitor.page.locator(".send.stop").click()
    await expect(visitor.turns.last.locator(ENDED)).to_have_text("Stopped. The text so far is kept.")
    engine.script = says_then_waits(" circle")
    await go_on(visitor).click()
    await expect(visitor.answer).to_have_text("A red circle")
    await expect(visitor.turns.last.locator(ENDED)).to_have_count(0)
    await visitor.page.locator(".send.stop").click()
    await expect(visitor.turns.last.locator(ENDED)).to_have_text("Stopped. The text so far is kept.")
    engine.script = says(" on white.")
    await go_on(visitor).click()
    await expect(visitor.answer).to_have_text("A red circle on white.")
    await visitor.ended()
    await expect(go_on(visitor)).to_have_count(0)
    await expect(visitor.turns).to_have_count(1)
    await visitor.page.reload()
    await expect(visitor.answer).to_have_text("A red circle on white.")
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.turns.last.locator(ENDED)).to_have_count(0)


async def test_an_answer_that_broke_off_says_why_and_goes_on(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(breaks_off)
    visitor = await visit((await scripted(engine)).url)
    visitor.refused = {502}
    await visitor.ask("What is it?")
    await expect(visitor.page.get_by_role("alert")).to_contain_text(UpstreamDisconnected().message)
    await expect(go_on(visitor)).to_be_visible()
    await visitor.page.reload()
    await expect(visitor.turns.last.locator(ENDED)).to_have_text("Cut off: the engine disconnected.")
    await go_on(visitor).click()  # it breaks off once more
    await expect(visitor.page.get_by_role("alert")).to_contain_text(UpstreamDisconnected().message)
    await expect(visitor.answer).to_have_text("A redA red")
    engine.script = says(" circle.")
    await go_on(visitor).click()
    await expect(visitor.answer).to_have_text("A redA red circle.")
    await visitor.ended()
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
    await expect(go_on(visitor)).to_have_count(0)


@pytest.mark.parametrize(
    ("locale", "said", "name"),
    [
        ("en-US", "Cut off: the length limit of an answer (num_predict) was reached.", "Continue"),
        ("zh-CN", "回答在这里中断：已达到单个回答的长度上限（num_predict）。", "继续写"),
    ],
)
async def test_an_answer_at_its_length_limit_goes_on(visit: Visit, scripted: Scripted, locale: str, said: str, name: str) -> None:
    engine = ScriptedEngine(reaches_its_limit)
    visitor = await visit((await scripted(engine)).url, locale=locale)
    await visitor.ask("What is it?")
    await expect(visitor.turns.last.locator(ENDED)).to_have_text(said)
    engine.script = says(" circle.")
    await go_on(visitor, name).click()
    await expect(visitor.answer).to_have_text("A red circle.")
    await visitor.ended()
    await expect(visitor.turns.last.locator(ENDED)).to_have_count(0)


async def test_another_tab_reads_along_while_an_answer_goes_on(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(reaches_its_limit)
    served = await scripted(engine)
    first = await visit(served.url)
    await first.ask("What is it?")
    second = await visit(served.url, path="/#session=" + first.page.url.rpartition("=")[2])
    await expect(second.answer).to_have_text("A red")
    engine.script = speaker = Speaker()
    await go_on(first).click()
    speaker.say(" circle")
    for visitor in (first, second):
        await expect(visitor.answer).to_have_text("A red circle")
    speaker.say(".")
    speaker.end()
    for visitor in (first, second):
        await expect(visitor.answer).to_have_text("A red circle.")
        await visitor.ended()
        await expect(visitor.turns).to_have_count(1)
        await expect(go_on(visitor)).to_have_count(0)


async def test_only_the_last_answer_goes_on(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(reaches_its_limit)
    visitor = await visit((await scripted(engine)).url)
    await visitor.ask("One?")
    await visitor.ask("Two?")
    await expect(visitor.page.get_by_role("button", name="Continue", exact=True)).to_have_count(1)
    await expect(go_on(visitor)).to_be_visible()
