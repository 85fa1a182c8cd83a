"""Compose the frames of animated GIFs and PNGs as browsers do.

Pillow decodes each frame on its own here. Its own composition fills what a GIF leaves open with the background colour, which browsers
ignore, and it blends the half-transparent pixels of PNGs wrongly. Runs only in worker processes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeAlias

from PIL import Image

from llava_gateway.images import colour
from llava_gateway.images.plan import Size

Disposal: TypeAlias = Literal["keep", "clear", "restore"]

_COPIED = (b"PLTE", b"tRNS")
_GIF_DISPOSALS: dict[int, Disposal] = {2: "clear", 3: "restore"}
_PNG_DISPOSALS: dict[int, Disposal] = {1: "clear", 2: "restore"}
_UNLIKELY_MS = 10
"""Browsers show frames of at most this many milliseconds for 100 ms."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of an animation, not yet composed.

    Attributes:
        file: the frame as an image file of its own.
        at: where its top left corner goes.
        seconds: how long it is shown.
        disposal: what happens to its pixels before the next frame.
        over: whether it is blended with what is there; else it replaces that.
    """

    file: bytes
    at: Size
    seconds: float
    disposal: Disposal = "keep"
    over: bool = True


def composed(frames: Sequence[Frame], size: Size, last: int) -> Iterator[Image.Image]:
    """Yield the frames up to the index `last` as they are shown, in RGBA, all of this size. Each is valid until the next one is made."""
    canvas = Image.new("RGBA", size)
    for frame in frames[: last + 1]:
        drawn = _decoded(frame.file)
        before = canvas.copy() if frame.disposal == "restore" else None
        if frame.over:
            canvas.alpha_composite(_clipped(drawn, frame.at, size), (min(frame.at[0], size[0]), min(frame.at[1], size[1])))
        else:
            canvas.paste(drawn, frame.at)
        yield canvas
        if before is not None:
            canvas = before
        elif frame.disposal == "clear":
            canvas.paste((0, 0, 0, 0), (*frame.at, frame.at[0] + drawn.width, frame.at[1] + drawn.height))


def is_whole(frame: Frame) -> bool:
    """Return whether a frame can be decoded; the last one of a file that is cut off can't."""
    try:
        _decoded(frame.file)
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def _decoded(file: bytes) -> Image.Image:
    im = Image.open(BytesIO(file), formats=["PNG", "GIF"])
    if im.mode.startswith("I"):
        im.load()
        return colour.eight_bit(im, 16, white_is_zero=False)[0].convert("RGBA")
    return im.convert("RGBA")


def _clipped(drawn: Image.Image, at: Size, size: Size) -> Image.Image:
    box = (0, 0, max(0, min(drawn.width, size[0] - at[0])), max(0, min(drawn.height, size[1] - at[1])))
    return drawn if box == (0, 0, *drawn.size) else drawn.crop(box)


def _seconds(milliseconds: float) -> float:
    return milliseconds / 1000 if milliseconds > _UNLIKELY_MS else 0.1


def gif_frames(data: bytes) -> list[Frame]:
    """Take a GIF apart (GIF89a specification). A frame that is cut off ends the list; its data may still be decoded in part."""
    flags = data[10]
    at = 13 + _table(flags)
    head, palette = data[:6], data[13:at]
    frames: list[Frame] = []
    control, delay, disposal = b"", 0, 0
    while at < len(data):
        kind = data[at]
        if kind == 0x21:
            if data[at + 1 : at + 3] == b"\xf9\x04" and at + 8 <= len(data):
                control = data[at : at + 8]
                disposal, delay = data[at + 3] >> 2 & 7, struct.unpack_from("<H", data, at + 4)[0]
            at = _behind_blocks(data, at + 2)
        elif kind == 0x2C and at + 10 <= len(data):
            left, top, width, height, own = struct.unpack_from("<HHHHB", data, at + 1)
            end = _behind_blocks(data, at + 11 + _table(own))
            screen = struct.pack("<HHBBB", width, height, flags, 0, 0)
            place = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, own)
            file = b"".join((head, screen, palette, control, place, data[at + 10 : end], b";"))
            if width and height:
                frames.append(Frame(file, (left, top), _seconds(10 * delay), _GIF_DISPOSALS.get(disposal, "keep")))
            control, delay, disposal, at = b"", 0, 0, end
        else:
            break
    return frames


def _table(flags: int) -> int:
    """Return the length of a colour table in bytes; 0 for none."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    """Return the place behind a chain of sub-blocks."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def png_frames(data: bytes) -> list[Frame]:
    """Take an animated PNG apart (PNG specification, third edition, 11.3.6). An image that is not part of the animation is left out."""
    header, copied = b"", b""
    frames: list[Frame] = []
    control, pixels = b"", list[bytes]()
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        at += length + 12
        if kind == b"IHDR":
            header = body
        elif kind in _COPIED:
            copied += _chunk(kind, body)
        elif kind == b"fcTL" and len(body) == 26:
            frames += _png_frame(header, copied, control, pixels)
            control, pixels = body, []
        elif control and kind in (b"IDAT", b"fdAT"):
            pixels.append(body if kind == b"IDAT" else body[4:])
    return [*frames, *_png_frame(header, copied, control, pixels)]


def _png_frame(header: bytes, copied: bytes, control: bytes, pixels: list[bytes]) -> list[Frame]:
    if not (control and pixels):
        return []
    width, height, left, top, shown, of, disposal, blend = struct.unpack_from(">IIIIHHBB", control, 4)
    own = struct.pack(">II", width, height) + header[8:]
    file = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", own) + copied + _chunk(b"IDAT", b"".join(pixels)) + _chunk(b"IEND", b"")
    return [Frame(file, (left, top), _seconds(1000 * shown / (of or 100)), _PNG_DISPOSALS.get(disposal, "keep"), over=blend == 1)]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
