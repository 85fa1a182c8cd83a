"""The page's first load: a bundle that is made from its sources and may be kept, and a frame to read and type into until it has come."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import Locator, Page, Route, expect

from llava_gateway import errors
from tests.conftest import there
from tests.page.visit import Scripted, Visit
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
WEB = Path(errors.__file__).parent / "web"
SOURCE = re.compile(r"(js|css)/.*\.(js|css)|vendor/(?!swagger)[\w-]+\.js")
BUILT = ("early.js", "page.css", "page.js")
TOUCH: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
WINDOWS: list[dict[str, Any]] = [TOUCH, {"viewport": {"width": 768, "height": 1024}}, {"viewport": {"width": 1440, "height": 900}}]
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shifts.push([entry.value, entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80))]);
}).observe({ type: 'layout-shift', buffered: true });
"""


async def test_the_bundle_is_made_from_these_sources() -> None:
    digest = hashlib.sha256()
    names = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*") if path.is_file())
    for name in filter(SOURCE.fullmatch, names):
        digest.update(f"{name}\n".encode() + (WEB / name).read_bytes())
    for name in ("build.js", "package-lock.json"):
        digest.update(f"{name}\n".encode() + (ROOT / "scripts/page" / name).read_bytes())
    digest.update(re.sub(r"\?v=\w*", "", (WEB / "index.html").read_text("utf-8")).encode())
    for name in BUILT:
        assert f"Sources: {digest.hexdigest()} " in (WEB / "built" / name).read_text("utf-8")[:200], f"{name} is older: make page"


async def test_the_bundle_is_what_the_script_makes(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    there(Path(npm) if npm else None, "npm is not installed: the page can't be bundled")
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("built", "swagger*"))
    (web / "built").mkdir()
    command = ("sh", ROOT / "scripts/page.sh", ROOT / ".cache/page", web)
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("index.html", *(f"built/{name}" for name in BUILT)):
        assert (web / name).read_bytes() == (WEB / name).read_bytes(), f"{name} is older: make page"


async def test_what_is_named_by_its_content_may_be_kept_forever(demo_url: str) -> None:
    async with httpx2.AsyncClient(base_url=demo_url, trust_env=False) as client:
        page = await client.get("/", headers={"Accept": "text/html"})
        named = re.findall(r'"(static/built/([\w.]+)\?v=\w+)"', page.text)
        assert sorted(name for _, name in named) == sorted(BUILT)
        kept = {name: (await client.get(f"/{address}")).headers["cache-control"] for address, name in named}
        others = ("/", "/static/built/page.js", "/static/built/page.js?v=0123456789ab", "/static/icon.svg", "/static/icon.svg?v=")
        asked = {path: (await client.get(path)).headers["cache-control"] for path in others}
    assert set(kept.values()) == {"public, max-age=31536000, immutable"}, kept
    assert set(asked.values()) == {"no-cache"}, asked


@asynccontextmanager
async def before_the_page(page: Page) -> AsyncIterator[asyncio.Future[Route]]:
    """Reload the page up to the request for its bundle; the bundle arrives at the end of the block."""
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    await page.route("**/built/page.js*", lambda route: held.set_result(route), times=1)
    await page.reload(wait_until="commit")
    route = await held
    yield held
    await route.continue_()


def frame_of(page: Page) -> Locator:
    return page.locator(".early")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("locale", "tag", "title"), [("en-US", "en", "Show it a picture"), ("zh-CN", "zh-Hans", "给它看一张图片")])
async def test_the_frame_is_readable_before_the_scripts_come(
    visit: Visit, demo_url: str, locale: str, tag: str, title: str, scheme: Any
) -> None:
    visitor = await visit(demo_url, locale=locale, color_scheme=scheme)
    page = visitor.page
    lead, placeholder = await page.locator(".lead").first.inner_text(), await visitor.words.get_attribute("placeholder")
    async with before_the_page(page):
        frame = frame_of(page)
        await expect(frame.get_by_role("heading", level=1)).to_have_text(title)
        await expect(page.locator("html")).to_have_attribute("lang", tag)
        await expect(frame.locator(".wordmark")).to_have_text("LLaVA Gateway")
        assert lead.startswith(await frame.locator(".lead").inner_text())
        assert await frame.locator("textarea").get_attribute("placeholder") == placeholder
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) < 60) is (scheme == "dark")
    await expect(visitor.words).to_be_visible()
    await expect(frame).to_have_count(0)


async def test_the_frame_is_as_a_person_chose_the_page_to_be(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, stored={"language": "zh", "theme": "dark", "sidebar": False}, color_scheme="light")
    page = visitor.page
    async with before_the_page(page):
        await expect(frame_of(page).get_by_role("heading", level=1)).to_have_text("给它看一张图片")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await expect(frame_of(page).locator(".sidebar")).to_be_hidden()


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: str(window["viewport"]["width"]))
async def test_nothing_jumps_when_the_page_comes(visit: Visit, demo_url: str, window: dict[str, Any]) -> None:
    visitor = await visit(demo_url, **window)
    page = visitor.page
    await page.add_init_script(SHIFTS)

    async def places() -> dict[str, Any]:
        return {name: await page.locator(name).first.bounding_box() for name in ("h1", ".lead", ".composer", "textarea", ".composer-line")}

    async with before_the_page(page):
        await expect(frame_of(page).locator("h1")).not_to_be_empty()
        before = await places()
    await expect(page.locator(".examples canvas")).to_have_count(3)
    await visitor.loaded()
    after = await places()
    tops = {name: (before[name]["x"], before[name]["y"]) for name in before}
    assert {name: (box["x"], box["y"]) for name, box in after.items()} == tops
    assert await page.evaluate("window.shifts") == []


async def test_what_is_typed_before_the_page_comes_is_kept(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    page = visitor.page
    async with before_the_page(page):
        await expect(frame_of(page).locator("textarea")).to_be_focused()
        await page.keyboard.type("What is th")
    await expect(visitor.words).to_be_focused()
    await page.keyboard.type("is?")
    await expect(visitor.words).to_have_value("What is this?")


async def test_what_is_typed_before_a_chat_comes_is_for_that_chat(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    turns = [{"id": 1, "after": None, "parts": [{"text": "Who are you?"}], "answer": "Me."}]
    document = {"format": "llava-gateway-session", "version": 1, "session": {"turns": turns}, "images": {}}
    session = (await served.client.post("/sessions/import", json=document)).json()["id"]
    visitor = await visit(served.url, path=f"/#session={session}")
    await expect(visitor.turns).to_have_count(1)
    await visitor.words.fill("A draft")
    async with before_the_page(visitor.page):
        await expect(frame_of(visitor.page).locator("h1")).to_have_count(0)
        await frame_of(visitor.page).locator("textarea").fill("And you?")
    await expect(visitor.turns).to_have_count(1)
    await expect(visitor.words).to_have_value("A draft\n\nAnd you?")
    await visitor.page.get_by_role("button", name="New chat").first.click()
    await expect(visitor.words).to_have_value("")


async def test_the_composer_has_the_focus_on_load_but_not_where_a_keyboard_would_pop_up(visit: Visit, demo_url: str) -> None:
    await expect((await visit(demo_url)).words).to_be_focused()
    touched = await visit(demo_url, **TOUCH)
    await expect(touched.page.locator(".running")).to_be_visible()
    await expect(touched.words).not_to_be_focused()
    async with before_the_page(touched.page):
        await expect(frame_of(touched.page).locator("textarea")).not_to_be_focused()
        await frame_of(touched.page).locator("textarea").tap()
    await expect(touched.words).to_be_focused()
