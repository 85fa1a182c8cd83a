"""The lightbox: a picture as large as the window, zoomed and moved, as the model sees it, and asked about in part."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import FloatRect, Locator, expect

from tests import sample_images
from tests.page.visit import Visit, Visitor, file

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red", size=(320, 240))), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue", size=(320, 240))), "square.png")


async def opened(visitor: Visitor, name: str = "circle.png", way: str = "Enlarge") -> Locator:
    await visitor.page.get_by_role("button", name=f"More actions for {name}").click()
    await visitor.page.get_by_role("menuitem", name=way).click()
    box = visitor.page.locator("dialog.lightbox")
    await expect(box).to_be_visible()
    await box.evaluate("(box) => Promise.all(box.getAnimations().map((animation) => animation.finished))")
    return box


async def place_of(element: Locator) -> FloatRect:
    box = await element.bounding_box()
    assert box
    return box


async def scale(visitor: Visitor) -> int:
    return int((await visitor.page.locator(".lightbox output").inner_text()).removesuffix("%").strip())


async def test_it_zooms_moves_and_goes_from_picture_to_picture(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    box = await opened(visitor)
    await expect(box.get_by_role("heading")).to_contain_text("Picture 1 of 2")
    whole = await scale(visitor)
    image = box.locator(".lightbox-picture")
    fitted = await place_of(image)
    # Keys
    await page.keyboard.press("+")
    assert await scale(visitor) > whole
    await page.keyboard.press("-")
    assert await scale(visitor) == whole
    # The wheel keeps what is under the pointer where it is.
    await page.mouse.move(fitted["x"] + fitted["width"] / 4, fitted["y"] + fitted["height"] / 4)
    await page.mouse.wheel(0, -700)
    await expect(image).not_to_have_css("width", f"{fitted['width']}px")
    zoomed = await place_of(image)
    assert zoomed["x"] + zoomed["width"] / 4 == pytest.approx(fitted["x"] + fitted["width"] / 4, abs=2)
    # Dragging moves it, and so does Shift with an arrow.
    await page.mouse.down()
    await page.mouse.move(fitted["x"] + fitted["width"] / 4 - 50, fitted["y"] + fitted["height"] / 4 - 40, steps=3)
    await page.mouse.up()
    moved = await place_of(image)
    assert [moved["x"], moved["y"]] == pytest.approx([zoomed["x"] - 50, zoomed["y"] - 40], abs=2)
    await page.keyboard.press("Shift+ArrowRight")
    assert (await place_of(image))["x"] < moved["x"]
    await page.keyboard.press("0")
    assert await place_of(image) == fitted
    await page.mouse.dblclick(fitted["x"] + 100, fitted["y"] + 100)
    assert await scale(visitor) >= 2 * whole
    # Another picture is seen whole at first; beyond the last there is none.
    await page.keyboard.press("ArrowRight")
    await expect(box.get_by_role("heading")).to_contain_text("Picture 2 of 2")
    await expect(box.get_by_role("button", name="Next picture")).to_have_count(0)
    assert await scale(visitor) == whole
    await page.keyboard.press("ArrowRight")
    await expect(box.get_by_role("heading")).to_contain_text("Picture 2 of 2")
    await box.get_by_role("button", name="Previous picture").click()
    # The focus stays inside, and goes back where it came from.
    for _ in range(12):
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement === document.body || Boolean(document.activeElement.closest('dialog.lightbox'))")
    await page.keyboard.press("Escape")
    await expect(box).to_have_count(0)
    await expect(page.get_by_role("button", name="More actions for circle.png")).to_be_focused()


async def test_two_fingers_zoom_and_one_goes_on(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, viewport={"width": 390, "height": 740}, has_touch=True, is_mobile=True)
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    box = await opened(visitor)
    await visitor.fits()
    whole = await scale(visitor)
    session = await visitor.context.new_cdp_session(visitor.page)

    async def touch(kind: str, *points: tuple[int, int]) -> None:
        touches: list[Any] = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    await touch("touchStart", (300, 400))
    for x in (250, 180, 100):
        await touch("touchMove", (x, 402))
    await touch("touchEnd")
    await expect(box.get_by_role("heading")).to_contain_text("Picture 2")
    await touch("touchStart", (160, 400), (230, 400))
    for reach in (20, 40, 60):
        await touch("touchMove", (160 - reach, 400), (230 + reach, 400))
    await touch("touchEnd")
    assert await scale(visitor) == pytest.approx(whole * 190 / 70, rel=0.1)


async def test_it_shows_what_the_model_sees(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    box = await opened(visitor)
    await box.get_by_role("button", name="What the model sees").click()
    drawn = box.get_by_role("img", name="Picture 1 as the model sees it")
    await expect(drawn).to_have_js_property("naturalWidth", 672)
    await expect(box.locator(".lightbox-foot")).to_contain_text("demo · 1 file · 64 tokens Hatched areas are padding")
    assert await drawn.evaluate("(image) => new URL(image.src).pathname") == await drawn.evaluate(
        "(image) => `/images/${image.src.split('/')[4]}/view`"
    )


async def test_a_part_is_drawn_and_asked_about(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    box = await opened(visitor, way="Ask about a part")
    at = await place_of(box.locator(".lightbox-picture"))
    await page.mouse.move(at["x"] + at["width"] * 0.02, at["y"] + at["height"] * 0.02)
    await page.mouse.down()
    await page.mouse.move(at["x"] + at["width"] * 0.5, at["y"] + at["height"] * 0.75, steps=4)
    await page.mouse.up()
    await expect(box.locator(".lightbox-foot")).to_contain_text("154 × 175 pixels.")
    # A corner is pulled, then the box is moved as a whole.
    corner = await place_of(box.locator("[data-corner=se]"))
    await page.mouse.move(corner["x"] + 14, corner["y"] + 14)
    await page.mouse.down()
    await page.mouse.move(at["x"] + at["width"] * 0.27, at["y"] + at["height"] * 0.52, steps=3)
    await page.mouse.up()
    await expect(box.locator(".lightbox-foot")).to_contain_text("80 × 120 pixels.")
    await page.mouse.move(at["x"] + at["width"] * 0.1, at["y"] + at["height"] * 0.2)
    await page.mouse.down()
    await page.mouse.move(at["x"] + at["width"] * 0.2, at["y"] + at["height"] * 0.3, steps=3)
    await page.mouse.up()
    await box.get_by_role("button", name="Ask about this part").click()
    await expect(visitor.words).to_be_focused()
    await expect(visitor.chips).to_contain_text("part, 80 × 120 · 128 tokens · already read")
    await expect(visitor.chips.locator(".part")).to_be_visible()
    (image,) = await visitor.ask_and_read("What color is it?")
    assert image["region"] == pytest.approx([0.12, 0.12, 0.25, 0.5], abs=0.01)
    await expect(visitor.answer).to_contain_text("red")
    await expect(visitor.turns.locator(".part-frame")).to_be_visible()
    await page.reload()
    await expect(visitor.turns.locator(".part-frame")).to_be_visible()


async def test_no_other_picture_is_gone_to_while_a_part_is_picked(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, viewport={"width": 390, "height": 740}, has_touch=True, is_mobile=True)
    page = visitor.page
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    box = await opened(visitor, way="Ask about a part")
    await expect(box.get_by_role("button", name=re.compile("^Selected part"))).to_be_visible()
    await expect(box.get_by_role("button", name="Next picture")).to_have_count(0)
    await box.get_by_role("button", name="Zoom in").focus()
    await page.keyboard.press("ArrowRight")
    await expect(box.get_by_role("heading")).to_contain_text("Picture 1 of 2")
    await expect(box.get_by_role("button", name=re.compile("^Selected part"))).to_be_visible()
    await box.get_by_role("button", name="Cancel").click()
    await box.get_by_role("button", name="Next picture").click()
    await expect(box.get_by_role("heading")).to_contain_text("Picture 2 of 2")


async def test_a_part_of_a_picture_in_the_chat_is_picked_with_the_keyboard(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, locale="zh-CN")
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("")
    await visitor.turns.locator(".picture").press("Enter")
    await page.get_by_role("complementary").get_by_role("button", name="只问其中一部分").press("Enter")
    part = page.get_by_role("button", name=re.compile("^选中的部分"))
    await expect(part).to_be_focused()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        await page.keyboard.press(key)
    await expect(part).to_have_attribute("aria-label", "选中的部分：距左边 24%，距上边 23%，宽 51%，高 51%")
    await page.keyboard.press("Enter")
    await expect(page.locator(".lightbox, .panel")).to_have_count(0)
    await expect(visitor.chips).to_contain_text("局部 163 × 122")
    await expect(visitor.words).to_be_focused()
    (image,) = await visitor.ask_and_read("是什么颜色？")
    assert image["region"] == [0.24, 0.23, 0.51, 0.51]
    await expect(visitor.turns.last.locator(".badge")).to_have_text("2")


async def test_escape_gives_up_picking_before_it_closes(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    box = await opened(visitor, way="Ask about a part")
    await visitor.page.keyboard.press("Escape")
    await expect(box.locator(".region-box")).to_have_count(0)
    await visitor.page.keyboard.press("Escape")
    await expect(box).to_have_count(0)
    await expect(visitor.chips).not_to_contain_text("part")
