"""Chats as a whole: searched, deleted and brought back, copied, saved to files and opened again."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.async_api import expect

from llava_gateway.errors import InvalidArchive
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, says, says_then_waits

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")


async def choose(visitor: Visitor, title: str, action: str) -> None:
    """In the menu of a chat in the list."""
    row = visitor.page.locator(".session", has_text=title)
    await row.hover()
    await row.get_by_role("button", name=f"More actions for {title}").click()
    await visitor.page.get_by_role("menuitem", name=action, exact=True).click()


async def test_chats_are_searched_and_opened_where_the_words_stand(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says("A **red** circle."))
    served = await scripted(engine)
    visitor = await visit(served.url)
    page = visitor.page
    await visitor.ask("第一个问题是什么")
    engine.script = says("A blue square.")
    await visitor.turns.last.hover()
    await visitor.turns.last.get_by_role("button", name="Ask again").click()
    await visitor.ended()
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.ask("Another chat")
    await page.get_by_role("button", name="Hide chats").click()
    await page.keyboard.press("Control+k")
    field = page.get_by_role("searchbox", name="Search chats")
    await expect(field).to_be_focused()
    await page.keyboard.type("RED")
    match = page.locator(".found-match")
    await expect(match).to_have_text("A red circle.")
    await expect(match.locator("mark")).to_have_text("red")
    # It stands in a version that is not the current one.
    await page.keyboard.press("ArrowDown")
    await match.click()
    await expect(visitor.answer).to_have_text("A red circle.")
    await expect(visitor.turns.last.locator(".branches")).to_have_text("1/2")
    await field.fill("一个问题")
    await expect(page.locator(".found .session-open")).to_have_text(["第一个问题是什么"])
    await field.fill("nothing like it")
    await expect(page.get_by_text("No chats found.").first).to_be_visible()
    await field.press("Escape")
    await expect(page.locator(".session")).to_have_count(2)


async def test_a_deleted_chat_can_be_brought_back(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("A question")
    await choose(visitor, "A question", "Delete")
    await expect(visitor.turns).to_have_count(0)
    await expect(visitor.page.locator(".session")).to_have_count(0)
    assert (await served.client.get("/sessions")).json() == {"sessions": []}
    await visitor.page.locator(".toast", has_text="Deleted: A question").get_by_role("button", name="Undo").click()
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.page.locator(".session")).to_have_count(1)
    await visitor.ask("And on")


async def test_a_chat_that_another_page_deletes_is_said_to_be_gone(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.refused = {404}
    await visitor.ask("A question")
    await served.client.delete(f"/sessions/{visitor.page.url.partition('#session=')[2]}")
    await expect(visitor.page.get_by_role("alert")).to_contain_text("This chat is gone. The gateway was restarted")


async def test_a_chat_is_copied_whole_or_up_to_a_turn(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    await visitor.ask("One")
    await visitor.ask("Two")
    await visitor.turns.first.hover()
    await visitor.turns.first.get_by_role("button", name="More", exact=True).click()
    await visitor.page.get_by_role("menuitem", name="New chat from here").click()
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.page.locator(".session")).to_have_count(2)
    await visitor.ask("Another two")
    turns = [session["turn_count"] for session in (await served.client.get("/sessions")).json()["sessions"]]
    assert turns == [2, 2]
    await visitor.page.locator(".session[data-current=true]").hover()
    await visitor.page.locator(".session[data-current=true]").get_by_role("button", name="More actions for One").click()
    await visitor.page.get_by_role("menuitem", name="Copy as a new chat").click()
    await expect(visitor.page.locator(".session")).to_have_count(3)
    await expect(visitor.turns).to_have_count(2)
    await expect(visitor.page.locator(".session[data-current=true]")).to_have_text(re.compile(r"^One.* \(copy\)$"))


async def test_the_chats_that_are_being_answered_can_be_told_in_the_list(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine(says_then_waits("A red")))).url)
    await visitor.words.fill("First chat")
    await visitor.words.press("Enter")
    await expect(visitor.turns.first).to_contain_text("A red")
    answering = visitor.page.locator(".session", has=visitor.page.get_by_role("img", name="answering"))
    await expect(answering).to_have_count(0)  # it is on screen
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(answering).to_have_text("First chat")
    await answering.get_by_role("link").click()
    await visitor.page.keyboard.press("Escape")
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(visitor.page.locator(".session")).to_have_count(1)
    await expect(answering).to_have_count(0)


async def test_a_chat_is_saved_and_opened_again(visit: Visit, demo_url: str, tmp_path: Path) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("图里有什么图形？")
    saved: dict[str, Path] = {}
    for action, name in [("Zip with everything", "zip"), ("Web page", "html"), ("Markdown", "md"), ("JSON", "json")]:
        async with page.expect_download() as waiting:
            await choose(visitor, "图里有什么图形？", action)
        download = await waiting.value
        assert download.suggested_filename == f"图里有什么图形？.{name}"
        saved[name] = tmp_path / name
        await download.save_as(saved[name])
    assert "images/1.png" in zipfile.ZipFile(saved["zip"]).namelist()
    assert saved["html"].read_text("utf-8").startswith("<!doctype html>")
    assert saved["md"].read_text("utf-8").startswith("# 图里有什么图形？")
    assert json.loads(saved["json"].read_text("utf-8"))["format"] == "llava-gateway-session"
    before = page.url
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Open a saved chat").click()
    await (await chooser.value).set_files(saved["zip"])
    await expect(page.locator(".toast", has_text="Opened: 图里有什么图形？")).to_be_visible()
    assert page.url != before
    await expect(visitor.turns.locator("img")).to_be_visible()
    await visitor.ask("What color is the circle?")
    await expect(visitor.answer).to_contain_text("red")


async def test_a_file_that_is_no_chat_is_refused_in_words(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.refused = {422}
    async with visitor.page.expect_file_chooser() as chooser:
        await visitor.page.get_by_role("button", name="Open a saved chat").click()
    await (await chooser.value).set_files(file(b"{}", "notes.json", "application/json"))
    await expect(visitor.page.locator(".toast")).to_contain_text(f"notes.json: {InvalidArchive().message}")


EVIL = """</p></style><script>alert(1)</script> <img src=https://evil.example/p.png onerror=alert(2)> <b>bold</b>"""


