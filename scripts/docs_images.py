"""Writes docs/images/ with the gateway's own code; with --check it only checks that the images still match the code.

The sizes, steps and tokens in them are in docs/images/shown.json. Pixels are not compared, since encoders differ.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import context_chart
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.steps import shown_pieces, steps
from llava_gateway.images.store import ImageStore
from llava_gateway.parts import Sight
from llava_gateway.settings import Settings

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SHOWN = FOLDER / "shown.json"
LLAVA_15 = VisionFacts("mlp", 336, 14), ""
LLAVA_16 = VisionFacts("mlp", 336, 14), "llava:7b"
ONE_IMAGE = VisionFacts("mlp", 378, 14), "moondream"
PHOTO = (1600, 1200)
ON_ITS_SIDE = 6
"""EXIF orientation of a phone held upright."""
GAP = 24
WIDEST = 1060
VARYING = ("encoded",)
"""Steps that depend on the encoder's version."""


@dataclass(frozen=True, slots=True)
class View:
    """The house as one model sees it."""

    name: str
    model: tuple[VisionFacts, str]
    sight: Sight = Sight()


VIEWS = (
    View("square", LLAVA_15),
    View("tiles", LLAVA_16, Sight(detail="high")),
    View("region", LLAVA_16, Sight(region=(0.39, 0.56, 0.19, 0.34))),
)


def house(size: tuple[int, int] = PHOTO) -> Image.Image:
    """Draw a house with a number on its door."""
    width, height = size
    down = Image.linear_gradient("L").resize(size)
    image = Image.composite(Image.new("RGB", size, (228, 240, 250)), Image.new("RGB", size, (120, 176, 226)), down)
    pen = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * width, top * height, right * width, bottom * height

    pen.ellipse(box(0.8, 0.08, 0.9, 0.2133), fill=(255, 214, 90))
    pen.ellipse(box(-0.3, 0.6, 0.7, 1.5), fill=(120, 170, 96))
    pen.ellipse(box(0.35, 0.66, 1.4, 1.5), fill=(98, 150, 84))
    pen.rectangle(box(0.28, 0.42, 0.72, 0.9), fill=(232, 222, 200))
    pen.polygon([(0.24 * width, 0.43 * height), (0.5 * width, 0.16 * height), (0.76 * width, 0.43 * height)], fill=(168, 72, 58))
    for left in (0.32, 0.6):
        pen.rectangle(box(left, 0.52, left + 0.08, 0.66), fill=(96, 130, 160), outline=(255, 255, 255), width=width // 160)
    pen.rectangle(box(0.43, 0.6, 0.54, 0.9), fill=(92, 60, 44))
    pen.rectangle(box(0.45, 0.63, 0.52, 0.69), fill=(250, 250, 246))
    pen.text((0.485 * width, 0.66 * height), "No. 27", fill=(20, 20, 20), font=ImageFont.load_default(width / 46), anchor="mm")
    pen.rectangle(box(0.86, 0.5, 0.885, 0.86), fill=(110, 80, 56))
    pen.ellipse(box(0.78, 0.3, 0.965, 0.6), fill=(70, 122, 66))
    return image.filter(ImageFilter.GaussianBlur(width / 2400))


def jpeg(image: Image.Image, *, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    image.save(file, "JPEG", quality=92, exif=exif)
    return file.getvalue()


async def make() -> tuple[dict[str, Image.Image], dict[str, Any]]:
    """Make the images by name, and the numbers in them."""
    images: dict[str, Image.Image] = {}
    shown: dict[str, Any] = {}
    store = ImageStore(Settings(image_workers=1))
    await store.start()
    try:
        for view in VIEWS:
            images[view.name], shown[view.name] = await _seen(store, jpeg(house()), view)
        images["rotated"], shown["rotated"] = await _rotated(store)
        images["sheet"], shown["sheet"] = await _sheet(store)
    finally:
        await store.aclose()
    played = await context_chart.play()
    images["context"] = context_chart.draw(played)
    shown["context"] = {policy: [asdict(one) for one in samples] for policy, samples in played.items()}
    return images, shown


async def _seen(store: ImageStore, data: bytes, view: View) -> tuple[Image.Image, dict[str, Any]]:
    profile = profile_for(*view.model)
    image = await store.add(data, profile, view.sight)
    rendition = await store.rendition(image, profile, view.sight)
    plan = profile.plan((image.info.width, image.info.height), view.sight)
    drawn = Image.open(BytesIO(await store.view(image, profile, view.sight)))
    numbers = {
        "drawn": drawn.size,
        "steps": [step.to_json() for step in steps(image.info, plan, rendition) if step.code not in (*VARYING, "decoded")],
        "pieces": [[piece.role, piece.piece.width, piece.piece.height, piece.box] for piece in shown_pieces(plan, rendition)],
        "tokens": rendition.tokens,
    }
    return _on_white(drawn), numbers


async def _rotated(store: ImageStore) -> tuple[Image.Image, dict[str, Any]]:
    """Show on the left the pixels in the file, on the right the pixels that are sent."""
    tall = house().crop((350, 0, 1250, 1200))
    stored = tall.transpose(Image.Transpose.ROTATE_90)
    profile = profile_for(*LLAVA_15)
    image = await store.add(jpeg(stored, orientation=ON_ITS_SIDE), profile)
    [piece] = (await store.rendition(image, profile)).pieces
    sent = Image.open(BytesIO(piece.data)).convert("RGB")
    before = stored.resize((448, 336), Image.Resampling.LANCZOS)
    return _beside([before, sent]), {
        "changes": [change.to_json() for change in image.info.changes],
        "size": [image.info.width, image.info.height],
        "sent": sent.size,
    }


async def _sheet(store: ImageStore) -> tuple[Image.Image, dict[str, Any]]:
    """Show three parts of the house, as a model that takes one image gets them."""
    boxes = ((0, 0, 1600, 1200), (640, 620, 920, 1100), (1200, 300, 1600, 1100))
    images = [await store.add(jpeg(house().crop(box))) for box in boxes]
    sheet = await store.sheet(images)
    profile = profile_for(*ONE_IMAGE)
    drawn = Image.open(BytesIO(await store.view(sheet, profile)))
    return _on_white(drawn), {
        "sheet": [sheet.info.width, sheet.info.height],
        "changes": [change.to_json() for change in sheet.info.changes],
        "drawn": drawn.size,
    }


def _beside(images: list[Image.Image]) -> Image.Image:
    both = Image.new("RGB", (sum(im.width for im in images) + GAP * (len(images) - 1), max(im.height for im in images)), "white")
    left = 0
    for im in images:
        both.paste(im, (left, 0))
        left += im.width + GAP
    return both


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(ground, rgba).convert("RGB")


def _write(images: dict[str, Image.Image], shown: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, image in images.items():
        if image.width > WIDEST:
            image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
        image.save(FOLDER / f"{name}.webp", quality=84, lossless=name == "context", method=6)
    SHOWN.write_text(shown, "utf-8")


def main(check: bool) -> int:
    images, numbers = asyncio.run(make())
    shown = json.dumps(numbers, indent=1) + "\n"
    missing = [name for name in images if not (FOLDER / f"{name}.webp").is_file()]
    if not check:
        _write(images, shown)
    elif missing or not SHOWN.is_file() or SHOWN.read_text("utf-8") != shown:
        print("docs/images/ is out of date; run python scripts/docs_images.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
