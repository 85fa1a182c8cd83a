"""The main job in Firefox: a picture is attached and asked about, the answer is right; Chinese; dark; nothing goes elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import sample_images
from tests.page.bidi import Tab, firefox

pytestmark = pytest.mark.asyncio(loop_scope="session")

LABELLED = "[...document.querySelectorAll('button')].find((button) => [button.innerText, button.ariaLabel].includes({name!r}))"


async def press(tab: Tab, name: str) -> None:
    button = LABELLED.format(name=name)
    await tab.until(f"{button}")
    await tab.evaluate(f"{button}.click()")


async def test_a_picture_is_asked_about(installed_firefox: Path, demo_url: str, tmp_path: Path) -> None:
    circle = tmp_path / "circle.png"
    circle.write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    (tmp_path / "profile").mkdir()
    async with firefox(installed_firefox, tmp_path / "profile") as tab:
        await tab.open(demo_url)
        await tab.until("document.querySelector('.running')?.innerText.includes('demo answers')")
        await tab.pick("input[type=file]", circle)
        await tab.until("document.querySelector('.chip[data-state=ready] img')?.complete")
        await tab.click("#words")
        await tab.type("What is in this image?\ue007")
        await tab.until("document.querySelector('.answer')?.innerText.includes('red circle')")
        await tab.until("document.querySelector('.turn .picture img')?.naturalWidth > 0")
        # The panel opens and closes.
        await tab.click(".turn .picture")
        await tab.until("document.querySelector('.panel')")
        await tab.click(".panel-picture")
        await tab.until("document.querySelector('.lightbox[open] output')")
        whole = await tab.evaluate("document.querySelector('.lightbox output').innerText")
        await tab.type("+")
        await tab.until(f"document.querySelector('.lightbox output').innerText !== '{whole}'")
        await press(tab, "Ask about a part")
        await tab.until("document.activeElement.matches('.region-box')")
        await tab.type("\ue007")
        await tab.until("document.querySelector('.chip[data-state=ready]')?.innerText.includes('part, ')")
        await tab.until("document.activeElement.id === 'words'")  # or it would take the focus from the menu
        # Its menu opens, and the way back is the panel's.
        await press(tab, "More actions for circle.png")
        await tab.until("document.activeElement.matches('.menu button')")
        await tab.type("\ue00c")
        await tab.until("document.activeElement.ariaLabel === 'More actions for circle.png'")
        await press(tab, "Remove circle.png")
        await tab.click(".turn .picture")
        await tab.until("document.querySelector('.panel')")
        await tab.type("\ue00c")
        await tab.until("!document.querySelector('.panel')")
        # Chinese, and dark.
        await press(tab, "中文")
        await tab.until("document.querySelector('#words').ariaLabel === '就图片提问'")
        assert await tab.evaluate("document.documentElement.lang") == "zh-Hans"
        await press(tab, "深色")
        assert await tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(25, 24, 22)"
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth") is True
        assert [url for url in tab.requests if not url.startswith((f"{demo_url}/", "blob:", "about:", "data:"))] == []
        assert tab.complaints == []
