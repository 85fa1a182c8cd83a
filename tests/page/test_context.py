"""The context: a bar that is true, what goes next and what helps, and words in the thread where something is dropped or does not fit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from llava_gateway.chat import EngineRequest, TokenCount
from tests import sample_images
from tests.page.test_axe import WCAG, faults
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, says_then_waits
from tests.synthetic_llava import ENDLESS

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
SMALL = {"options": {"num_ctx": 512, "num_predict": 24}}
WORDS = "one two three four five six seven eight nine ten "


def counts(visitor: Visitor) -> list[Any]:
    """The questions that are counted, as they come."""
    found: list[Any] = []
    visitor.page.on("request", lambda request: found.append(request.post_data_json) if request.url.endswith("/count_tokens") else None)
    return found


async def figures(visitor: Visitor) -> list[int]:
    """Return (used, limit, system, text, pictures, free)."""
    label = await visitor.page.get_by_role("button", name=re.compile("^Context: ")).get_attribute("aria-label")
    return [int(figure.replace(",", "")) for figure in re.findall(r"[\d,]+\d|\d", label or "")]


async def test_what_is_attached_and_typed_is_counted_before_it_is_asked(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, stored={"system": "Be precise."})
    bar = visitor.page.get_by_role("button", name=re.compile("^Context: "))
    await expect(bar).to_have_count(0)
    await visitor.pick(RED_CIRCLE)
    await expect(bar).to_have_attribute("aria-label", re.compile("pictures 64"))
    attached, *_ = await figures(visitor)
    await visitor.words.fill("What color is the circle?")
    await expect(bar).not_to_have_attribute("aria-label", re.compile(f" {attached} of"))
    used, limit, system, text, images, free = await figures(visitor)
    assert system > 0
    assert (system + text + images, limit - used) == (used, free)
    await visitor.ask("What color is the circle?")
    summary = await visitor.turns.last.locator(".summary").inner_text()
    assert f"tokens: {used} read" in summary
    # The answer has told by then: its own words are in it too.
    await expect(bar).not_to_have_attribute("aria-label", re.compile(f" {used} of"))


async def test_nothing_is_counted_while_an_answer_runs(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(says_then_waits("One")))
    visitor = await visit(served.url)
    asked = counts(visitor)
    await visitor.words.fill("Count.")
    await visitor.words.press("Enter")
    await expect(visitor.answer).to_contain_text("One")
    before = len(asked)
    await visitor.page.clock.install()
    await visitor.words.fill("And then?")
    await visitor.page.clock.run_for(10_000)  # longer than the page lets pass before it asks
    await visitor.seen()
    assert len(asked) == before
    async with visitor.page.expect_request(lambda request: request.url.endswith("/count_tokens")) as counted:
        await visitor.page.get_by_role("button", name="Stop (Esc)").click()
    assert "And then?" in str((await counted.value).post_data_json)


async def test_it_opens_to_what_it_is_spent_on_and_what_goes_next(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Describe this image.")
    await visitor.ask("Hello")
    await page.keyboard.press("Tab")
    bar = page.get_by_role("button", name=re.compile("^Context: "))
    await bar.focus()
    await bar.press("Enter")
    sheet = page.get_by_role("dialog", name="Context")
    await expect(sheet).to_contain_text("Counted exactly.")
    await expect(sheet).to_contain_text("this is dropped first: the text of one turn.")
    image, talk = sheet.locator(".context-turns > li").nth(0), sheet.locator(".context-turns > li").nth(1)
    await expect(talk).to_contain_text("Hello")
    await expect(talk).to_contain_text("dropped first")
    await expect(image.locator(".context-picture")).to_contain_text(re.compile(r"Picture 1.*drop order: 3.*64"))
    await image.get_by_role("button", name="Pin picture 1", exact=True).click()
    await expect(image.locator(".context-picture")).to_contain_text("pinned")
    await expect(image.locator(".context-picture")).not_to_contain_text("drop order")
    await image.get_by_role("button", name="Unpin picture 1").click()
    await expect(image.locator(".context-picture")).to_contain_text("dropped first")
    await sheet.get_by_label("no longer fits").select_option(label="Drop nothing and refuse the question")
    await expect(sheet).to_contain_text("Nothing is dropped")
    await visitor.fits()
    await page.keyboard.press("Escape")
    await expect(bar).to_be_focused()
    await page.reload()
    await bar.click()
    await expect(sheet.get_by_label("no longer fits")).to_have_value("strict")


async def test_what_is_dropped_is_said_in_the_thread(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, stored={**SMALL, "policy": "sliding"})
    page = visitor.page
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Describe this image.")
    notes = page.locator(".context-note")
    while not await notes.filter(has_text="no longer sees").count():
        assert await visitor.turns.count() < 12
        await visitor.ask(WORDS * 3)
    await expect(notes.filter(has_text="no longer sees")).to_have_text(
        re.compile(r"From here on the model no longer sees the text of (one turn|\d+ turns) and 1 picture\.")
    )
    await expect(page.locator(".turn").first.locator(".untold")).to_have_text("no longer sent to the model")
    await page.get_by_role("button", name="中文").click()
    await expect(notes.filter(has_text="看不到")).to_have_text(re.compile(r"模型看不到 ?\d+ 轮的文字和 1 张图片了。"))
    await page.reload()
    await expect(notes.filter(has_text="看不到")).to_have_count(1)
    await notes.filter(has_text="看不到").get_by_role("button", name="查看用量").click()
    await expect(page.get_by_role("dialog", name="上下文").locator("[data-fate=gone]").first).to_have_text("不再发给模型")


async def test_that_it_is_nearly_full_is_said_and_a_larger_one_helps(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, stored={"options": {"num_ctx": 512, "num_predict": 8}})
    page = visitor.page
    await visitor.ask(WORDS * 3)
    while not await page.locator(".context-note").filter(has_text="full.").count():
        assert await visitor.turns.count() < 12
        await visitor.ask(WORDS)
    await page.get_by_role("button", name="See what uses it").last.click()
    sheet = page.get_by_role("dialog", name="Context")
    await expect(sheet).to_contain_text(re.compile("Reloads the model. This took .* last time."))
    await sheet.get_by_role("button", name="Increase the context to 4,096").click()
    await expect(sheet).to_contain_text("of 4,096 tokens")
    await expect(sheet.get_by_role("button", name="Enlarge")).to_have_count(0)
    await page.keyboard.press("Escape")
    await visitor.ask("Hello")
    assert (await figures(visitor))[1] == 4096
    await expect(page.locator(".composer-line")).to_contain_text("2 changed")


@pytest.mark.parametrize(
    ("locale", "full", "long"),
    [
        (
            "en-US",
            "The answer was cut off: all 512 tokens of the context are used. Use a larger context or start a new chat. See what uses it",
            "Cut off: the length limit of an answer (num_predict) was reached.",
        ),
        ("zh-CN", "上下文的 512 个词元已经用完。请调大上下文，或开始新对话", "回答在这里中断：已达到单个回答的长度上限（num_predict）。"),
    ],
)
async def test_what_cut_an_answer_off_is_said(visit: Visit, endless_url: str, locale: str, full: str, long: str) -> None:
    visitor = await visit(endless_url, locale=locale, stored={"options": {**ENDLESS, "num_ctx": 512}})
    await visitor.ask("Hello")
    await expect(visitor.turns.last).to_contain_text(full)
    await expect(visitor.turns.last).not_to_contain_text("num_predict")
    await visitor.page.reload()
    await expect(visitor.turns.last).to_contain_text(full)
    await expect(visitor.turns.last.locator(".context-note")).to_have_count(1)
    short = await visit(endless_url, locale=locale, stored={"options": {**ENDLESS, "num_ctx": 512, "num_predict": 8}})
    await short.ask("Hello")
    await expect(short.turns.last).to_contain_text(long)


async def test_a_question_that_does_not_fit_says_so_and_offers_what_helps(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, stored={**SMALL, "policy": "strict"})
    visitor.refused = {400}
    page = visitor.page
    await visitor.words.fill(WORDS * 30)
    await expect(page.locator(".meter[data-over=true]")).to_be_visible()
    async with visitor.refusal() as said:
        await visitor.words.press("Enter")
    failed = page.get_by_role("alert")
    await expect(failed).to_contain_text(said[0])
    await expect(failed.get_by_role("button", name="See what uses it")).to_be_visible()
    await expect(failed.get_by_role("button", name="Ask again and drop old text")).to_be_visible()
    await expect(failed).to_contain_text("Reloads the model.")
    await failed.get_by_role("button", name="Ask again with a context of 4,096").click()
    await expect(visitor.answer).to_be_visible()
    await expect(visitor.turns).to_have_count(1)
    await expect(failed).to_have_count(0)


async def test_a_picture_of_many_tiles_can_be_shown_with_fewer(visit: Visit, tiled_url: str) -> None:
    visitor = await visit(tiled_url, stored={"detail": "high", "options": {"num_predict": 8}})
    page = visitor.page
    await visitor.pick(file(sample_images.encoded(sample_images.shape("circle", "red", size=(640, 640))), "circle.png"))
    await visitor.prepared()
    await visitor.ask("Hi")
    bar = page.get_by_role("button", name=re.compile("^Context: "))
    await bar.click()
    lower = page.get_by_role("dialog", name="Context").get_by_role("button", name="Lower the detail of picture 1")
    before = (await figures(visitor))[4]
    await lower.click()
    await expect(lower).to_have_count(0)
    assert (await figures(visitor))[4] < before / 2


async def test_a_picture_that_does_not_fit_with_its_tiles_is_asked_about_without_them(visit: Visit, tiled_url: str) -> None:
    visitor = await visit(tiled_url, stored={"detail": "high", "options": {"num_ctx": 512, "num_predict": 8}})
    visitor.refused = {400}
    await visitor.pick(file(sample_images.encoded(sample_images.shape("circle", "red", size=(640, 640))), "circle.png"))
    await visitor.prepared()
    await visitor.ask(WORDS * 5)
    await visitor.page.get_by_role("alert").get_by_role("button", name="Ask again with low detail").click()
    await expect(visitor.answer).to_be_visible()
    await expect(visitor.turns).to_have_count(1)


@pytest.mark.parametrize(("locale", "colours"), [("en-US", "light"), ("zh-CN", "dark")])
async def test_axe_finds_nothing_in_the_sheet_and_in_tables(visit: Visit, demo_url: str, locale: str, colours: str) -> None:
    stored = {"options": {"num_ctx": 512, "num_predict": 100}, "system": "Be brief.", "policy": "sliding"}
    how: dict[str, Any] = {"color_scheme": colours, "reduced_motion": "reduce", "viewport": {"width": 360, "height": 740}}
    visitor = await visit(demo_url, stored=stored, locale=locale, **how)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Describe this image as JSON.")
    await expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Describe this image as JSON.")
    assert await faults(visitor, {"runOnly": WCAG}) == []
    for _ in range(3):
        await visitor.ask(WORDS * 3)
    await visitor.page.locator("button.context-meter").click()
    await expect(visitor.page.locator("[data-fate=gone]").first).to_be_visible()
    assert await faults(visitor, {"runOnly": WCAG}) == []
    await visitor.fits()


async def test_what_is_only_reckoned_is_called_so(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine)
    visitor = await visit(served.url)
    await visitor.words.fill("Hello there")
    bar = visitor.page.get_by_role("button", name=re.compile("^Context: "))
    await bar.click()
    sheet = visitor.page.get_by_role("dialog", name="Context")
    await expect(sheet).to_contain_text("Estimated.")
    await expect(sheet).to_contain_text("The engine reports its limit only once the model is loaded. Until then, 4,096 tokens are assumed.")

    def exactly(request: EngineRequest) -> TokenCount:
        return TokenCount(5, 20, (), "measured")

    engine.counted, engine.context = exactly, 2048
    await visitor.page.keyboard.press("Escape")
    await visitor.words.fill("Hello there again")
    await expect(bar).to_have_attribute("aria-label", re.compile("^Context: 25 of 2,048 tokens. System 5, text 20,"))
    await bar.click()
    await expect(sheet).to_contain_text("Based on earlier answers.")
    assert engine.requests == [], "nothing was asked of the model"
