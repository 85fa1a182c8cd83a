"""The page is told what changes: it asks for nothing while nothing happens, and all tabs of a browser share their few connections."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from playwright.async_api import Page, expect

from llava_gateway.sessions.session import Session
from tests.page.visit import LIMIT_MS, Scripted, Visit, Visitor
from tests.scripted_engine import ScriptedEngine, Speaker, says, says_then_waits
from tests.serving import Served, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS = 7
"""More than the connections that a browser opens to one address."""


async def told(served: Served) -> None:
    """Wait until exactly one tab reads the news."""
    await until(lambda: len(served.gateway.news._readers) == 1)


async def tabs(visitor: Visitor, count: int, path: str = "/") -> list[Visitor]:
    """Open more tabs in the browser of a visitor."""
    opened = []
    for _ in range(count):
        page = await visitor.context.new_page()
        page.set_default_timeout(LIMIT_MS)
        await page.goto(visitor.url + path)
        opened.append(Visitor(page, visitor.context, visitor.url))
        await expect(opened[-1].words).to_be_visible()
    return opened


async def alive(page: Page) -> None:
    """Wait for an answer of the gateway to this tab, for which it needs a connection."""
    await page.evaluate("fetch('healthz').then((response) => response.json())")


async def test_an_idle_page_asks_for_nothing(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("A question")
    await told(served)
    await expect(visitor.page.locator(".session")).to_have_count(1)
    await visitor.page.clock.install()
    await visitor.page.clock.run_for(10_000)  # what follows from the answer is asked for
    await visitor.seen()
    before = len(visitor.requests)
    await visitor.page.clock.run_for(60_000)
    await visitor.seen()
    assert [url.removeprefix(served.url) for url in visitor.requests[before:]] == ["/healthz"]


async def test_what_another_client_does_is_shown(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(engine := ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("A question")
    session_id = visitor.page.url.rpartition("=")[2]
    await served.client.patch(f"/sessions/{session_id}", json={"title": "Another title"})
    await expect(visitor.page.locator(".session")).to_have_text("Another title")
    await served.ask(session_id=session_id, prompt="Asked elsewhere")
    await expect(visitor.turns).to_have_count(2)
    await expect(visitor.turns.last).to_contain_text("Asked elsewhere")
    engine.up = False
    await expect(visitor.page.locator(".banner")).to_be_visible()
    engine.up = True
    await expect(visitor.page.locator(".banner")).to_have_count(0)


async def test_a_broken_stream_begins_again(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.offline = True
    await visitor.ask("A question")
    await told(served)
    session_id = visitor.page.url.rpartition("=")[2]
    for title in ("One title", "Another title"):
        for connection in list(served.server.server_state.connections):
            connection.transport.abort()
        served.gateway.sessions.change(session_id, partial(renamed, title))
        await expect(visitor.page.locator(".session")).to_have_text(title)
        await told(served)


def renamed(title: str, session: Session) -> Session:
    return replace(session, title=title)


async def test_a_hidden_page_is_told_nothing_and_looks_when_it_is_seen(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("A question")
    await told(served)
    await hide(visitor.page, hidden=True)
    await until(lambda: not served.gateway.news._readers)
    await served.client.patch(f"/sessions/{visitor.page.url.rpartition('=')[2]}", json={"title": "Another title"})
    await hide(visitor.page, hidden=False)
    await expect(visitor.page.locator(".session")).to_have_text("Another title")
    await told(served)


async def hide(page: Page, *, hidden: bool) -> None:
    """Do what a browser does when another tab is looked at."""
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


async def test_all_tabs_share_one_stream(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    first = await visit(served.url)
    await first.ask("A question")
    session_id = first.page.url.rpartition("=")[2]
    others = await tabs(first, TABS - 1)
    await told(served)
    await served.client.patch(f"/sessions/{session_id}", json={"title": "Told to all"})
    for visitor in (first, *others):
        await expect(visitor.page.locator(".session")).to_have_text("Told to all")
    assert len(served.gateway.news._readers) == 1
    await hide(first.page, hidden=True)  # it is the one that reads; another one takes over
    await told(served)
    await served.client.patch(f"/sessions/{session_id}", json={"title": "Told to the others"})
    for visitor in others:
        await expect(visitor.page.locator(".session")).to_have_text("Told to the others")
    await expect(first.page.locator(".session")).to_have_text("Told to all")


async def asking(visit: Visit, served: Served, speaker: Speaker) -> Visitor:
    """Open a page, and ask something; the answer has begun."""
    visitor = await visit(served.url)
    await visitor.words.fill("What is it?")
    await visitor.words.press("Enter")
    speaker.say("A red")
    await expect(visitor.answer).to_have_text("A red")
    return visitor


async def test_seven_tabs_with_one_chat_leave_a_connection_free(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(speaker := Speaker()))
    first = await asking(visit, served, speaker)
    session_id = first.page.url.rpartition("=")[2]
    others = await tabs(first, TABS - 1, f"/#session={session_id}")
    for visitor in others[:3]:
        await expect(visitor.answer).to_have_text("A red")
    for visitor in others[3:]:
        await expect(visitor.page.locator(".phase")).to_contain_text("question from another page")
    for visitor in (first, *others):
        await alive(visitor.page)
    running = served.gateway.answers.get(session_id)
    assert running is not None
    assert len(running._read_to) == 4
    speaker.say(" circle.")
    speaker.end()
    for visitor in (first, *others):
        await expect(visitor.answer).to_have_text("A red circle.")
        await expect(visitor.turns).to_have_count(1)


async def test_a_hidden_tab_gives_its_seat_to_one_that_is_looked_at(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(speaker := Speaker()))
    first = await asking(visit, served, speaker)
    others = await tabs(first, 4, "/#session=" + first.page.url.rpartition("=")[2])
    for visitor in others[:3]:
        await expect(visitor.answer).to_have_text("A red")
    await expect(others[3].page.locator(".phase")).to_contain_text("question from another page")
    await hide(first.page, hidden=True)
    await expect(others[3].answer).to_have_text("A red")
    speaker.say(" circle")
    for visitor in others:
        await expect(visitor.answer).to_have_text("A red circle")
    await expect(first.answer).to_have_text("A red")
    await hide(others[0].page, hidden=True)
    await hide(first.page, hidden=False)
    await expect(first.answer).to_have_text("A red circle")
    speaker.end()
    await first.ended()
    await expect(first.turns).to_have_count(1)
    await expect(first.page.get_by_role("alert")).to_have_count(0)


async def test_seven_tabs_that_ask_at_once_all_get_their_answers(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says_then_waits("A red"))
    served = await scripted(engine)
    first = await visit(served.url)
    visitors = [first, *await tabs(first, TABS - 1)]
    for visitor in visitors:
        await visitor.words.fill("What is it?")
        await visitor.words.press("Enter")
        await expect(visitor.page.locator(".send.stop")).to_be_visible()
    await expect(visitors[-1].page.locator(".phase")).to_contain_text("Queued, position")
    for visitor in visitors:
        await alive(visitor.page)
    engine.script = says("A circle.")
    await first.page.locator(".send.stop").click()
    for visitor in visitors[1:]:
        await expect(visitor.answer).to_have_text("A circle.")
        await visitor.ended()
        await expect(visitor.page.get_by_role("alert")).to_have_count(0)


async def test_three_tabs_that_compare_leave_a_connection_free(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says_then_waits("A red"), model_names=("one", "two")))
    first = await visit(served.url)
    visitors = [first, *await tabs(first, 2)]
    for visitor in visitors:
        await visitor.page.locator(".composer-line").get_by_role("button", name="Compare").click()
        await visitor.page.get_by_label("Question for all of them").fill("What is it?")
        await visitor.page.get_by_role("button", name="Ask all").click()
        await expect(visitor.page.locator(".column-box [data-phase]")).to_have_count(2)
    for visitor in visitors:
        await alive(visitor.page)
    await until(lambda: served.gateway._asking == 4)
    for visitor in visitors:
        for column in await visitor.page.locator(".column-box").all():
            await column.get_by_role("button", name="Stop").click()
        await expect(visitor.page.locator(".column-box").get_by_text("Stopped.")).to_have_count(2)
