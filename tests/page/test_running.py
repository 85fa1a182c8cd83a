"""An answer goes on without the page that asked: after a reload, in a second tab, over a connection that broke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Locator, expect

from llava_gateway.chat import Finish, Timings, Usage
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, Speaker, says_then_waits
from tests.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
ENDED = "p.ended:not(.context-note)"


def speaker_of_pictures() -> Speaker:
    """Return a speaker whose answers report as many tokens as if the picture was seen."""
    return Speaker(Finish("stop", Usage(700, 2, 0), Timings(prompt_ms=1.0)))


async def begun(visitor: Visitor, speaker: Speaker) -> None:
    """A question about a picture, whose answer has begun."""
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("What is it?")
    await visitor.words.press("Enter")
    speaker.say("A red")
    await expect(visitor.answer).to_have_text("A red")


def stop_button(visitor: Visitor) -> Locator:
    return visitor.page.locator(".send.stop")


async def test_an_answer_goes_on_after_a_reload(visit: Visit, scripted: Scripted) -> None:
    speaker = speaker_of_pictures()
    visitor = await visit((await scripted(ScriptedEngine(speaker))).url)
    await begun(visitor, speaker)
    await visitor.page.reload()
    await expect(visitor.answer).to_have_text("A red")
    await expect(visitor.turns.last).to_contain_text("What is it?")
    await expect(visitor.turns.last.locator("img")).to_have_count(1)
    speaker.say(" circle.")
    await expect(visitor.answer).to_have_text("A red circle.")
    speaker.end()
    await visitor.ended()
    await expect(visitor.turns).to_have_count(1)
    await visitor.page.reload()
    await expect(visitor.answer).to_have_text("A red circle.")
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.turns.last.locator(ENDED)).to_have_count(0)


async def test_a_second_tab_reads_along_and_can_stop(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(speaker := speaker_of_pictures()))
    first = await visit(served.url)
    await begun(first, speaker)
    second = await visit(served.url, path="/#session=" + first.page.url.rpartition("=")[2])
    await expect(second.answer).to_have_text("A red")
    speaker.say(" circle")
    for visitor in (first, second):
        await expect(visitor.answer).to_have_text("A red circle")
    await stop_button(second).click()
    for visitor in (first, second):
        await expect(visitor.turns.last.locator(ENDED)).to_have_text("Stopped. The text so far is kept.")
        await expect(visitor.turns).to_have_count(1)
        await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def test_a_page_that_is_closed_leaves_its_answer_to_the_next_one(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(speaker := speaker_of_pictures()))
    first = await visit(served.url)
    await begun(first, speaker)
    address = "/#session=" + first.page.url.rpartition("=")[2]
    await first.page.goto("about:blank")
    speaker.say(" circle.")
    speaker.end()
    second = await visit(served.url, path=address)
    await expect(second.answer).to_have_text("A red circle.")
    await expect(second.turns.last.locator(ENDED)).to_have_count(0)


async def test_an_answer_goes_on_when_the_connection_breaks(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(speaker := speaker_of_pictures()))
    visitor = await visit(served.url)
    visitor.offline = True
    await begun(visitor, speaker)
    await cut(served)
    speaker.say(" circle")
    await expect(visitor.answer).to_have_text("A red circle")
    await cut(served)
    speaker.say(".")
    speaker.end()
    await visitor.ended()
    await expect(visitor.answer).to_have_text("A red circle.")
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def cut(served: Served) -> None:
    for connection in list(served.server.server_state.connections):
        connection.transport.abort()


async def cut_off(visit: Visit, served: Served, speaker: Speaker, path: str) -> Visitor:
    """Open a page, and cut it off from `path` in the middle of an answer; its clock stands still from then on."""
    visitor = await visit(served.url)
    visitor.offline = True
    await begun(visitor, speaker)
    await visitor.page.clock.install()
    await visitor.page.route(path, lambda route: route.abort())
    await cut(served)
    return visitor


async def test_an_answer_is_found_again_after_a_long_time_without_a_connection(visit: Visit, scripted: Scripted) -> None:
    visitor = await cut_off(visit, await scripted(ScriptedEngine(speaker := speaker_of_pictures())), speaker, "**/sessions/**")
    alert = visitor.page.get_by_role("alert")
    for _ in range(100):  # each try takes real time too
        if await alert.count():
            break
        await visitor.page.clock.run_for(10_000)
    await expect(alert).to_have_count(1)
    speaker.say(" circle.")
    await visitor.page.unroute("**/sessions/**")
    await visitor.page.clock.run_for(10_000)
    await expect(visitor.answer).to_have_text("A red circle.")
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def test_stop_does_not_wait_for_a_connection(visit: Visit, scripted: Scripted) -> None:
    visitor = await cut_off(visit, await scripted(ScriptedEngine(speaker := speaker_of_pictures())), speaker, "**/events")
    await visitor.page.clock.run_for(8_000)
    await visitor.page.clock.pause_at(datetime.now(UTC) + timedelta(days=1))
    await stop_button(visitor).click()
    await expect(visitor.turns.last.locator(ENDED)).to_have_text("Stopped. The text so far is kept.")


async def test_an_answer_that_another_client_gave_up_is_not_said_to_be_stopped(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says_then_waits("Half of")))
    session_id = await served.session()
    async with served.stream(session_id=session_id) as events:
        await anext(events)
        visitor = await visit(served.url, path=f"/#session={session_id}")
        await expect(visitor.answer).to_have_text("Half of")
    await expect(visitor.turns.last.locator(ENDED)).to_have_text("Cut off: the program that asked has disconnected.")
    await visitor.page.reload()
    await expect(visitor.turns.last.locator(ENDED)).to_have_text("Cut off: the program that asked has disconnected.")
