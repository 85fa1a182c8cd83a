"""Animations for tests, written by hand, so that every frame has the place, the disposal and the blending that a test wants."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from tests.odd_images import saved

PALETTE = bytes((255, 255, 0, 255, 0, 0, 0, 0, 255, 0, 255, 0))
"""Yellow, which is the background that browsers ignore, red, blue, green."""
SIDE = 60


@dataclass(frozen=True)
class Patch:
    """A rectangle (x, y, width, height) of one colour of the palette, with its disposal (GIF89a: 1 keep, 2 clear, 3 restore)."""

    box: tuple[int, int, int, int]
    colour: int
    disposal: int = 1


def gif(*patches: Patch, transparent: int | None = None) -> bytes:
    """Write a GIF of 60 x 60 pixels with one frame for each patch."""
    data = b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0xF1, 0, 0) + PALETTE
    for patch in patches:
        flags = patch.disposal << 2 | (transparent is not None)
        data += b"!\xf9\x04" + struct.pack("<BHBB", flags, 20, transparent or 0, 0)
        data += b"," + struct.pack("<HHHHB", *patch.box, 0) + _pixels(patch.box[2:], patch.colour)
    return data + b";"


def _pixels(size: tuple[int, int], colour: int) -> bytes:
    """Return the compressed pixels of a rectangle, as Pillow writes them."""
    whole = Image.new("P", size, colour)
    whole.putpalette(PALETTE)
    out = BytesIO()
    whole.save(out, "GIF", optimize=False)
    data = out.getvalue()
    at = 13 + 3 * (2 << (data[10] & 7))
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    flags = data[at + 9]
    return data[at + 10 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0) : -1]


def layers() -> Sequence[Image.Image]:
    """Four half-transparent frames with holes."""
    red, blue = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 255)), Image.new("RGBA", (SIDE, SIDE), (0, 0, 255, 120))
    nothing, green = Image.new("RGBA", (SIDE, SIDE)), Image.new("RGBA", (SIDE, SIDE), (0, 255, 0, 200))
    blue.paste((0, 0, 0, 0), (20, 20, 40, 40))
    green.paste((0, 0, 0, 0), (0, 0, 30, 30))
    return red, blue, nothing, green


def animations() -> dict[str, tuple[str, bytes]]:
    """Return animations by name, each with its media type."""
    found: dict[str, tuple[str, bytes]] = {}
    for disposal in (0, 1, 2, 3):
        for transparent in (None, 3):
            patches = [
                Patch((5, 5, 40, 40), 1, disposal),
                Patch((20, 20, 30, 30), 2, disposal),
                Patch((40, 40, 10, 10), 1),
                Patch((0, 50, 10, 10), 3),
            ]
            found[f"gif {disposal} {transparent}"] = "image/gif", gif(*patches, transparent=transparent)
    first, *rest = layers()
    for disposal in (0, 1, 2):
        for blend in (0, 1):
            kept = {"save_all": True, "disposal": disposal, "blend": blend, "duration": 100}
            found[f"png {disposal} {blend}"] = "image/png", saved(first, "PNG", append_images=rest, **kept)
            others = saved(rest[-1], "PNG", append_images=[first, *rest], default_image=True, **kept)
            found[f"png with another first image {disposal} {blend}"] = "image/png", others
    lossless = {"save_all": True, "lossless": True, "duration": 100}
    found["webp"] = "image/webp", saved(first, "WEBP", append_images=rest, **lossless)
    return found
