"""The page is light: what a first visit transfers, and how a long chat is drawn."""

from __future__ import annotations

import httpx2
import pytest
from playwright.async_api import expect

from tests.page.visit import Scripted, Visit
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_BYTES = 400_000
TRANSFERRED = """
['navigation', 'resource']
  .flatMap((type) => performance.getEntriesByType(type))
  .map((entry) => [new URL(entry.name).pathname, entry.transferSize])
"""

DRAWN = """
window.drawn = [];
new MutationObserver(() => {
  const asked = [...document.querySelectorAll('.asked')];
  if (asked.length) window.drawn.push([asked.length, asked.at(-1).textContent]);
}).observe(document.body, { childList: true, subtree: true });
"""


async def test_a_first_visit_transfers_less_than_400_kilobytes(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await expect(visitor.page.locator(".running")).to_be_visible()
    await visitor.loaded()
    sizes = await visitor.page.evaluate(TRANSFERRED)
    assert {"/", "/static/built/early.js", "/static/built/page.js", "/static/built/page.css", "/readyz"} <= {path for path, _ in sizes}
    assert sum(size for _, size in sizes) < MOST_BYTES, sizes


async def test_files_are_compressed_for_those_who_can_read_that(demo_url: str) -> None:
    async with httpx2.AsyncClient(base_url=demo_url, trust_env=False) as client:
        path = "/static/vendor/purify.js"
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        again = await client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]})
    assert "content-encoding" not in plain.headers
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert packed.content == plain.content
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded / 2
    assert again.status_code == 304


async def test_a_long_chat_is_drawn_from_its_end_and_then_whole(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    turns = [{"id": n, "after": n - 1 or None, "parts": [{"text": f"Question {n}"}], "answer": f"Answer {n}"} for n in range(1, 61)]
    document = {"format": "llava-gateway-session", "version": 1, "session": {"turns": turns}, "images": {}}
    session = (await served.client.post("/sessions/import", json=document)).json()["id"]
    visitor = await visit(served.url)
    await visitor.page.evaluate(DRAWN)
    await visitor.page.evaluate(f"location.hash = 'session={session}'")
    await expect(visitor.turns).to_have_count(60)
    drawn = await visitor.page.evaluate("window.drawn")
    assert drawn[0][0] < 10
    assert drawn[0][1] == "Question 60"
    assert await visitor.turns.locator(".asked").all_text_contents() == [f"Question {n}" for n in range(1, 61)]
    await expect(visitor.turns.last).to_be_in_viewport()
    # What is asked now stands below at once.
    await visitor.ask("Question 61")
    await expect(visitor.turns.last).to_contain_text("Question 61")
    await expect(visitor.turns).to_have_count(61)
