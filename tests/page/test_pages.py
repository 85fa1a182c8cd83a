"""Documents on the page: their pages are chosen by thumbnails, and each becomes a picture of the question."""

from __future__ import annotations

import asyncio
import io

import pytest
from playwright.async_api import Route, expect

from tests import sample_images
from tests.images.test_animation import film
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.pdfs import encrypted, pdf
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORT = file(pdf("One", "Two", "Three"), "report.pdf", "application/pdf")


async def listing_in_order(visitor: Visitor) -> None:
    """Have the gateway list each document only after the one before, so that their choices come in that order."""
    turn = asyncio.Lock()

    async def one(route: Route) -> None:
        async with turn:
            await route.fulfill(response=await route.fetch())

    await visitor.page.route("**/documents", one)


async def test_pages_of_a_document_are_chosen_by_their_thumbnails(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(REPORT)
    dialog = visitor.page.get_by_role("dialog", name="Pages of report.pdf")
    await expect(dialog.locator("img")).to_have_count(3)
    await expect(dialog.get_by_label("Page 1")).to_be_checked()
    await expect(dialog.get_by_label("Page 1")).to_be_focused()
    await dialog.get_by_label("Page 1").uncheck()
    await dialog.get_by_label("Page 3").check()
    await dialog.get_by_label("Page 2").check()
    await dialog.get_by_role("button", name="Add 2 pictures").click()
    await visitor.prepared(2)
    await expect(visitor.chips.locator(".chip-name")).to_have_text(["Page 2 of report.pdf", "Page 3 of report.pdf"])
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
    await expect(dialog).to_have_accessible_name("Frames of moving.gif")
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await expect(visitor.chips.locator(".chip-name")).to_have_text(["Frame 1 of moving.gif"])
    await visitor.prepared()


async def test_each_of_several_documents_gets_its_choice(visit: Visit, demo_url: str) -> None:
    """Each in its turn and at its place, whatever was chosen of the others; one that is cancelled goes alone."""
    visitor = await visit(demo_url)
    await listing_in_order(visitor)
    scan = io.BytesIO()
    pages = [sample_images.shape("square", color, size=(200, 260)) for color in ("red", "blue")]
    pages[0].save(scan, "TIFF", save_all=True, append_images=pages[1:])
    await visitor.pick(
        REPORT,
        file(sample_images.encoded(sample_images.shape("circle", "red")), "photo.png"),
        file(pdf("Four", "Five"), "unwanted.pdf", "application/pdf"),
        file(scan.getvalue(), "scan.tiff", "image/tiff"),
    )
    dialog = visitor.page.get_by_role("dialog")
    await expect(dialog).to_have_accessible_name("Pages of report.pdf")
    await expect(dialog).to_contain_text("2 more files wait for your choice.")
    await dialog.get_by_label("Page 2").check()
    await dialog.get_by_role("button", name="Add 2 pictures").click()
    await expect(dialog).to_have_accessible_name("Pages of unwanted.pdf")
    await expect(dialog.get_by_label("Page 1")).to_be_checked()
    await expect(dialog.get_by_label("Page 2")).not_to_be_checked()
    await visitor.page.keyboard.press("Escape")
    await expect(dialog).to_have_accessible_name("Pages of scan.tiff")
    await expect(dialog).not_to_contain_text("more file")
    await dialog.get_by_label("Page 1").uncheck()
    await dialog.get_by_label("Page 2").check()
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await expect(dialog).to_have_count(0)
    await visitor.prepared(4)
    names = ["Page 1 of report.pdf", "Page 2 of report.pdf", "photo.png", "Page 2 of scan.tiff"]
    await expect(visitor.chips.locator(".chip-name")).to_have_text(names)


async def test_a_choice_goes_on_when_an_earlier_document_arrives(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    listed: list[Route] = []

    async def hold(route: Route) -> None:
        listed.append(route)
        if len(listed) > 1:
            await route.continue_()

    await visitor.page.route("**/documents", hold)
    await visitor.pick(REPORT, file(pdf("Four", "Five"), "quick.pdf", "application/pdf"))
    dialog = visitor.page.get_by_role("dialog")
    await expect(dialog).to_have_accessible_name("Pages of quick.pdf")
    await dialog.get_by_label("Page 2").check()
    await listed[0].continue_()
    await expect(dialog).to_contain_text("1 more file waits for your choice.")
    await dialog.get_by_role("button", name="Add 2 pictures").click()
    await expect(dialog).to_have_accessible_name("Pages of report.pdf")
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await expect(visitor.chips.locator(".chip-name")).to_have_text(["Page 1 of report.pdf", "Page 1 of quick.pdf", "Page 2 of quick.pdf"])
    await visitor.prepared(3)


async def test_no_more_pages_are_chosen_than_a_question_takes(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine(), images_per_turn=3)).url)
    await listing_in_order(visitor)
    await visitor.pick(REPORT, file(pdf("Four", "Five"), "other.pdf", "application/pdf"))
    dialog = visitor.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("A question takes up to 3 pictures, so you can choose 2 pages here.")
    await dialog.get_by_label("Page 2").check()
    await expect(dialog.get_by_label("Page 3")).to_be_disabled()
    await dialog.get_by_role("button", name="Add 2 pictures").click()
    await expect(dialog).to_contain_text("A question takes up to 3 pictures, so you can choose 1 page here.")
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await visitor.prepared(3)
    # One that had no place waits for it, and then gets its choice too.
    await visitor.pick(REPORT)
    await expect(visitor.chips.last).to_contain_text("A question can have at most 3 pictures.")
    await visitor.chips.first.get_by_role("button", name="Remove").click()
    await dialog.get_by_label("Page 1").uncheck()
    await dialog.get_by_label("Page 3").check()
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await visitor.prepared(3)
    await expect(visitor.chips.locator(".chip-name").last).to_have_text("Page 3 of report.pdf")


async def test_a_list_of_pages_that_failed_is_asked_for_again(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.offline = True
    await visitor.page.route("**/documents", lambda route: route.abort())
    await visitor.pick(REPORT)
    await expect(visitor.chips).to_contain_text("The connection to the gateway was lost.")
    await visitor.page.unroute("**/documents")
    await visitor.chips.get_by_role("button", name="Try again").click()
    await visitor.page.get_by_role("dialog", name="Pages of report.pdf").get_by_role("button", name="Add 1 picture").click()
    await visitor.prepared()


async def test_a_question_is_not_sent_without_the_choice_it_waits_for(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    listed: list[Route] = []
    await visitor.page.route("**/documents", lambda route: listed.append(route))
    await visitor.pick(REPORT)
    await visitor.words.fill("What does it say?")
    await visitor.words.press("Enter")
    await expect(visitor.page.get_by_text("Will be sent as soon as the picture is ready")).to_be_visible()
    await listed[0].continue_()
    dialog = visitor.page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.chips).to_have_count(0)
    await visitor.seen()
    assert not any(url.endswith("/turns") for url in visitor.requests)
    await expect(visitor.words).to_have_value("What does it say?")


async def test_the_choice_fits_on_a_phone_in_both_languages_and_themes(visit: Visit, demo_url: str) -> None:
    for language, scheme in (("en-US", "light"), ("zh-CN", "dark")):
        visitor = await visit(demo_url, locale=language, color_scheme=scheme, viewport={"width": 360, "height": 720})
        await visitor.pick(REPORT)
        dialog = visitor.page.get_by_role("dialog")
        await expect(dialog.locator("img")).to_have_count(3)
        assert await dialog.evaluate("d => d.scrollWidth <= d.clientWidth")
        await dialog.get_by_role("button").last.click()
        await visitor.prepared()
