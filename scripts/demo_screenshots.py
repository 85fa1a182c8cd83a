"""Writes the screenshots of the README and the tutorial: real answers of the demo model about examples/pictures/.

    PYTHONPATH=. .venv/bin/python scripts/demo_screenshots.py

Needs Chromium and the fonts of the tests.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from docs_screenshots import Scene, main, state
from playwright.async_api import FilePayload, expect

from tests.page.visit import Visitor, file

PICTURES = Path(__file__).parents[1] / "examples" / "pictures"
QUESTIONS = {
    "en": ("What is in this image?", "What color is the background?", "Describe this image as JSON."),
    "zh": ("这张图片里有什么？", "背景是什么颜色？", "用JSON描述这张图片"),
}
ANSWERS = {
    "en": ("A red circle and a blue square on a white background.", "The background is white."),
    "zh": ("白色背景上有一个红色圆形和一个蓝色正方形。", "背景是白色。"),
}
"""The right answer: no screenshot is taken of a wrong one."""


def shapes() -> FilePayload:
    return file((PICTURES / "shapes.png").read_bytes(), "shapes.png")


async def start(scene: Scene) -> Visitor:
    return await scene.open((await scene.served(engine="embedded")).url)


async def add_shapes(visitor: Visitor) -> None:
    await visitor.pick(shapes())
    await visitor.prepared()


@state
async def demo(scene: Scene) -> None:
    """Ask two questions about one picture, and on a desktop show what the model sees of it."""
    visitor = await start(scene)
    await add_shapes(visitor)
    for question, answer in zip(QUESTIONS[scene.look.language], ANSWERS[scene.look.language], strict=False):
        await visitor.ask(question)
        await expect(visitor.answer).to_have_text(answer)
    if scene.look.width > 1000:
        await visitor.page.locator(".turn .picture").click()
        await visitor.page.locator(".panel .choice button").nth(1).click()


@state
async def demo_table(scene: Scene) -> None:
    """Show an answer with a schema as a table."""
    visitor = await start(scene)
    page = visitor.page
    await page.get_by_role("button", name=re.compile("Options|选项")).click()
    await page.locator("dialog.options select:has(option[value=shapes])").select_option("shapes")
    await page.keyboard.press("Escape")
    await add_shapes(visitor)
    await visitor.ask(QUESTIONS[scene.look.language][-1])
    await expect(visitor.turns.last.locator("table")).to_have_count(2)
    await expect(visitor.turns.last.locator("table").last).to_contain_text("circle")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["demo", "demo-table"]))
