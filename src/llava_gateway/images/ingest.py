"""One picture file to what we keep of it: the rendition for one model first, then the canonical picture. Pure; runs in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from llava_gateway.chat import Sight
from llava_gateway.images import colour, encode, fit
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.picture import Limits, PictureInfo
from llava_gateway.images.profile import Plan, Size, VisionProfile


@dataclass(frozen=True, slots=True)
class Ready:
    """Enough to ask the model."""

    info: PictureInfo
    rendered: Rendered | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A plan and the pieces it asks for, in order."""

    plan: Plan
    pieces: tuple[Encoded, ...]


def ingest(data: bytes, limits: Limits, profile: VisionProfile | None, sight: Sight = Sight()) -> Iterator[Ready | Encoded]:
    """First a Ready, then the canonical picture: upright, sRGB, without metadata, at most `limits.store_max_pixels`.

    Raises ImageError, and whatever decoders raise on damaged files.
    """
    source = Source(data, limits)
    size = fit.stored_size(source.upright_size, limits.store_max_pixels)
    if profile is None:
        canonical, lossless, changes = _made(source, size)
        yield Ready(_info(source, size, lossless, len(data), changes), None)
    else:
        plan = profile.plan(size, sight)
        canvas = plan.canvases[0]
        small, lossless, changes = _made(source, canvas.inner)
        rendered = Rendered(plan, (encode.encode(fit.on_canvas(small, canvas), lossless=lossless or plan.lossless),))
        yield Ready(_info(source, size, lossless, len(data), changes), rendered)
        canonical, lossless, _ = (small, lossless, changes) if canvas.inner == size else _made(source, size)
    yield encode.encode(canonical, lossless=lossless, subsampled=source.subsampled and size == source.upright_size)


def render(canonical: bytes, profile: VisionProfile, sight: Sight = Sight()) -> Rendered:
    """A rendition from the canonical picture, for a model that was not asked about when the picture came."""
    source = Source(canonical, Limits(max_pixels=2**40, max_pixels_webp_gif=2**40, max_side=2**31, min_side=1, max_aspect=2**31))
    plan = profile.plan(source.upright_size, sight)
    canvas = plan.canvases[0]
    small, lossless, _ = _made(source, canvas.inner)
    return Rendered(plan, (encode.encode(fit.on_canvas(small, canvas), lossless=lossless or plan.lossless),))


def _made(source: Source, size: Size) -> tuple[Image.Image, bool, tuple[str, ...]]:
    """The picture at an upright `size` in sRGB, whether it is to be kept lossless, and sentences on what was done to its colours.

    Shrinking comes first: turning and converting then touch few pixels (a 50 MP JPEG peaks at 28 MB instead of 386 MB).
    """
    target = fit.turned(size, source.orientation)
    decoded, changes = source.pixels(target)
    lossless = source.lossless and encode.packs_well(decoded)
    im = fit.turn_upright(fit.resample(decoded, target), source.orientation)
    im, colours = colour.to_srgb(colour.on_white(im), source.icc)
    return im, lossless, (*changes, *colours)


def _info(source: Source, size: Size, lossless: bool, file_bytes: int, colours: tuple[str, ...]) -> PictureInfo:
    changes = [*source.facts, *colours]
    kept = "PNG" if lossless else "JPEG"
    if kept != source.kind:
        changes.append(f"{source.kind} to {kept}")
    if size != source.upright_size:
        width, height = source.upright_size
        verb = "shrunk" if size[0] < width else "enlarged"
        changes.append(f"{verb} from {width}x{height} to {size[0]}x{size[1]}")
    return PictureInfo(*size, *source.original_size, source.kind, file_bytes, tuple(changes), source.warnings)
