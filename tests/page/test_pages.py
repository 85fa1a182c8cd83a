"""Documents on the page: their pages are chosen by thumbnails, and each becomes a picture of the question."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.images.test_animation import film
from tests.page.visit import Visit, file
from tests.pdfs import encrypted, pdf

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORT = file(pdf("One", "Two", "Three"), "report.pdf", "application/pdf")


async def test_pages_of_a_document_are_chosen_by_their_thumbnails(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(REPORT)
    dialog = visitor.page.get_by_role("dialog", name="Pages of report.pdf")
    await expect(dialog.locator("img")).to_have_count(3)
    await expect(dialog.get_by_label("Page 1")).to_be_checked()
    await dialog.get_by_label("Page 1").uncheck()
    await dialog.get_by_label("Page 3").check()
    await dialog.get_by_label("Page 2").check()
    await dialog.get_by_role("button", name="Add 2 pictures").click()
    await visitor.prepared(2)
    await expect(visitor.chips.locator(".chip-name")).to_have_text(["report.pdf, page 2", "report.pdf, page 3"])
    await visitor.ask("What does it say?")
    await visitor.ended()


async def test_a_document_of_one_page_needs_no_choice_and_one_with_a_password_says_so(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(file(pdf("Only"), "only.pdf", "application/pdf"))
    await visitor.prepared()
    visitor.refused = {422}
    async with visitor.refusal():
        await visitor.pick(file(encrypted(), "secret.pdf", "application/pdf"))
        await expect(visitor.page.locator(".chip-refused")).to_contain_text("password")


async def test_frames_of_an_animation_are_chosen_in_place_of_its_sheet(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(file(film("GIF"), "moving.gif", "image/gif"))
    await visitor.prepared()
    await visitor.chips.get_by_role("button", name="More actions").click()
    await visitor.page.get_by_role("menuitem", name="Choose frames").click()
    dialog = visitor.page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await expect(visitor.chips.locator(".chip-name")).to_have_text(["moving.gif, frame 1"])
    await visitor.prepared()


async def test_the_choice_fits_on_a_phone_in_both_languages_and_themes(visit: Visit, demo_url: str) -> None:
    for language, scheme in (("en-US", "light"), ("zh-CN", "dark")):
        visitor = await visit(demo_url, locale=language, color_scheme=scheme, viewport={"width": 360, "height": 720})
        await visitor.pick(REPORT)
        dialog = visitor.page.get_by_role("dialog")
        await expect(dialog.locator("img")).to_have_count(3)
        assert await dialog.evaluate("d => d.scrollWidth <= d.clientWidth")
        await dialog.get_by_role("button").last.click()
        await visitor.prepared()
