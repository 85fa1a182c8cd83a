"""Hostile words as answers, questions, titles, names and errors are words: no script runs, nothing is fetched from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Route, expect

from llava_gateway.chat import EngineEvent, EngineRequest, TextDelta
from tests import sample_images
from tests.page import payloads
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import END, ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

WATCH = "window.ran = 0; window.pwned = () => { window.ran++; }; void 0;"
ALLOWED = {
    *("a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "hr", "li", "ol", "p", "pre", "strong"),
    *("table", "tbody", "td", "th", "thead", "tr", "ul"),
}
ALLOWED_ATTRIBUTES = {"align", "class", "href", "rel", "start", "tabindex", "target"}
WRITTEN = """
() => {
  const found = { tags: new Set(), attributes: new Set(), links: new Set() };
  for (const element of document.querySelectorAll('.answer .words *')) {
    found.tags.add(element.localName);
    for (const { name } of element.attributes) found.attributes.add(name);
    if (element.href) found.links.add(new URL(element.href).protocol + element.rel);
  }
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, [...values]]));
}
"""
ASK_EACH = """
async (questions) => {
  const words = document.getElementById('words');
  const until = async (condition) => { while (!condition()) await new Promise(requestAnimationFrame); };
  for (const question of questions) {
    const before = document.querySelectorAll('.turn').length;
    words.value = question;
    words.dispatchEvent(new Event('input', { bubbles: true }));
    await until(() => !document.querySelector('.send').disabled);
    words.form.requestSubmit();
    await until(() => document.querySelectorAll('.turn').length > before && !document.querySelector('.stop'));
  }
}
"""
CLOSE = "</script></style></textarea></noscript></iframe></svg></math></table></form></marquee></video>"


@dataclass
class Evil:
    """Where the payloads want something from; it notes who came."""

    url: str = ""
    visits: list[str] = field(default_factory=list)


@asynccontextmanager
async def evil_server() -> AsyncIterator[Evil]:
    evil = Evil()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        evil.visits.append((await reader.readline()).decode(errors="replace"))
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        evil.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield evil


async def said_back(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    """The question, a few characters at a time: a payload is cut at every place sooner or later."""
    words = request.messages[-1].text
    for start in range(0, len(words), 7):
        yield TextDelta(words[start : start + 7])
    yield END


def aimed(evil: Evil) -> list[str]:
    assert len(set(payloads.ALL)) >= 50
    return [payload.format(evil=evil.url) for payload in payloads.ALL]


async def nothing_ran(visitor: Visitor, evil: Evil) -> None:
    """What the browser asked for and complained of, the visitor looks at when it leaves."""
    assert await visitor.page.evaluate("window.ran") == 0
    assert await visitor.page.evaluate("window.violations") == []
    assert evil.visits == []


async def test_as_questions_answers_titles_and_names_of_files(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(said_back), session_max_turns=100)
    async with evil_server() as evil:
        hostile = aimed(evil)
        visitor = await visit(served.url)
        page = visitor.page
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await page.evaluate(WATCH)
        await page.context.add_init_script(WATCH)
        # Written as they come, in the page.
        await page.evaluate(ASK_EACH, hostile)
        await expect(visitor.turns).to_have_count(len(hostile))
        await nothing_ran(visitor, evil)
        # Kept, and shown again after a reload; every chat of the list has one of them as its title.
        session = page.url.rpartition("=")[2]
        for payload in hostile:
            forked = (await served.client.post(f"/sessions/{session}/fork", json={"at": 1})).json()["id"]
            await served.client.patch(f"/sessions/{forked}", json={"title": payload})
        await page.reload()
        await expect(visitor.turns).to_have_count(len(hostile))
        await expect(page.locator(".session")).to_have_count(len(hostile) + 1)
        await page.locator(".session-open").nth(3).click()
        await page.locator(".session-open").last.click()
        await expect(visitor.turns).to_have_count(len(hostile))
        written = await page.evaluate(WRITTEN)
        assert set(written["tags"]) <= ALLOWED
        assert set(written["attributes"]) <= ALLOWED_ATTRIBUTES
        assert set(written["links"]) <= {"http:noopener noreferrer nofollow", "https:noopener noreferrer nofollow"}
        # As names of files, refused and taken.
        await visitor.pick(*(file(b"", payload) for payload in hostile))
        await expect(page.locator(".chip[data-state=refused]")).to_have_count(len(hostile))
        await visitor.pick(file(sample_images.encoded(sample_images.shape("circle", "red")), payloads.HTML[6]))
        await visitor.prepared()
        await page.locator(".chip .thumb").last.click()
        await expect(page.locator(".panel")).to_contain_text(payloads.HTML[6])
        await nothing_ran(visitor, evil)
        assert dialogs == []


async def test_as_errors_names_of_models_and_what_an_engine_says(visit: Visit, scripted: Scripted) -> None:
    async with evil_server() as evil:
        hostile = aimed(evil)
        served = await scripted(ScriptedEngine(said_back, model_names=tuple(hostile)))
        visitor = await visit(served.url)
        visitor.refused = {500}
        page = visitor.page
        await page.evaluate(WATCH)
        left = list(hostile)

        async def fail(route: Route) -> None:
            message, hint, code, instance = (left.pop() if left else "x" for _ in range(4))
            error = {"message": message, "hint": hint, "code": code, "type": "x", "param": None, "cause": message}
            body = {"title": message, "status": 500, "detail": message, "instance": instance, "retryable": True, "error": error}
            await route.fulfill(status=500, json=body)

        await page.route("**/turns", fail)
        questions = ["Hi"] * -(-len(hostile) // 4)
        await page.evaluate(ASK_EACH, questions)
        await expect(page.get_by_role("alert")).to_have_count(len(questions))
        assert not left
        await page.get_by_role("button", name="中文").click()
        await page.locator(".composer-line [aria-haspopup=dialog]").first.click()
        await expect(page.locator(".models .model-name")).to_have_count(len(hostile))
        await nothing_ran(visitor, evil)


async def test_even_as_markup_the_policy_stops_them(visit: Visit, scripted: Scripted) -> None:
    """The second wall: were the sanitiser to let all of it through, the page's policy would still run and fetch nothing."""
    served = await scripted(ScriptedEngine())
    policy = (await served.client.get("/")).headers["content-security-policy"]
    async with evil_server() as evil:
        visitor = await visit(served.url)
        page = visitor.page
        await page.context.add_init_script(WATCH)
        stopped = 0
        refused: dict[str, str | None] = {}
        page.on("requestfailed", lambda request: refused.__setitem__(request.url, request.failure))

        async def give(route: Route) -> None:
            first = int(route.request.url.rpartition("=")[2])
            markup = CLOSE.join(payload.format(evil=evil.url) for payload in payloads.HTML[first : first + 5])
            await route.fulfill(
                body=f"<!doctype html><title>x</title>{markup}", headers={"content-type": "text/html", "content-security-policy": policy}
            )

        await page.route("**/?payload=*", give)
        for first in range(0, len(payloads.HTML), 5):
            await page.goto(f"{served.url}/?payload={first}")
            assert await page.evaluate("window.ran") == 0, first
            stopped += len(await page.evaluate("window.violations"))
        assert evil.visits == []
        assert stopped > len(payloads.HTML) / 2
        await page.goto(served.url)
        visitor.errors.clear()  # the browser's words about each of them
        visitor.requests[:] = [url for url in visitor.requests if refused.get(url) != "csp"]
