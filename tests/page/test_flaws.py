"""A picture says before it is sent what is wrong with its file."""

from __future__ import annotations

import pytest
from PIL import Image
from playwright.async_api import expect

from llava_gateway.notes import note
from tests import sample_images
from tests.odd_images import saved
from tests.page.visit import Visit, file

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIZE = (320, 240)


def cut(kind: str, share: float, image: Image.Image, *more: Image.Image) -> bytes:
    """Return this share of a file."""
    whole = saved(image, kind, **({"save_all": True, "append_images": more} if more else {}))
    return whole[: int(len(whole) * share)]


async def test_a_flawed_file_says_so_before_it_is_sent(visit: Visit, demo_url: str) -> None:
    circle, star, square = (sample_images.shape(*each, size=SIZE) for each in (("circle", "red"), ("star", "blue"), ("square", "green")))
    noise = Image.effect_noise(SIZE, 80)
    visitor = await visit(demo_url)
    await visitor.pick(
        file(saved(circle, "PNG")[:-12], "end.png"),
        file(cut("GIF", 0.9, circle, star, square), "film.gif", "image/gif"),
        file(cut("BMP", 0.97, noise.convert("RGB")), "noise.bmp", "image/bmp"),
        file(saved(square, "PNG"), "sound.png"),
    )
    await visitor.prepared(4)
    flaws = visitor.chips.locator(".chip-flaw")
    await expect(flaws).to_have_text(
        [
            note("end_missing").text,
            "The animation is cut off. Only 2 of its frames can be read.",
            note("image_incomplete", percent=96).text,
        ]
    )
    await expect(visitor.chips.last.locator(".chip-flaw")).to_have_count(0)
    await visitor.page.get_by_role("button", name="中文").click()
    await expect(flaws).to_have_text(
        ["文件缺少结尾标记，但图片是完整的。", "动画文件被截断，只能读取前 2 帧。", "文件被截断：图片只有 96%，缺少的部分留白。"]
    )