async def test_what_was_said_is_only_words_in_results_in_news_and_in_a_saved_page(visit: Visit, scripted: Scripted, tmp_path: Path) -> None:
    served = await scripted(ScriptedEngine(says(EVIL)))
    visitor = await visit(served.url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask(f"{EVIL} what")
    session_id = page.url.partition("#session=")[2]
    await served.client.patch(f"/sessions/{session_id}", json={"title": EVIL})
    await page.keyboard.press("Control+k")
    await page.keyboard.type("bold")
    await expect(page.locator(".found-match mark").first).to_have_text("bold")
    await page.keyboard.press("Escape")
    await expect(page.locator(".session .session-open")).to_have_text(EVIL)
    await page.locator(".session").hover()
    async with page.expect_download() as waiting:
        await page.locator(".session [aria-haspopup=menu]").click()
        await page.get_by_role("menuitem", name="Web page", exact=True).click()
    saved = tmp_path / "saved.html"
    await (await waiting.value).save_as(saved)
    await page.locator(".session").hover()
    await page.locator(".session [aria-haspopup=menu]").click()
    await page.get_by_role("menuitem", name="Delete").click()
    await expect(page.locator(".toast p")).to_have_text(f"Deleted: {EVIL}")
    assert await page.locator(".sidebar b, .toast b, .sidebar img[onerror]").count() == 0

    other = await visitor.context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    other.on("request", lambda request: requests.append(request.url))
    other.on("console", lambda said: complaints.append(said.text))
    await other.goto(saved.as_uri())
    await expect(other.locator("h1")).to_have_text(EVIL)
    await expect(other.locator("h1")).to_have_css("font-size", "24px")  # its own style is let through
    assert await other.locator("img").evaluate("(image) => image.complete && image.naturalWidth") == 112
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
