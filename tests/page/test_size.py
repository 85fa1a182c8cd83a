"""The page is light: what a first visit transfers."""

from __future__ import annotations

import httpx2
import pytest
from playwright.async_api import expect

from tests.page.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_BYTES = 400_000
TRANSFERRED = """
['navigation', 'resource']
  .flatMap((type) => performance.getEntriesByType(type))
  .map((entry) => [new URL(entry.name).pathname, entry.transferSize])
"""


async def test_a_first_visit_transfers_less_than_400_kilobytes(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await expect(visitor.page.locator(".running")).to_be_visible()
    await visitor.page.wait_for_load_state("networkidle")
    sizes = await visitor.page.evaluate(TRANSFERRED)
    assert {"/", "/static/js/main.js", "/static/vendor/preact.js", "/static/css/tokens.css", "/readyz"} <= {path for path, _ in sizes}
    assert sum(size for _, size in sizes) < MOST_BYTES, sizes


async def test_files_are_compressed_for_those_who_can_read_that(demo_url: str) -> None:
    async with httpx2.AsyncClient(base_url=demo_url, trust_env=False) as client:
        path = "/static/vendor/purify.js"
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        again = await client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]})
    assert "content-encoding" not in plain.headers
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert packed.content == plain.content
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded / 2
    assert again.status_code == 304
