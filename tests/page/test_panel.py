"""The picture panel, and the words of answers that lead to it."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Route, expect

from llava_gateway.notes import note
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, says, says_then_waits

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red", size=(320, 240))), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue", size=(800, 600)), "JPEG"), "square.jpg", "image/jpeg")
REMOVED = note("gps_removed").text


async def session_of(visitor: Visitor) -> Any:
    session = visitor.page.url.rpartition("=")[2]
    return await (await visitor.page.request.get(f"{visitor.url}/sessions/{session}")).json()


async def test_the_way_from_the_file_to_the_model_is_told(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await page.get_by_role("button", name="Look at picture 2").click()
    panel = page.get_by_role("complementary", name="Picture")
    await expect(panel).to_be_focused()
    await expect(panel.locator(".steps li")).to_contain_text(
        [
            "Decoded JPEG of 800 × 600 pixels.",
            "Shrunk from 800 × 600 to 112 × 84.",
            "Padded to 112 × 112.",
            "Encoded as PNG: 1 file of",
            "64 tokens, exact.",
        ]
    )
    await expect(panel.locator(".facts-list")).to_contain_text("112 × 112 · PNG · 64 tokens · exact")
    await panel.get_by_role("button", name="High").click()
    await expect(panel.locator(".steps")).to_contain_text("Cut into 2 × 2 tiles of 112 × 112.")
    await expect(panel.locator(".facts-list")).to_contain_text("5 files · 112 × 112 · PNG · 320 tokens")
    await page.keyboard.press("ArrowLeft")
    await expect(panel.get_by_role("heading", level=2)).to_have_text("Picture 1 of 2")
    await page.get_by_role("button", name="中文").click()
    await expect(page.locator(".steps li").first).to_have_text("解码 PNG，320 × 240 像素。")
    await expect(page.locator(".steps li").last).to_have_text("64 个词元，精确。")


async def test_wishes_for_a_picture_of_the_chat_are_kept_in_its_session(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(BLUE_SQUARE)
    await visitor.prepared()
    await visitor.ask("What is in this image?")
    await page.get_by_role("button", name="Look at picture 1").click()
    panel = page.get_by_role("complementary", name="Picture")
    await panel.get_by_role("checkbox", name="Pin to the context").check()
    await expect(panel.get_by_role("checkbox")).to_be_checked()
    await panel.get_by_role("button", name="High").click()
    await expect(panel.locator(".facts-list")).to_contain_text("320 tokens")
    (kept,) = (await session_of(visitor))["images"].values()
    assert kept == {"pinned": True, "detail": "high"}
    await page.reload()
    await page.get_by_role("button", name="Look at picture 1").click()
    await expect(panel.get_by_role("checkbox")).to_be_checked()
    await expect(panel.get_by_role("button", name="High")).to_have_attribute("aria-pressed", "true")
    await panel.get_by_role("checkbox").uncheck()
    await expect(panel.get_by_role("checkbox")).not_to_be_checked()
    (kept,) = (await session_of(visitor))["images"].values()
    assert kept["pinned"] is None


async def test_a_pin_that_was_not_kept_is_not_shown_as_one(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(BLUE_SQUARE)
    await visitor.prepared()
    await visitor.ask("What is in this image?")
    await visitor.page.get_by_role("button", name="Look at picture 1").click()
    panel = visitor.page.get_by_role("complementary", name="Picture")
    async with visitor.unchanging():
        await panel.get_by_role("checkbox").click()
        await expect(panel.get_by_role("alert")).to_have_text("The connection to the gateway was lost.")
    await expect(panel.get_by_role("checkbox")).not_to_be_checked()
    await panel.get_by_role("checkbox").click()
    await expect(panel.get_by_role("alert")).to_have_count(0)
    await expect(panel.get_by_role("checkbox")).to_be_checked()
    (kept,) = (await session_of(visitor))["images"].values()
    assert kept["pinned"] is True


SPOKEN = (
    "Picture 2 and **image 1** differ, see photo #2 and picture 7. `picture 1` is code. 图片 1 和图2不同，第二张图更大，第 9 张没有。 "
    "[picture 1](https://example.org/)"
)


async def test_pictures_that_an_answer_speaks_of_light_up_and_open(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says(SPOKEN)))
    visitor = await visit(served.url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await visitor.ask("What differs?")
    spoken = visitor.answer.locator(".mention")
    await expect(spoken).to_have_text(["Picture 2", "image 1", "photo #2", "图片 1", "图2", "第二张图"])
    lit = page.locator(".picture[data-lit=true]")
    await expect(lit).to_have_count(0)
    for at, number in ((0, "2"), (1, "1"), (5, "2")):
        await spoken.nth(at).hover()
        await expect(lit.locator(".badge")).to_have_text(number)
    await page.mouse.move(5, 5)
    await expect(lit).to_have_count(0)
    await spoken.nth(1).focus()
    await expect(lit.locator(".badge")).to_have_text("1")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("complementary", name="Picture").get_by_role("heading", level=2)).to_have_text("Picture 1 of 2")


async def test_a_finger_puts_the_panel_of_a_phone_away(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, viewport={"width": 390, "height": 740}, has_touch=True, is_mobile=True)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.page.get_by_role("button", name="Look at picture 1").click()
    panel = visitor.page.get_by_role("complementary", name="Picture")
    await expect(panel).to_be_visible()
    session = await visitor.context.new_cdp_session(visitor.page)
    for way, left in ((-20, 1), (120, 0)):
        for kind, points in (
            ("touchStart", [{"x": 100, "y": 600}]),
            ("touchMove", [{"x": 100 + way // 2, "y": 602}]),
            ("touchMove", [{"x": 100 + way, "y": 604}]),
            ("touchEnd", []),
        ):
            await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        await expect(panel).to_have_count(left)


async def test_what_shows_a_picture_closes_when_it_is_sent(visit: Visit, scripted: Scripted) -> None:
    """With the panel or the lightbox still counted as open, Esc and the other keys would be theirs."""
    visitor = await visit((await scripted(ScriptedEngine(says_then_waits("One")))).url)
    page = visitor.page
    stop = page.get_by_role("button", name="Stop (Esc)")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await page.get_by_role("button", name="Look at picture 1").click()
    panel = page.get_by_role("complementary", name="Picture")
    await expect(panel).to_be_visible()
    await visitor.words.fill("What is it?")
    await visitor.words.press("Enter")
    await expect(stop).to_be_visible()
    await page.keyboard.press("Escape")
    await visitor.ended()

    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await page.route("**/images", lambda route: held.set_result(route), times=1)
    await visitor.pick(BLUE_SQUARE)
    upload = await held
    await visitor.words.fill("And these?")
    await visitor.words.press("Enter")
    await visitor.chips.first.get_by_role("button", name="More actions for circle.png").click()
    await page.get_by_role("menuitem", name="Enlarge").click()
    await expect(page.locator("dialog.lightbox")).to_be_visible()
    await upload.continue_()
    await expect(stop).to_be_visible()
    await expect(page.locator("dialog.lightbox")).to_have_count(0)
    await page.keyboard.press("Escape")
    await visitor.ended()


async def test_the_panel_stays_while_its_picture_is_turned_and_so_do_its_wishes(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await page.get_by_role("button", name="Look at picture 1").click()
    panel = page.get_by_role("complementary", name="Picture")
    await expect(panel.locator(".facts-list")).to_contain_text("320 × 240")
    await visitor.chips.first.get_by_role("button", name="More actions for circle.png").click()
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await page.route("http://*/images/*/rotate*", lambda route: held.set_result(route), times=1)
    await page.get_by_role("menuitem", name="Rotate right").click()
    turning = await held
    await panel.get_by_role("checkbox").check()
    await turning.continue_()
    await expect(panel.locator(".facts-list")).to_contain_text("240 × 320")
    await expect(panel.get_by_role("checkbox")).to_be_checked()


async def test_back_on_a_phone_closes_what_fills_the_page_and_nothing_is_left_of_it_on_the_way(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = visitor.page
    panel, lightbox = page.get_by_role("complementary", name="Picture"), page.locator("dialog.lightbox")

    async def look() -> None:
        await page.get_by_role("button", name="Look at picture 1").click()
        await expect(panel).to_be_visible()

    await visitor.ask("First chat")
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.words.fill("Second")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    # In a chat that has no address yet: all that was made ready stays.
    await look()
    await page.go_back()
    await expect(panel).to_have_count(0)
    await expect(visitor.words).to_have_value("Second")
    await visitor.prepared()
    await visitor.ask("Second chat")
    here = page.url

    # One after the other, from the top.
    await look()
    await panel.get_by_role("button", name="Enlarge").click()
    await expect(lightbox).to_be_visible()
    await page.go_back()
    await expect(lightbox).to_have_count(0)
    await expect(panel).to_be_visible()
    await page.go_back()
    await expect(panel).to_have_count(0)
    assert page.url == here
    await page.go_forward()
    await page.wait_for_function("() => history.state === null")
    await expect(panel).to_have_count(0)

    # Closed otherwise, or left by loading the page again, Back goes to the chat before at once.
    async def by_its_button() -> None:
        await panel.get_by_role("button", name="Close").click()

    async def by_asking_about_a_part() -> None:
        await panel.get_by_role("button", name="Ask about a part").click()
        await lightbox.get_by_role("button", name="Ask about this part").click()
        await expect(lightbox).to_have_count(0)

    async def by_loading() -> None:
        await page.reload()
        await expect(visitor.turns.locator("img")).to_be_visible()

    for close in (by_its_button, by_asking_about_a_part, by_loading):
        await look()
        await close()
        await expect(panel).to_have_count(0)
        await page.wait_for_function("() => history.state === null")
        await page.go_back()
        await expect(visitor.turns).to_contain_text(["First chat"])
        await page.go_forward()
        await expect(visitor.turns).to_contain_text(["Second chat"])
        assert page.url == here


async def test_back_on_a_wide_screen_goes_to_the_chat_before(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    await visitor.ask("First chat")
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Second chat")
    await visitor.page.get_by_role("button", name="Look at picture 1").click()
    await expect(visitor.page.get_by_role("complementary", name="Picture")).to_be_visible()
    await visitor.page.go_back()
    await expect(visitor.turns).to_contain_text(["First chat"])


async def test_a_chat_that_gets_its_address_under_the_panel_is_there_when_the_panel_is_closed(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = visitor.page
    made = asyncio.Event()

    async def late(route: Route) -> None:
        await made.wait()
        await route.continue_()

    await page.route("**/sessions", late)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.fill("What is it?")
    await visitor.words.press("Enter")
    await page.get_by_role("button", name="Look at picture 1").click()
    panel = page.get_by_role("complementary", name="Picture")
    await expect(panel).to_be_visible()
    made.set()
    await page.wait_for_function("() => location.hash.startsWith('#session=')")
    await page.go_back()
    await expect(panel).to_have_count(0)
    await visitor.ended()
    await expect(visitor.turns).to_have_count(1)
    assert "#session=" in page.url
    await page.reload()
    await expect(visitor.turns).to_have_count(1)


async def test_a_picture_tells_of_its_own_file(visit: Visit, demo_url: str) -> None:
    image = sample_images.shape("circle", "green", size=(333, 222))
    exif = Image.Exif()
    exif[0x0112] = 1  # Pillow writes none that has nothing but parts
    exif.get_ifd(0x8825)[1] = "N"
    located = io.BytesIO()
    image.save(located, "PNG", exif=exif)
    visitor = await visit(demo_url)
    page = visitor.page
    for data in (located.getvalue(), sample_images.encoded(image)):
        await visitor.pick(file(data, "circle.png"))
        await visitor.prepared()
        await visitor.ask("What is in this image?")
    await page.reload()
    panel = page.get_by_role("complementary", name="Picture")
    for number, step in ((1, REMOVED), (2, "Shrunk from 333 × 222 to 112 × 75.")):
        await page.get_by_role("button", name=f"Look at picture {number}").click()
        await expect(panel.locator(".steps li").nth(0)).to_have_text("Decoded PNG of 333 × 222 pixels.")
        await expect(panel.locator(".steps li").nth(1)).to_have_text(step)
        await panel.get_by_role("button", name="Close").click()
    await expect(page.locator(".thread")).to_contain_text(REMOVED)
