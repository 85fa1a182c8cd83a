"""A small WebDriver BiDi client for Firefox: Playwright's speaks commands that Debian's firefox-esr does not know yet.

The protocol: https://w3c.github.io/webdriver-bidi/. Firefox serves it itself, so nothing but the browser is needed.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

START_SECONDS = 60
COMMAND_SECONDS = 30
WAIT_UNTIL = """
(condition) => new Promise((resolve, reject) => {
  const asked = performance.now();
  const look = () => {
    if (condition()) resolve();
    else if (performance.now() - asked > 20000) reject(new Error(`never: ${condition}\n${document.body.innerText}`));
    else requestAnimationFrame(look);
  };
  look();
})
"""


class CommandFailed(AssertionError):
    """The browser refused a command, or a script threw."""


@dataclass
class Tab:
    """One tab. `requests` are the addresses it asked for, `complaints` the warnings and errors of its console."""

    socket: aiohttp.ClientWebSocketResponse
    context: str = ""
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def command(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(COMMAND_SECONDS):
            while True:
                message = await self.socket.receive_json()
                if message.get("id") == number:
                    break
                self._note(message)
        if message["type"] == "error":
            raise CommandFailed(f"{method}: {message['message']}")
        return message["result"]

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "network.beforeRequestSent":
            self.requests.append(event["params"]["request"]["url"])
        elif event["method"] == "log.entryAdded" and event["params"]["level"] in ("warn", "error"):
            self.complaints.append(event["params"]["text"])

    async def open(self, url: str) -> None:
        await self.command("browsingContext.navigate", context=self.context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as BiDi writes it; promises are awaited."""
        answer = await self.command("script.evaluate", expression=expression, target={"context": self.context}, awaitPromise=True)
        if answer["type"] == "exception":
            raise CommandFailed(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        await self.evaluate(f"({WAIT_UNTIL})(() => {condition})")

    async def element(self, selector: str) -> dict[str, str]:
        found = await self.command("browsingContext.locateNodes", context=self.context, locator={"type": "css", "value": selector})
        return {"sharedId": found["nodes"][0]["sharedId"]}

    async def pick(self, selector: str, *files: Path) -> None:
        """Choose files in an <input type=file>."""
        await self.command(
            "input.setFiles", context=self.context, element=await self.element(selector), files=[str(path) for path in files]
        )

    async def click(self, selector: str) -> None:
        at = {"type": "element", "element": await self.element(selector)}
        moves = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": at},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        await self.command("input.performActions", context=self.context, actions=[{"type": "pointer", "id": "mouse", "actions": moves}])

    async def type(self, text: str) -> None:
        """Send keys to the element that has the focus; "\\ue007" is Enter, "\\ue00c" Esc."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        await self.command("input.performActions", context=self.context, actions=[{"type": "key", "id": "keys", "actions": keys}])

    async def screenshot(self) -> str:
        """The tab as a PNG in Base64."""
        return str((await self.command("browsingContext.captureScreenshot", context=self.context))["data"])


@asynccontextmanager
async def firefox(executable: Path, profile: Path, *, width: int = 1280, height: int = 860) -> AsyncIterator[Tab]:
    """A Firefox of its own with a fresh profile in the empty folder `profile`; it ends with the block."""
    arguments = ("--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0", "about:blank")
    (profile / "user.js").write_text('user_pref("intl.accept_languages", "en-US");\n')
    process = await asyncio.create_subprocess_exec(
        executable, *arguments, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert process.stderr is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        address = ""
        async with asyncio.timeout(START_SECONDS):
            while not address:
                line = (await process.stderr.readline()).decode(errors="replace")
                assert line, "Firefox ended before it listened"
                found = re.search(r"WebDriver BiDi listening on (ws://\S+)", line)
                address = found[1] if found else ""
        draining = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as client, client.ws_connect(f"{address}/session", max_msg_size=0) as socket:
            tab = Tab(socket)
            await tab.command("session.new", capabilities={})
            await tab.command("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded"])
            tab.context = (await tab.command("browsingContext.getTree"))["contexts"][0]["context"]
            await tab.command("browsingContext.setViewport", context=tab.context, viewport={"width": width, "height": height})
            yield tab
    finally:
        process.terminate()
        await process.wait()
        if draining is not None:
            await draining
