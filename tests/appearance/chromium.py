"""Let a headless Chromium draw image files: the judge of colour and geometry."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browsers import CHROMIUM_FLAGS

_DRAW = """async ([url, ground]) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const pen = canvas.getContext('2d', {colorSpace: 'srgb'});
    if (ground) {
        pen.fillStyle = ground;
        pen.fillRect(0, 0, canvas.width, canvas.height);
    }
    pen.drawImage(image, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob({type: 'image/png'})).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}"""
_ENCODE = """async ([url, type, quality]) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    canvas.getContext('2d').drawImage(image, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob({type, quality})).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}"""
_TYPES = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "AVIF": "avif", "ICO": "x-icon", "SVG": "svg+xml"}


class Chromium:
    """A browser that draws files on canvases, in sRGB."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def draw(self, data: bytes, kind: str, ground: str = "#ffffff") -> Image.Image:
        """Draw a file upright, at its own size, on a ground. Raises playwright's Error for a file that the browser does not show."""
        url = f"data:image/{_TYPES[kind]};base64,{base64.b64encode(data).decode()}"
        return Image.open(BytesIO(base64.b64decode(self._page.evaluate(_DRAW, [url, ground])))).convert("RGB")

    def encode(self, data: bytes, kind: str, quality: float) -> bytes:
        """Draw a PNG on a canvas, and save that in another format; `quality` is 0 to 1."""
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        return base64.b64decode(self._page.evaluate(_ENCODE, [url, f"image/{_TYPES[kind]}", quality]))


@contextmanager
def drawing_chromium(path: Path) -> Iterator[Chromium]:
    """Start a browser that draws in sRGB."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS, "--force-color-profile=srgb"])
        try:
            yield Chromium(browser.new_page())
        finally:
            browser.close()
