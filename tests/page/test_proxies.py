"""The page and the documentation behind HTTPS, through real nginx and Caddy that are set up as docs/operations.md says."""

from __future__ import annotations

import random

import pytest
from playwright.async_api import Browser, expect

from tests import sample_images
from tests.page.visit import Scripted, Visit, drawn, file
from tests.reverse_proxies import FRONTS, NAME, Front
from tests.scripted_engine import ScriptedEngine, Speaker

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE = file(sample_images.encoded(sample_images.noise(1000, 800, random.Random(1))), "photo.png")
"""More than nginx takes unless it is told."""


@FRONTS
async def test_the_page_works_behind_https(visit: Visit, scripted: Scripted, in_front: Front, prefix: str) -> None:
    """A key, a large picture, words as they come, and a reload: every address is under the prefix (else the visitor complains)."""
    speaker = Speaker()
    speaker.say("First words, ")
    served = await scripted(ScriptedEngine(speaker), allowed_hosts=(NAME,), api_key="s3cret")
    assert len(LARGE["buffer"]) > 2**20
    with in_front(served.port) as url:
        visitor = await visit(url + prefix, ignore_https_errors=True)
        visitor.refused = {401}
        await visitor.page.get_by_label("API key", exact=True).fill("s3cret")
        await visitor.page.keyboard.press("Enter")
        await visitor.pick(LARGE)
        await visitor.prepared()
        await visitor.words.fill("What is it?")
        await visitor.words.press("Enter")
        await expect(visitor.answer).to_have_text("First words,")
        speaker.say("then the rest.")
        speaker.end()
        await expect(visitor.answer).to_have_text("First words, then the rest.")
        await visitor.ended()
        await visitor.page.reload()
        await expect(visitor.answer).to_have_text("First words, then the rest.")
        await drawn(visitor.turns.locator(".picture img"))
        visitor.offline = True  # its event stream ends with the proxy


@FRONTS
async def test_routes_are_tried_out_behind_https(browser: Browser, scripted: Scripted, in_front: Front, prefix: str) -> None:
    """On /docs, with the key that Authorize takes."""
    served = await scripted(ScriptedEngine(), allowed_hosts=(NAME,), api_key="s3cret")
    with in_front(served.port) as url:
        context = await browser.new_context(ignore_https_errors=True)
        page = await context.new_page()
        await page.goto(f"{url}{prefix}/docs/")  # and the redirect without the slash stays under the prefix
        assert page.url == f"{url}{prefix}/docs"
        await page.get_by_role("button", name="Authorize").first.click()
        await page.locator(".auth-container input").fill("s3cret")
        await page.locator(".auth-container").get_by_role("button", name="Apply credentials").click()
        await page.get_by_role("button", name="Close").click()
        route = page.locator(".opblock", has_text="/models/examples")
        await route.locator(".opblock-summary-control").click()
        await route.get_by_role("button", name="Try it out").click()
        async with page.expect_response(f"{url}{prefix}/models/examples") as tried:
            await route.get_by_role("button", name="Execute").click()
        assert (await tried.value).status == 200
        await context.close()
