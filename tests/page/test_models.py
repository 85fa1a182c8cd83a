"""Models in the page: seen with what they need, downloaded with real progress, made, deleted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from llava_gateway.errors import InvalidModelName
from llava_gateway.settings import Settings
from tests import sample_images
from tests.ollama_server import RealOllama
from tests.page.test_axe import WCAG, faults
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.real_ollama.registry import Registry
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")
PAUSE = 1_000_000
"""Bytes after which the registry waits, so that there is progress to see."""


@pytest.fixture
def registry(real_ollama: RealOllama) -> Iterator[Registry]:
    with Registry(real_ollama.models).serving() as registry:
        yield registry


@pytest_asyncio.fixture(loop_scope="session")
async def bare(ollama_binary: Path, tmp_path: Path) -> AsyncIterator[Served]:
    """The service as it starts by itself, before an Ollama that has no model yet: the demo model answers."""
    server = RealOllama.start(ollama_binary, tmp_path)
    try:
        async with serving(Settings(port=0, ollama_host=server.url, pull_registries=("127.0.0.1",))) as served:
            yield served
    finally:
        server.stop()


async def models_of(visitor: Visitor) -> Locator:
    await visitor.page.locator(".composer-line button").first.click()
    dialog = visitor.page.get_by_role("dialog", name="Models")
    await expect(dialog).to_be_visible()
    return dialog


def arrival(visitor: Visitor, state: str) -> Locator:
    return visitor.page.locator(f".arrival[data-state={state}]")


async def test_a_model_is_downloaded_with_real_progress_and_then_answers(visit: Visit, bare: Served, registry: Registry) -> None:
    """The way of most people: the demo model, a download that is stopped, gone on with, left alone and reloaded, and a model that stays."""
    visitor = await visit(bare.url)
    page = visitor.page
    await expect(page.locator(".running")).to_contain_text("demo answers")
    await expect(page.locator(".setup")).to_contain_text("llava:7b 4.7 GB to download.")
    await page.get_by_role("button", name="What does it say?").click()
    await expect(visitor.answer).to_contain_text("F7")
    dialog = await models_of(visitor)
    registry.pause_at = PAUSE
    await dialog.get_by_label("Name of the model to download").fill(registry.demo)
    await page.keyboard.press("Enter")
    running = arrival(visitor, "running")
    await expect(running).to_contain_text("Downloading file 1")
    await expect(running.get_by_role("progressbar")).to_have_js_property("value", PAUSE)
    await expect(running).to_contain_text(re.compile(r"1 MB of [\d.]+ MB"))
    assert await faults(visitor, {"runOnly": WCAG}) == []

    # Stopped: Ollama stops too, and what has come is kept.
    await running.get_by_role("button", name="Stop").click()
    await expect(arrival(visitor, "stopped")).to_contain_text("What was downloaded is kept")
    registry.pause_at = PAUSE // 2
    await arrival(visitor, "stopped").get_by_role("button", name="Resume").click()
    await expect(running.get_by_role("progressbar")).to_have_js_property("value", PAUSE + PAUSE // 2)
    assert [first for first, _ in registry.ranges[:2]] == [0, PAUSE]

    # It goes on while the dialog is closed, and after a reload.
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert [installing.name for installing in bare.gateway.installer.running] == [registry.demo]
    registry.pause_at = PAUSE // 4
    await page.reload()
    await models_of(visitor)
    await expect(running.get_by_role("progressbar").first).to_have_js_property("value", PAUSE + PAUSE // 2 + PAUSE // 4)
    registry.go_on.set()
    await expect(arrival(visitor, "done")).to_contain_text("Downloaded.")
    row = dialog.locator(".model-row", has_text=registry.demo)
    await expect(row).to_contain_text("sees pictures")
    await expect(row).to_contain_text(re.compile(r"Fits: needs about [\d.]+ MB of memory, [\d.]+ GB available"))
    await visitor.fits()
    await page.keyboard.press("Escape")

    # The chat stays with the model it began with until it is told otherwise; nothing is missing any more.
    await expect(page.locator(".composer-line button").first).to_have_text("demo")
    await page.locator(".banner").get_by_role("button", name="Use in this chat").click()
    await expect(page.locator(".composer-line")).to_contain_text(registry.demo)
    await visitor.ask("What does it say?")
    await expect(visitor.answer).to_contain_text("F7")
    await expect(visitor.turns.last.locator(".summary")).to_contain_text(registry.demo)
    await page.get_by_role("button", name="New chat").first.click()
    await expect(page.locator(".running")).to_contain_text(f"{registry.demo}:latest answers your questions. It runs on Ollama.")
    await expect(page.locator(".setup")).to_have_count(0)


async def test_what_is_missing_is_downloaded_from_the_first_page(visit: Visit, own_ollama: RealOllama, registry: Registry) -> None:
    wanted = registry.demo.replace("demo", "demo:latest")
    settings = Settings(port=0, engine="ollama", ollama_host=own_ollama.url, model=wanted, pull_registries=("127.0.0.1",))
    async with serving(settings) as served:
        visitor = await visit(served.url)
        setup = visitor.page.locator(".setup")
        await expect(setup).to_contain_text(f"The settings name {wanted}, but no engine has it.")
        registry.go_on.set()
        await setup.get_by_role("button", name=f"Download {wanted}").click()
        await expect(setup).to_have_count(0)
        await expect(visitor.page.locator(".running")).to_contain_text(f"{wanted} answers")
        assert (await served.client.delete(f"/models/{wanted}")).status_code == 204


async def test_a_model_is_made_from_a_modelfile_and_deleted(visit: Visit, own_ollama: RealOllama) -> None:
    async with serving(Settings(port=0, engine="ollama", ollama_host=own_ollama.url)) as served:
        visitor = await visit(served.url)
        visitor.refused = {409, 422}
        page = visitor.page
        dialog = await models_of(visitor)
        await dialog.get_by_role("button", name="Create one from a Modelfile").click()
        editor = page.get_by_role("dialog", name="Create a model from a Modelfile")
        name, text = editor.get_by_label("Name of the new model"), editor.get_by_label("Modelfile", exact=True)
        make = editor.get_by_role("button", name="Create")
        await editor.get_by_label("Start from").select_option("llava-7b-ocr")
        await expect(name).to_have_value("llava-7b-ocr")
        await expect(text).to_have_value(re.compile("FROM llava:7b"))

        # What is wrong is said at its place, with the line selected.
        await text.fill("FROM demo\nPARAMETER temperature hot\nSYSTEM Be brief.")
        await name.fill("a b")
        async with visitor.refusal() as said:
            await make.click()
        await expect(text).to_have_attribute("aria-invalid", "true")
        await expect(editor.locator("#recipe-text-fault")).to_contain_text(said[0])
        assert await text.evaluate("(t) => t.value.slice(t.selectionStart, t.selectionEnd)") == "PARAMETER temperature hot"
        await page.keyboard.type("PARAMETER temperature 0")
        await make.click()
        await expect(editor.locator("#recipe-name-fault")).to_contain_text(InvalidModelName().message)
        assert await faults(visitor, {"runOnly": WCAG}) == []
        await name.fill("demo")
        await make.click()
        await expect(editor.locator("#recipe-name-fault").get_by_role("button", name="Replace")).to_be_visible()
        await name.fill("brief")
        # What is being written outlives a reload.
        await page.reload()
        await (await models_of(visitor)).get_by_role("button", name="Create one from a Modelfile").click()
        await expect(name).to_have_value("brief")
        await make.click()
        await expect(arrival(visitor, "done")).to_contain_text("Created.")
        await visitor.fits()
        await arrival(visitor, "done").get_by_role("button", name="Use in this chat").click()
        await editor.get_by_role("button", name="Back to models").click()
        row = dialog.locator(".model-row", has_text="brief:latest")
        await expect(row.get_by_role("button", name="brief:latest").first).to_have_attribute("aria-pressed", "true")

        await row.get_by_role("button", name="Delete brief:latest").click()
        await dialog.get_by_role("button", name="Keep").click()
        await row.get_by_role("button", name="Delete brief:latest").click()
        await dialog.get_by_role("button", name="Delete", exact=True).click()
        await expect(row).to_have_count(0)
        await expect(dialog.locator(".model-row", has_text="demo:latest")).to_have_count(1)
        names = [model["name"] for model in (await served.client.get("/models")).json()["models"]]
        assert "demo:latest" in names
        assert "brief:latest" not in names


async def test_a_download_that_fails_says_why_and_can_be_asked_for_again(visit: Visit, bare: Served, registry: Registry) -> None:
    visitor = await visit(bare.url, locale="zh-CN")
    visitor.refused = {422}
    await visitor.page.locator(".composer-line button").first.click()
    field = visitor.page.get_by_label("要下载的模型名称")
    for name, why in (("llava:cloud", "不使用云端模型"), (registry.demo.replace("demo", "none"), "没有引擎提供")):
        await field.fill(name)
        await field.press("Enter")
        await expect(visitor.page.locator(".arrival", has_text=name).get_by_role("alert")).to_contain_text(why)
    await expect(arrival(visitor, "failed").last.get_by_role("button", name="继续")).to_be_visible()
    await arrival(visitor, "failed").last.get_by_role("button", name="移除").click()
    await expect(arrival(visitor, "failed")).to_have_count(1)


async def test_what_another_page_downloads_is_shown(visit: Visit, bare: Served, registry: Registry) -> None:
    registry.pause_at = PAUSE
    one, other = await visit(bare.url), await visit(bare.url)
    dialog = await models_of(one)
    await dialog.get_by_label("Name of the model to download").fill(registry.demo)
    await dialog.get_by_role("button", name="Download").last.click()
    await expect(arrival(one, "running")).to_contain_text("1 MB of")
    await models_of(other)
    await expect(arrival(other, "elsewhere")).to_contain_text(re.compile(r"from another page or a shell. 1 MB of [\d.]+ MB"))
    await arrival(one, "running").get_by_role("button", name="Stop").click()
    await expect(arrival(other, "elsewhere")).to_have_count(0)


def mixed() -> ScriptedEngine:
    """An engine with a model that sees and one that does not, too large for any machine."""
    engine = ScriptedEngine(model_names=("eyes", "words"))
    eyes, words = engine.installed
    engine.installed = (replace(eyes, size_bytes=5_000_000), replace(words, vision=False, size_bytes=10**15))
    return engine


async def test_pictures_need_a_model_that_sees_and_the_page_offers_one(visit: Visit, scripted: Scripted) -> None:
    engine = mixed()
    visitor = await visit((await scripted(engine)).url)
    page = visitor.page
    dialog = await models_of(visitor)
    await expect(dialog.locator(".model-row", has_text="words")).to_contain_text("text only")
    await expect(dialog.locator(".model-row", has_text="words")).to_contain_text("Too large: needs about")
    assert await faults(visitor, {"runOnly": WCAG}) == []
    await dialog.get_by_role("button", name="words text only").click()
    await expect(page.locator(".running")).to_contain_text("can’t see pictures")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.words.press("Enter")
    await expect(visitor.turns).to_have_count(0)

    dialog = await models_of(visitor)
    await expect(dialog.get_by_role("button", name="words text only")).to_be_disabled()
    await expect(dialog.locator(".notice")).to_contain_text("words can’t see the pictures in this chat.")
    await dialog.get_by_role("button", name="Switch to eyes").click()
    await visitor.ask("What is it?")
    assert engine.requests[-1].model == "eyes"

    # The line under the composer offers the same.
    await page.get_by_role("button", name="New chat").first.click()
    await (await models_of(visitor)).get_by_role("button", name="words text only").click()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await page.locator(".line-note").get_by_role("button", name="Switch to eyes").click()
    await visitor.ask("What is it?")
    assert engine.requests[-1].model == "eyes"


async def test_a_model_that_can_not_see_goes_on_with_a_chat_about_pictures(visit: Visit, scripted: Scripted) -> None:
    engine = mixed()
    visitor = await visit((await scripted(engine)).url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is it?")
    dialog = await models_of(visitor)
    await expect(dialog.locator(".model-row", has_text="words")).to_contain_text("knows what was said about them")
    await dialog.get_by_role("button", name="words text only").click()
    await visitor.ask("Say it in French.")
    assert (engine.requests[-1].model, engine.requests[-1].images) == ("words", ())
    await expect(visitor.turns.last).to_contain_text(
        "words can’t see pictures. It answers from what was said about 1 picture in this chat."
    )


PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


async def test_where_models_cannot_be_changed_the_page_says_where_they_can(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(mixed())
    visitor = await visit(served.url, extra_http_headers={"Via": "1.1 proxy"}, **PHONE)
    dialog = await models_of(visitor)
    await expect(dialog).to_contain_text("on the machine that runs the gateway")
    await expect(dialog.get_by_label("Name of the model to download")).to_have_count(0)
    await expect(dialog.get_by_role("button", name="Delete")).to_have_count(0)
    await visitor.fits()
