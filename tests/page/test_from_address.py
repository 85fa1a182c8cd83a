"""Pictures from addresses: the gateway fetches them if it may, and the page says how to let it if not."""

from __future__ import annotations

from typing import Any, cast

import pytest
from playwright.async_api import expect

from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway import links
from tests import sample_images
from tests.gateway.test_links import Web
from tests.page.visit import Scripted, Visit, Visitor
from tests.pdfs import pdf
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHOTO = "https://pictures.example/holiday/photo.png?signature=1"
REPORT = "https://papers.example/report.pdf?signature=1"
ON = "LLAVA_GATEWAY_FETCH=on"


async def with_a_web(visit: Visit, scripted: Scripted, fetch: Any = "on", **context: Any) -> tuple[Visitor, Web, ScriptedEngine]:
    web, engine = Web(), ScriptedEngine()
    web.files = {PHOTO: sample_images.encoded(sample_images.shape("circle", "red"))}
    served = await scripted(engine, fetch=fetch)
    served.gateway.links._fetcher = cast("Fetcher", web)
    visitor = await visit(served.url, **context)
    visitor.refused = {422}
    return visitor, web, engine


async def add(visitor: Visitor, address: str) -> None:
    await add_document(visitor, address)
    await expect(visitor.page.get_by_role("dialog")).to_have_count(0)


async def add_document(visitor: Visitor, address: str) -> None:
    """Add what is at an address, which may open the dialog for its pages."""
    await visitor.page.get_by_role("button", name="Add pictures").click()
    await visitor.page.get_by_role("menuitem", name="From an address").click()
    field = visitor.page.get_by_label("Address of the picture")
    await expect(field).to_be_focused()
    await field.fill(address)
    await visitor.page.keyboard.press("Enter")


async def test_a_picture_comes_from_an_address(visit: Visit, scripted: Scripted) -> None:
    visitor, web, engine = await with_a_web(visit, scripted)
    await add(visitor, f"  {PHOTO.removeprefix('https://')} ")
    await visitor.prepared()
    await expect(visitor.chips.locator("bdi")).to_have_text("photo.png")
    await visitor.ask("What is it?")
    await expect(visitor.turns.locator(".picture img")).to_be_visible()
    await visitor.ended()
    assert len(engine.requests[-1].images) == 1
    assert web.fetched == [PHOTO]


async def test_pages_of_a_document_at_an_address_are_chosen_too(visit: Visit, scripted: Scripted) -> None:
    visitor, web, engine = await with_a_web(visit, scripted)
    web.files[REPORT] = pdf("One", "Two", "Three")
    await add_document(visitor, REPORT)
    dialog = visitor.page.get_by_role("dialog", name="Pages of report.pdf")
    await expect(dialog.locator("img")).to_have_count(3)
    await dialog.get_by_label("Page 1").uncheck()
    await dialog.get_by_label("Page 3").check()
    await dialog.get_by_role("button", name="Add 1 picture").click()
    await visitor.prepared()
    await expect(visitor.chips.locator(".chip-name")).to_have_text("Page 3 of report.pdf")
    await visitor.ask("What does it say?")
    await visitor.ended()
    assert len(engine.requests[-1].images) == 1


async def test_a_dropped_address_is_fetched_too(visit: Visit, scripted: Scripted) -> None:
    visitor, _, _ = await with_a_web(visit, scripted)
    await visitor.drop_address(PHOTO)
    await visitor.prepared()


async def test_an_address_that_fails_can_be_tried_again(visit: Visit, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "FAILS_AFTER", 0.0)
    visitor, web, _ = await with_a_web(visit, scripted)
    photo = web.files.pop(PHOTO)
    await add(visitor, PHOTO)
    await expect(visitor.chips).to_contain_text("could not be fetched")
    web.files[PHOTO] = photo
    await visitor.page.get_by_role("button", name="Try again").click()
    await visitor.prepared()
    await add(visitor, "ftp://pictures.example/")
    await expect(visitor.chips.last).to_contain_text("could not be fetched")
    assert web.fetched[-1] == "ftp://pictures.example/"


async def test_the_way_in_is_hidden_while_it_is_off_and_the_menu_says_how_to_open_it(visit: Visit, scripted: Scripted) -> None:
    visitor, web, _ = await with_a_web(visit, scripted, "off")
    await visitor.page.get_by_role("button", name="Add pictures").click()
    await expect(visitor.page.get_by_role("menuitem", name="From an address")).to_have_count(0)
    await expect(visitor.page.get_by_text(ON)).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await visitor.drop_address(PHOTO)
    await expect(visitor.chips).to_contain_text("This is the address of a picture, not the picture.")
    assert web.fetched == []
    on, _, _ = await with_a_web(visit, scripted, ("*.example",), locale="zh-CN")
    await on.page.get_by_role("button", name="添加图片").click()
    await expect(on.page.get_by_text(ON)).to_have_count(0)
    await expect(on.page.get_by_role("menuitem", name="输入图片网址")).to_be_visible()
