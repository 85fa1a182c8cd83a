"""Convert an image file into the rendition for one model first, then into the canonical image. Pure; runs in a worker."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from llava_gateway.images import colour, encode, ground, hdr, resize
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import UNLIMITED, ImageInfo, Limits
from llava_gateway.images.plan import WHOLE, Canvas, Plan, Size, pixels
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import Note, note
from llava_gateway.parts import Box, Sight


@dataclass(frozen=True, slots=True)
class Ready:
    """The first result of an ingest, enough to ask the model; `rendered` is None without a profile."""

    info: ImageInfo
    rendered: Rendered | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A plan and its pieces, in order."""

    plan: Plan
    pieces: tuple[Encoded, ...]


def ingest(
    data: bytes,
    limits: Limits,
    profile: VisionProfile | None,
    sight: Sight = Sight(),
    background: str | None = None,
    *,
    frame: int | None = None,
) -> Iterator[Ready | Encoded]:
    """Yield a Ready, then the canonical image: upright, sRGB, without metadata, at most about `limits.store_max_pixels` pixels.

    Raises ImageError, and any error of a decoder on a damaged file.
    """
    source = Source(data, limits, frame, background)
    size = resize.stored_size(source.upright_size, limits.store_max_pixels)
    if profile is None:
        (canonical,), lossless, changes = _made(source, [(WHOLE, size)])
        yield Ready(_info(source, size, lossless, len(data), changes), None)
    else:
        plan = profile.plan(size, sight)
        parts = [(canvas.region, canvas.inner) for canvas in plan.canvases]
        made, lossless, changes = _made(source, parts)
        yield Ready(_info(source, size, lossless, len(data), changes), _rendered(plan, made, lossless))
        if parts != [(WHOLE, size)]:
            made, lossless, _ = _made(source, [(WHOLE, size)])
        canonical = made[0]
    yield encode.encode(canonical, lossless=lossless, subsampled=source.subsampled and size == source.upright_size)


def render(canonical: bytes, profile: VisionProfile, sight: Sight = Sight()) -> Rendered:
    """Render the canonical image for a model that the ingest did not render for. Raises the same errors as `ingest`."""
    source = Source(canonical, UNLIMITED)
    plan = profile.plan(source.upright_size, sight)
    made, lossless, _ = _made(source, [(canvas.region, canvas.inner) for canvas in plan.canvases])
    return _rendered(plan, made, lossless)


def _made(source: Source, parts: Sequence[tuple[Box, Size]]) -> tuple[list[Image.Image], bool, tuple[Note, ...]]:
    """Make parts of the image in sRGB, all from one decode. Returns (parts, whether to encode them lossless, changes to the colours).

    The decode is as small as the largest part allows. Crop and resize come before rotation and colour conversion, which then touch few
    pixels (a 50 MP JPEG peaks at 28 MB of memory instead of 386 MB).

    Args:
        parts: (region of the upright image, upright size in pixels) of each part.
    """
    decoded, changes = source.pixels(resize.rotated(_whole_for(parts), source.orientation))
    lossless = source.lossless and encode.packs_well(decoded)
    made: list[Image.Image] = []
    colours: tuple[Note, ...] = ()
    for region, size in parts:
        box = pixels(resize.rotated_box(region, source.orientation), decoded.size)
        cut = decoded if box == (0, 0, *decoded.size) else decoded.crop(box)
        im = resize.rotate_upright(resize.resample(cut, resize.rotated(size, source.orientation)), source.orientation)
        alpha = im.getchannel("A") if source.ground else None
        opaque = im.convert(im.mode[:-1]) if alpha else im
        im, colours = hdr.to_sdr(opaque, source.hdr) if source.hdr else colour.to_srgb(opaque, source.icc)
        made.append(ground.laid_on(im, alpha, source.ground) if alpha and source.ground else im)
    return made, lossless, (*changes, *colours)


def _whole_for(parts: Sequence[tuple[Box, Size]]) -> Size:
    """Return the size of the whole image at which every part has at least its own size."""
    width, height = (max(math.ceil(size[i] / region[2 + i]) for region, size in parts) for i in (0, 1))
    return width, height


def _rendered(plan: Plan, made: Sequence[Image.Image], lossless: bool) -> Rendered:
    """Encode the plan's pieces.

    Each of several pieces is marked with a digest of all of them, so that pieces of different images never have the same bytes. llama.cpp
    identifies images by their bytes, and it fails if a prompt first differs from the previous prompt between two adjacent images.
    """
    pieces = [piece for canvas, im in zip(plan.canvases, made, strict=True) for piece in _cut(resize.on_canvas(im, canvas), canvas)]
    mark = ""
    if len(pieces) > 1:
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece.tobytes())
        mark = digest.hexdigest()
    return Rendered(plan, tuple(encode.encode(piece, lossless=lossless or plan.lossless, mark=mark) for piece in pieces))


def _cut(im: Image.Image, canvas: Canvas) -> Iterator[Image.Image]:
    """Yield the tiles of a canvas, row by row; the whole canvas if it has none."""
    if canvas.tile is None:
        yield im
        return
    columns, rows = canvas.grid
    width, height = canvas.tile
    for row in range(rows):
        for column in range(columns):
            yield im.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))


def _info(source: Source, size: Size, lossless: bool, file_bytes: int, colours: tuple[Note, ...]) -> ImageInfo:
    changes = [*source.facts, *colours]
    kept = "PNG" if lossless else "JPEG"
    if kept != source.format:
        changes.append(note("kept_as", original=source.format, format=kept))
    if size != source.upright_size:
        width, height = source.upright_size
        code = "kept_smaller" if size[0] < width else "kept_larger"
        changes.append(note(code, from_width=width, from_height=height, width=size[0], height=size[1]))
    return ImageInfo(*size, *source.original_size, source.format, file_bytes, tuple(changes), source.warnings)
