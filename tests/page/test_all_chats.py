"""All chats at once, and chats that nothing is kept of."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("chats.db*"))


async def open_dialog(visitor: Visitor) -> None:
    await visitor.page.get_by_role("button", name="All chats").click()
    await expect(visitor.page.get_by_role("dialog", name="All chats")).to_contain_text(
        "The gateway keeps chats on its disk until you delete them."
    )


async def test_chats_outlive_the_gateway(visit: Visit, scripted: Scripted, tmp_path: Path) -> None:
    served = await scripted(ScriptedEngine(says("A red circle.")), keep="sqlite", data_dir=tmp_path)
    visitor = await visit(served.url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is it?")
    await expect(visitor.answer).to_have_text("A red circle.")
    served.server.handle_exit(15, None)
    await served.gateway.journal.aclose()  # type: ignore[union-attr]
    again = await scripted(ScriptedEngine(says("Still red.")), keep="sqlite", data_dir=tmp_path)
    visitor = await visit(again.url)
    await visitor.page.locator(".session-open").click()
    await expect(visitor.answer).to_have_text("A red circle.")
    await expect(visitor.page.locator(".question img")).to_have_js_property("complete", True)
    assert await visitor.page.locator(".question img").evaluate("image => image.naturalWidth") > 0
    await visitor.ask("And now?")
    await expect(visitor.turns.last).to_contain_text("Still red.")


async def test_all_chats_are_saved_deleted_and_opened_again(visit: Visit, scripted: Scripted, tmp_path: Path) -> None:
    served = await scripted(ScriptedEngine(says("Yes.")), keep="sqlite", data_dir=tmp_path)
    visitor = await visit(served.url)
    page = visitor.page
    for words in ("One", "Two"):
        await visitor.ask(words)
        await page.get_by_role("button", name="New chat").first.click()
    await open_dialog(visitor)
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Save all chats").click()
    saved = tmp_path / "saved.zip"
    await (await download.value).save_as(saved)
    assert len(zipfile.ZipFile(saved).namelist()) == 2
    await page.get_by_role("button", name="Delete everything").click()
    await expect(page.get_by_role("alertdialog")).to_contain_text("Delete 2 chats with all their pictures? This can’t be undone.")
    await page.get_by_role("alertdialog").get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Delete everything").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Delete everything").click()
    await expect(page.locator(".toast")).to_contain_text("All chats are deleted.")
    await expect(page.locator(".session")).to_have_count(0)
    assert served.gateway.sessions.list() == []
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Open a saved chat").click()
    await (await chooser.value).set_files(saved)
    await expect(page.locator(".session")).to_have_text(["Two", "One"])


async def test_nothing_of_a_temporary_chat_is_written(visit: Visit, scripted: Scripted, tmp_path: Path) -> None:
    served = await scripted(ScriptedEngine(says("Nothing to see.")), keep="sqlite", data_dir=tmp_path)
    visitor = await visit(served.url)
    box = visitor.page.get_by_role("checkbox", name="Temporary chat")
    await box.check()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is secret?")
    await expect(visitor.answer).to_have_text("Nothing to see.")
    await expect(visitor.page.locator(".session")).to_have_text("What is secret? (temporary)")
    assert b"secret" not in stored(tmp_path)
    assert [path for path in (tmp_path / "images").rglob("*") if path.is_file()] == []
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(box).not_to_be_checked()


async def test_a_gateway_that_keeps_nothing_says_so(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says("Yes.")))
    visitor = await visit(served.url)
    await visitor.ask("Hi")
    await expect(visitor.page.locator(".sidebar")).to_contain_text("Chats live in the gateway’s memory and are lost when it stops.")
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(visitor.page.get_by_role("checkbox", name="Temporary chat")).to_have_count(0)
