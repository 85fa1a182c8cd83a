"""The first run: an empty page says what answers, has pictures to try that it can answer, and what to do for a model that can do more."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from playwright.async_api import expect

from llava_gateway.engines import setup
from llava_gateway.notes import INSTALL_EMBEDDED
from llava_gateway.settings import Settings
from tests.engines.test_upstream import free_port
from tests.page.test_axe import WCAG, faults
from tests.page.visit import Scripted, Visit
from tests.scripted_engine import ScriptedEngine
from tests.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEMO = (("What is in this image?", "red circle"), ("What does it say?", "F7"), ("What color is the star?", "green"))
DEMO_ZH = (("图中有什么？", "红色圆形"), ("写了什么？", "F7"), ("星形是什么颜色？", "绿色"))


@pytest.mark.parametrize(("locale", "examples", "new_chat"), [("en-US", DEMO, "New chat"), ("zh-CN", DEMO_ZH, "新对话")])
async def test_the_examples_are_answered_by_the_demo_model(
    visit: Visit, demo_url: str, locale: str, examples: tuple[tuple[str, str], ...], new_chat: str
) -> None:
    visitor = await visit(demo_url, locale=locale)
    for question, answer in examples:
        await visitor.page.get_by_role("button", name=question, exact=True).click()
        await expect(visitor.answer).to_contain_text(answer)
        await visitor.page.get_by_role("button", name=new_chat).first.click()
        await expect(visitor.turns).to_have_count(0)


async def test_it_says_what_answers_and_opens_the_models(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    running = visitor.page.locator(".running")
    await expect(running).to_contain_text("demo answers your questions. It runs on the engine built into the gateway.")
    await expect(running).to_contain_text("tiny demo model")
    await expect(visitor.page.locator(".setup")).to_contain_text("started without Ollama")
    await expect(visitor.page.locator(".setup code")).to_have_text("--engine auto")
    assert await faults(visitor, {"runOnly": WCAG}) == []
    await running.get_by_role("button", name="See all models").click()
    await expect(visitor.page.get_by_role("dialog", name="Models")).to_contain_text("demo")


async def test_a_larger_model_is_asked_about_what_people_ask(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(model_names=("llava:7b",))
    visitor = await visit((await scripted(engine)).url)
    await expect(visitor.page.locator(".running")).to_contain_text("llava:7b answers your questions. It runs on Ollama.")
    await expect(visitor.page.locator(".running")).not_to_contain_text("demo")
    await expect(visitor.page.locator(".examples li")).to_have_count(3)
    await visitor.page.get_by_role("button", name="What is the total, and what was bought?").click()
    await expect(visitor.answer).to_have_text("Hello there.")
    ((_, rendition),) = engine.requests[-1].renditions.items()
    assert rendition.pieces


@pytest.mark.parametrize(
    ("platform", "installed", "said", "command"),
    [
        ("linux", False, "Install Ollama on the gateway’s machine (Linux):", "curl -fsSL https://ollama.com/install.sh | sh"),
        ("windows", False, "Install Ollama on the gateway’s machine (Windows):", "irm https://ollama.com/install.ps1 | iex"),
        ("macos", True, "Ollama is installed but not running. Start it:", "open -a Ollama"),
        ("linux", True, "Ollama is installed but not running. Start it:", "ollama serve"),
        ("linux", None, "The Ollama server in the settings does not answer.", None),
    ],
)
async def test_where_ollama_is_missing_it_says_how_to_get_it(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, platform: Any, installed: bool | None, said: str, command: str | None
) -> None:
    monkeypatch.setattr(setup, "this_platform", lambda: platform)
    monkeypatch.setattr(setup, "ollama_installed", lambda settings: installed)
    async with serving(Settings(port=0, ollama_host=f"127.0.0.1:{free_port()}")) as served:
        visitor = await visit(served.url)
        card = visitor.page.locator(".setup")
        await expect(card).to_contain_text("Get a model that understands photos")
        await expect(card).to_contain_text(said)
        await expect(card.locator(".command code")).to_have_text([command] if command else [])
        await visitor.fits()


async def test_without_any_engine_there_is_the_way_to_one(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "ollama_installed", lambda settings: False)
    monkeypatch.setattr(setup, "this_platform", lambda: "linux")
    async with serving(Settings(port=0, engine="ollama", ollama_host=f"127.0.0.1:{free_port()}")) as served:
        visitor = await visit(served.url, locale="zh-CN")
        visitor.refused = {503}
        card = visitor.page.locator(".setup")
        await expect(card).to_contain_text("添加一个能看图的模型")
        await expect(card).to_contain_text(re.compile("安装 Ollama"))
        await expect(visitor.page.locator(".examples")).to_have_count(0)


@pytest.mark.parametrize(("engine", "said"), [("embedded", "which is not installed"), ("auto", "Or install the embedded engine there.")])
async def test_without_the_embedded_engine_there_is_the_command_that_gets_it(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, engine: Any, said: str
) -> None:
    monkeypatch.setattr(setup, "ollama_installed", lambda settings: False)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    async with serving(Settings(port=0, engine=engine, ollama_host=f"127.0.0.1:{free_port()}")) as served:
        visitor = await visit(served.url)
        visitor.refused = {503}
        card = visitor.page.locator(".setup")
        await expect(card).to_contain_text(said)
        await expect(card.locator(".command code").last).to_have_text(INSTALL_EMBEDDED)
        await expect(visitor.page.locator(".banners")).to_contain_text("llava-gateway[embedded]")


async def test_what_could_not_be_had_at_the_start_is_asked_for_again(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.refused = {503}
    examples, options = visitor.page.locator(".examples li"), visitor.page.get_by_role("button", name="Options")
    await expect(examples).to_have_count(3)
    for path in ("models", "options", "sessions"):
        await visitor.page.route(f"{demo_url}/{path}", lambda route: route.fulfill(status=503, body="{}"), times=1)
    async with visitor.page.expect_request(f"{demo_url}/models"):
        await visitor.page.reload()
    await expect(examples).to_have_count(3)
    await options.click()
    await expect(visitor.page.get_by_role("dialog").get_by_role("button", name="Creative", exact=True)).to_be_visible()
