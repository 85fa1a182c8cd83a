"""A person at the page: adds pictures, asks, reads; and remembers all that the browser asked for and complained of."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from playwright.async_api import Browser, BrowserContext, FilePayload, Locator, Page, Route, expect

from tests.scripted_engine import ScriptedEngine
from tests.serving import Served

WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
LOADED = """
['readyz', 'models', 'options', 'sessions', 'setup'].every((path) => performance.getEntriesByName(new URL(path, location).href).length)
"""
LIMIT_MS = 30_000
"""For whatever is waited for in the browser, on the slowest of machines."""
TRANSFER = """
(files) => {
  const transfer = new DataTransfer();
  for (const { name, mimeType, data } of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: mimeType }));
  }
  return transfer;
}
"""


class Visit(Protocol):
    async def __call__(self, url: str, *, path: str = "/", stored: dict[str, Any] | None = None, **context: Any) -> Visitor: ...


class Scripted(Protocol):
    async def __call__(self, engine: ScriptedEngine, **settings: Any) -> Served: ...


async def drawn(image: Locator) -> None:
    """Wait until the browser has drawn an image, whose source may still change."""
    async with asyncio.timeout(LIMIT_MS / 1000):
        while not await image.evaluate("(image) => image.complete && image.naturalWidth > 0"):  # noqa: ASYNC110 - the page decides
            await asyncio.sleep(0.02)


def file(data: bytes, name: str = "picture.png", media_type: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": data}


@dataclass
class Visitor:
    """`refused`: statuses that a test expects; the browser logs each as an error."""

    page: Page
    context: BrowserContext
    url: str
    refused: set[int] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    offline: bool = False

    @classmethod
    async def open(cls, browser: Browser, url: str, path: str, stored: dict[str, Any], how: dict[str, Any]) -> Visitor:
        """Open the page; `stored` is what an earlier visit left in the browser's storage, `how` what Playwright's new_context takes."""
        context = await browser.new_context(**{"viewport": {"width": 1280, "height": 860}, "locale": "en-US", **how})
        page = await context.new_page()
        page.set_default_timeout(LIMIT_MS)
        visitor = cls(page, context, url)
        page.on("request", lambda request: visitor.requests.append(request.url))
        page.on("console", lambda said: visitor.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: visitor.errors.append(str(error)))
        left = "".join(
            f"localStorage.getItem('llava.{k}') ?? localStorage.setItem('llava.{k}', {json.dumps(json.dumps(v))});"
            for k, v in stored.items()
        )
        await context.add_init_script(WATCH + left)
        await page.goto(url + path)
        await expect(visitor.words).to_be_visible()
        return visitor

    async def leave(self) -> None:
        violations = await self.page.evaluate("window.violations")
        await self.context.close()
        outside = [url for url in self.requests if not url.startswith((self.url + "/", "blob:"))]
        expected = tuple(f"Failed to load resource: the server responded with a status of {status}" for status in self.refused)
        # The service may have ended before its visitor leaves; a request to another address is seen above.
        expected += ("Failed to load resource: net::ERR_CONNECTION_REFUSED",)
        if self.offline:
            expected += ("Failed to load resource: net::",)
        errors = [text for text in self.errors if not text.startswith(expected)]
        assert (outside, violations, errors) == ([], [], []), (outside, violations, errors)

    @property
    def words(self) -> Locator:
        return self.page.locator("#words")

    @property
    def chips(self) -> Locator:
        return self.page.locator(".chip")

    @property
    def turns(self) -> Locator:
        return self.page.locator(".turn")

    @property
    def answer(self) -> Locator:
        """The words of the last answer."""
        return self.turns.last.locator(".words")

    async def pick(self, *files: FilePayload) -> None:
        await self.page.locator("input[type=file]").set_input_files(files)

    async def _transfer(self, *files: FilePayload) -> Any:
        data = [{"name": f["name"], "mimeType": f["mimeType"], "data": base64.b64encode(f["buffer"]).decode()} for f in files]
        return await self.page.evaluate_handle(TRANSFER, data)

    async def drop_address(self, address: str) -> None:
        """Drop an address, as if a picture was dragged here from another page."""
        make = "(address) => { const data = new DataTransfer(); data.setData('text/uri-list', address); return data; }"
        await self.page.dispatch_event("h1", "drop", {"dataTransfer": await self.page.evaluate_handle(make, address)})

    async def drop(self, *files: FilePayload, at: str = "h1") -> None:
        transfer = {"dataTransfer": await self._transfer(*files)}
        for event in ("dragenter", "dragover", "drop"):
            await self.page.dispatch_event(at, event, transfer)

    async def paste(self, *files: FilePayload) -> None:
        await self.page.evaluate(
            "(data) => document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))",
            await self._transfer(*files),
        )

    async def prepared(self, count: int = 1) -> None:
        await expect(self.page.locator(".chip[data-state=ready]")).to_have_count(count)

    async def ask(self, words: str) -> None:
        """Send with Enter. Returns when the answer has ended."""
        before = await self.turns.count()
        await self.words.fill(words)
        await self.words.press("Enter")
        await expect(self.turns).to_have_count(before + 1)
        await self.ended()

    async def ask_and_read(self, words: str) -> list[dict[str, Any]]:
        """Send as `ask` does. Returns what the page said about the pictures."""
        async with self.page.expect_request("**/turns") as asking:
            await self.ask(words)
        body = (await asking.value).post_data_json
        assert body
        images: list[dict[str, Any]] = body["images"]
        return images

    async def ended(self) -> None:
        await expect(self.page.locator(".send:not(.stop)")).to_be_visible()

    async def loaded(self) -> None:
        """Wait until the page has all the data that it requests at first. It never stops listening for news."""
        # Not wait_for_function: when the first look is too early, it looks again with eval, which the page's policy forbids.
        async with asyncio.timeout(LIMIT_MS / 1000):
            while not await self.page.evaluate(LOADED):
                await self.page.wait_for_timeout(50)

    async def seen(self) -> None:
        """Wait until all requests that the page has sent so far are known here: they arrive in order."""
        async with self.page.expect_request("**/healthz"):
            await self.page.evaluate("fetch('healthz').then(() => null)")

    @asynccontextmanager
    async def unchanging(self) -> AsyncIterator[None]:
        """Keep every change of a session from the gateway until the end of the block."""

        async def hold(route: Route) -> None:
            await (route.abort() if route.request.method == "PATCH" else route.continue_())

        self.offline = True
        await self.page.route("**/sessions/*", hold)
        yield
        await self.page.unroute("**/sessions/*", hold)

    @asynccontextmanager
    async def refusal(self) -> AsyncIterator[list[str]]:
        """What the gateway says of the request that it refuses meanwhile: what is wrong, and what to do about it."""
        said: list[str] = []
        async with self.page.expect_response(lambda response: response.status >= 400) as refused:
            yield said
        error = (await (await refused.value).json())["error"]
        said += [error["message"], error["hint"]]

    async def fits(self) -> None:
        """Assert that nothing sticks out to the side."""
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= await self.page.evaluate("innerWidth")
