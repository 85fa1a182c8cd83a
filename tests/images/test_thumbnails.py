from __future__ import annotations

import struct
from io import BytesIO

from PIL import Image, ImageDraw
from pillow_heif import from_pillow, open_heif

from benchmarks.images import SQUARE, ready

SIZE = (1024, 768)


def _with_thumbnail_of_another() -> tuple[bytes, Image.Image]:
    """Write a HEIC of a yellow disc on red whose thumbnail is plain blue. Returns (file, the picture)."""
    picture = Image.new("RGB", SIZE, "red")
    ImageDraw.Draw(picture).ellipse((300, 200, 700, 600), fill="yellow")
    both = from_pillow(Image.new("RGB", SIZE, "blue"))
    longest_sides: list[int | None] = [512]
    both[0].info["thumbnails"] = longest_sides
    both.add_from_pillow(picture)
    out = BytesIO()
    both.save(out, quality=90, primary_index=1)
    data = bytearray(out.getvalue())
    (primary,) = struct.unpack_from(">H", data, data.index(b"pitm") + 8)
    struct.pack_into(">H", data, data.index(b"thmb") + 8, primary)  # the item that it is a thumbnail of
    return bytes(data), picture


def test_a_thumbnail_of_another_picture_is_not_used() -> None:
    data, picture = _with_thumbnail_of_another()
    file = open_heif(BytesIO(data))
    thumbnail = file[file.primary_index].get_thumbnail(0).to_pillow()
    assert thumbnail.size == (512, 384)
    assert _is_close(thumbnail.getpixel((256, 192)), (0, 0, 255))
    sent = Image.open(BytesIO(ready(data, SQUARE).data)).convert("RGB")
    assert _is_close(sent.getpixel((168, 168)), picture.getpixel((512, 384)))
    assert _is_close(sent.getpixel((20, 168)), (255, 0, 0))


def _is_close(one: object, other: object) -> bool:
    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    return all(abs(a - b) <= 12 for a, b in zip(one, other, strict=True))
