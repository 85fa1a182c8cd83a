"""Draw what a model sees: the pieces that are sent, joined again, with padding, tiles and region marked. Runs in a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from llava_gateway.images.encode import Encoded, encode
from llava_gateway.images.layout import GAP, corners, drawn_size, inner_box, magnification
from llava_gateway.images.plan import WHOLE, Canvas, Colour, Size
from llava_gateway.parts import Box

_HATCH = 10
_BADGE_TEXT = 15
_DARK, _LIGHT, _ACCENT = (20, 20, 20), (255, 255, 255), (255, 140, 0)


def draw(pieces: Sequence[bytes], canvases: Sequence[Canvas]) -> Encoded:
    """Draw the canvases side by side on a transparent background. Returns a PNG.

    Args:
        pieces: the files in the order of sending.
        canvases: the canvases of the plan from which the pieces were made.

    Raises ValueError if the pieces don't match the plan.
    """
    sources = iter(pieces)
    scale = magnification(canvases)
    regions = [canvas.region for canvas in canvases if canvas.role == "region"]
    number = 1
    drawn = []
    for canvas in canvases:
        im = _put_together(canvas, sources).resize((canvas.size[0] * scale, canvas.size[1] * scale), Image.Resampling.NEAREST)
        _mark_padding(im, canvas, scale)
        _mark_tiles(im, canvas, scale)
        if canvas.region == WHOLE:
            for region in regions:
                _mark_region(im, canvas, region, scale)
        if len(pieces) > 1:
            number = _mark_numbers(im, canvas, number, scale)
        drawn.append(im)
    if next(sources, None) is not None:
        raise ValueError("more pieces than the plan has")
    return encode(_side_by_side(drawn, drawn_size(canvases)), lossless=True)


def _put_together(canvas: Canvas, pieces: Iterator[bytes]) -> Image.Image:
    width, height = canvas.tile or canvas.size
    whole = Image.new("RGB", canvas.size)
    for left, top in corners(canvas):
        data = next(pieces, None)
        if data is None:
            raise ValueError("fewer pieces than the plan has")
        with Image.open(BytesIO(data), formats=["PNG", "JPEG"]) as piece:
            if piece.size != (width, height):
                raise ValueError("a piece of another size than the plan says")
            whole.paste(piece.convert("RGB"), (left, top))
    return whole


def _mark_padding(im: Image.Image, canvas: Canvas, scale: int) -> None:
    """Hatch the padding, and draw a line along the image's edge."""
    if canvas.inner == canvas.size:
        return
    inner = tuple(side * scale for side in inner_box(canvas))
    hatch = Image.new("L", im.size)
    pen = ImageDraw.Draw(hatch)
    for start in range(-im.height, im.width, _HATCH):
        pen.line((start, im.height, start + im.height, 0), fill=255)
    pen.rectangle((inner[0], inner[1], inner[2] - 1, inner[3] - 1), fill=0)
    im.paste(_beside(canvas.fill), mask=hatch)
    edge = ImageDraw.Draw(im)
    if inner[0] > 0:
        edge.line((inner[0] - 1, 0, inner[0] - 1, im.height), fill=_LIGHT)
        edge.line((inner[2], 0, inner[2], im.height), fill=_LIGHT)
    if inner[1] > 0:
        edge.line((0, inner[1] - 1, im.width, inner[1] - 1), fill=_LIGHT)
        edge.line((0, inner[3], im.width, inner[3]), fill=_LIGHT)


def _beside(colour: Colour) -> Colour:
    """Return a colour that differs from `colour` just enough to be visible."""
    red, green, blue = (value + 48 if value < 128 else value - 48 for value in colour)
    return red, green, blue


def _mark_tiles(im: Image.Image, canvas: Canvas, scale: int) -> None:
    """Draw a dark and a light line along each edge between tiles: one of the two is visible on any background."""
    pen = ImageDraw.Draw(im)
    for left, top in corners(canvas):
        x, y = left * scale, top * scale
        if x:
            pen.line((x - 1, 0, x - 1, im.height), fill=_DARK)
            pen.line((x, 0, x, im.height), fill=_LIGHT)
        if y:
            pen.line((0, y - 1, im.width, y - 1), fill=_DARK)
            pen.line((0, y, im.width, y), fill=_LIGHT)


def _mark_region(im: Image.Image, canvas: Canvas, region: Box, scale: int) -> None:
    left, top, right, bottom = inner_box(canvas)
    width, height = right - left, bottom - top
    x, y = (left + region[0] * width) * scale, (top + region[1] * height) * scale
    corner = round(x + region[2] * width * scale) - 1, round(y + region[3] * height * scale) - 1
    box = (round(x), round(y), max(round(x), corner[0]), max(round(y), corner[1]))  # a thin region becomes a line
    pen = ImageDraw.Draw(im)
    pen.rectangle(box, outline=_ACCENT, width=3)
    pen.rectangle(box, outline=_DARK, width=1)


def _mark_numbers(im: Image.Image, canvas: Canvas, first: int, scale: int) -> int:
    """Write on each piece its number in the order of sending. Returns the next number."""
    font = ImageFont.load_default(_BADGE_TEXT)
    pen = ImageDraw.Draw(im)
    for number, (left, top) in enumerate(corners(canvas), first):
        x, y = left * scale + 4, top * scale + 4
        width = pen.textlength(str(number), font) + 10
        pen.rounded_rectangle((x, y, x + width, y + _BADGE_TEXT + 5), 4, fill=_DARK, outline=_LIGHT)
        pen.text((x + width / 2, y + (_BADGE_TEXT + 5) / 2), str(number), fill=_LIGHT, font=font, anchor="mm")
    return first + canvas.grid[0] * canvas.grid[1]


def _side_by_side(drawn: Sequence[Image.Image], size: Size) -> Image.Image:
    if len(drawn) == 1:
        return drawn[0]
    sheet = Image.new("RGBA", size)
    left = 0
    for im in drawn:
        sheet.paste(im, (left, 0))
        left += im.width + GAP
    return sheet
