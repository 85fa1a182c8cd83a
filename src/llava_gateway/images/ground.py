"""Choose the colour behind the transparent parts of an image, so that nothing in it turns invisible. Runs in a worker."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter, ImageStat

from llava_gateway.notes import Note, note

RGB = tuple[int, int, int]

WHITE: RGB = (255, 255, 255)
GRAY: RGB = (128, 128, 128)
_MOST_SIDE = 1024
_NOTHING = 2
"""The largest alpha that counts as none: some programs write 1 where they mean 0."""
_CLOSE = 40
"""Levels of brightness by which an outline must differ from the ground to be seen."""
_MUCH = 0.2
"""The share of an outline that may vanish on white before another ground is considered."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What becomes of the transparent parts of an image.

    Attributes:
        colour: the colour behind them; None to ignore the transparency.
        fact: the change to report.
    """

    colour: RGB | None
    fact: Note


def chosen(im: Image.Image, wish: str | None) -> Ground | None:
    """Choose the ground for a decoded image; None if nothing in it is transparent.

    Transparency that hides the whole image is ignored if there are colours beneath: Paint, GIMP and clipboards write such files.
    Otherwise the ground is the wish, "#rrggbb". Without one it is white, or mid-gray if much of the outline would vanish on white and
    less on gray.
    """
    if im.mode not in ("LA", "RGBA"):
        return None
    low, high = im.getchannel("A").getextrema()
    if not isinstance(high, int | float) or low == 255:
        return None
    if high <= _NOTHING and _has_colours(im):
        return Ground(None, note("transparency_ignored"))
    if wish:
        return Ground((int(wish[1:3], 16), int(wish[3:5], 16), int(wish[5:7], 16)), note("ground", colour=wish))
    lost_on_white, lost_on_gray = _lost(im, high, 255), _lost(im, high, 128)
    if lost_on_white > _MUCH and lost_on_gray < lost_on_white:
        return Ground(GRAY, note("gray_ground"))
    return Ground(WHITE, note("white_ground"))


def laid_on(im: Image.Image, alpha: Image.Image, colour: RGB) -> Image.Image:
    """Composite an RGB image on a colour."""
    under = Image.new("RGB", im.size, colour)
    under.paste(im, mask=alpha)
    return under


def _has_colours(im: Image.Image) -> bool:
    """Return whether there is more than one colour, whatever the alpha."""
    return any(low != high for low, high in (band.getextrema() for band in im.split()[:-1]))


def _lost(im: Image.Image, most: float, ground: int) -> float:
    """Return the share of the outline, 0 to 1, that is as bright as the ground.

    The outline is what borders on transparent parts; the whole image if nothing does.
    """
    scale = max(1.0, max(im.size) / _MOST_SIDE)
    small = im.resize((max(1, round(im.width / scale)), max(1, round(im.height / scale))), Image.Resampling.NEAREST)
    solid = small.getchannel("A").point([255 * (value * 2 > most) for value in range(256)])
    edge = ImageChops.subtract(solid, solid.filter(ImageFilter.MinFilter(3)))
    mask = edge if edge.getbbox() else solid
    gray = small.convert(small.mode[:-1]).convert("L")
    close = gray.point([255 * (abs(value - ground) < _CLOSE) for value in range(256)])
    return ImageStat.Stat(close, mask).mean[0] / 255 if mask.getbbox() else 0.0
