"""Pictures where requests must carry a key: the page shows copies, fetches again what failed, and lets go of what it shows no more."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, expect

from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, drawn, file
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")


async def shows_a_copy(image: Locator) -> None:
    """Wait until a copy of the picture is shown. Before it is fetched, the element has no address and nothing to decode."""
    await expect(image).to_have_attribute("src", re.compile("^blob:"))
    await drawn(image)


async def with_a_key(visit: Visit, scripted: Scripted) -> Visitor:
    visitor = await visit((await scripted(ScriptedEngine(), api_key="s3cret")).url)
    visitor.refused = {401}
    await visitor.page.get_by_label("API key", exact=True).fill("s3cret")
    await visitor.page.keyboard.press("Enter")
    return visitor


async def test_a_copy_that_failed_is_fetched_again_when_it_is_next_shown(visit: Visit, scripted: Scripted) -> None:
    visitor = await with_a_key(visit, scripted)
    page = visitor.page
    visitor.offline = True
    await visitor.ask("Another chat")
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is it?")
    await page.route("http://*/images/*", lambda route: route.abort())
    await page.reload()
    await expect(visitor.turns.locator(".picture-gone")).to_be_visible()
    await page.unroute_all()
    for title in ("Another chat", "What is it?"):
        await page.locator(".session-open", has_text=title).click()
        await expect(visitor.turns.locator(".asked")).to_have_text(title)
    await shows_a_copy(visitor.turns.locator(".picture img"))


async def test_a_picture_that_fails_as_soon_as_it_is_drawn_is_said_to_be_gone(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is it?")
    # An observer is called before the effects of what was drawn.
    await visitor.context.add_init_script(
        """new MutationObserver((_, observer) => {
            const image = document.querySelector('.turn .picture img');
            if (!image) return;
            observer.disconnect();
            image.dispatchEvent(new Event('error'));
        }).observe(document, { childList: true, subtree: true });"""
    )
    await visitor.page.reload()
    await expect(visitor.turns.locator(".picture-gone")).to_be_visible()


async def test_copies_that_are_not_shown_are_let_go_the_oldest_first(visit: Visit, scripted: Scripted) -> None:
    visitor = await with_a_key(visit, scripted)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    shown = visitor.page.locator(".chip .thumb img")
    await shows_a_copy(shown)
    told = await visitor.page.evaluate(
        """async () => {
            const { address } = await import('/static/js/images/addresses.js');
            const { effect } = await import('/static/vendor/signals.js');
            const [picture] = performance.getEntriesByType('resource')
                .map(({ name }) => new URL(name).pathname.slice(1))
                .filter((path) => /^images.\\w+$/.test(path));
            const gone = [];
            const { revokeObjectURL } = URL;
            URL.revokeObjectURL = (copy) => (gone.push(copy), revokeObjectURL.call(URL, copy));
            /** Shows a picture under a path of its own until `hide` is called. */
            const show = (i) => new Promise((shown) => {
                const hide = effect(() => {
                    const copy = address(`${picture}#${i}`);
                    if (copy) queueMicrotask(() => shown({ copy, hide }));
                });
            });
            const all = await Promise.all(Array.from({ length: 60 }, (_, i) => show(i)));
            const early = gone.length;
            for (const { hide } of all) hide();
            const again = await show(59);
            return { early, gone, copies: all.map(({ copy }) => copy), again: again.copy };
        }"""
    )
    assert told["early"] == 0
    assert told["gone"] == told["copies"][:12]
    assert told["again"] == told["copies"][59]
    await shows_a_copy(shown)
