"""A page whose own name has come to lead to this machine reads nothing, although programs may use such names."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.page.visit import Scripted
from tests.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTEMPTS: tuple[dict[str, Any], ...] = (
    {},
    {"referrerPolicy": "no-referrer"},
    {"referrerPolicy": "no-referrer", "headers": {"Accept-Language": ""}},
    {"referrerPolicy": "no-referrer", "headers": {"Accept-Language": "*", "User-Agent": "node", "Sec-Fetch-Mode": "cors"}},
    {"referrerPolicy": "no-referrer", "mode": "no-cors"},
    {"method": "POST", "body": "{}", "referrerPolicy": "no-referrer"},
)
ASK = """
async ([path, init]) => {
  const response = await fetch(path, init);
  return [response.status, await response.text()];
}
"""


async def test_a_rebound_page_gets_nothing(browser: Browser, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    context = await browser.new_context()
    page = await context.new_page()

    refused = await page.goto(f"http://rebound.local:{served.port}/")  # a document of that name, as the page of an attacker would be
    assert refused is not None
    assert refused.status == 403
    for path in ("/sessions", "/models", "/api/tags", "/v1/models", "/ask"):
        for init in ATTEMPTS:
            status, text = await page.evaluate(ASK, [path, init])
            assert status == 403, (path, init)
            assert "Host is not allowed" in text
    program = await served.client.get("/models", headers={"Host": f"rebound.local:{served.port}"})
    assert program.status_code == 200
    await context.close()
