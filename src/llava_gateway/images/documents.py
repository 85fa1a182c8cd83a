"""Open files with several pages or frames, and make an ordinary image of one of them. Runs only in worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image

from llava_gateway.images import resize, tiff
from llava_gateway.images.animation import ON_SHEET, Animation
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import UNLIMITED, Limits
from llava_gateway.images.ingest import Ready, ingest
from llava_gateway.images.pages import FRAMED, MOST_PAGES, PAGED, Document, Found, chosen, kind_of, ranges
from llava_gateway.images.plan import Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import Note, note
from llava_gateway.parts import Page, Selection, Sight

_THUMBNAIL = 240
"""Pixels of the long side of a small copy, for a person who chooses pages."""
_FRAMES_TO_CHOOSE = 12


def examine(data: bytes, limits: Limits, selection: Selection) -> Document:
    """Count the pages or frames of a file, and measure the chosen ones. Raises ImageError, InvalidRequest, and errors of decoders."""
    name = hashlib.sha256(data).hexdigest()
    match kind_of(data):
        case "PDF":
            return _pdf(data, selection, name)
        case "VIDEO":
            return _video(data, limits, selection, name)
        case "TIFF":
            return _tiff(data, limits, selection, name)
    return _frames(Source(data, limits), data, limits, selection, name)


def _tiff(data: bytes, limits: Limits, selection: Selection, name: str) -> Document:
    places = tiff.pages(data)
    indexes, notes = chosen(selection, len(places), "TIFF")
    found = tuple(Found(Page(name, "TIFF", places[index], index + 1, len(places)), _size(data, limits, places[index])) for index in indexes)
    return Document("TIFF", len(places), found, notes)


def _frames(source: Source, data: bytes, limits: Limits, selection: Selection, name: str) -> Document:
    """Examine a file with frames. By default, an animation is one sheet of its frames, and a HEIC its main image alone."""
    kind = source.kind
    film = Animation(source, data) if kind in FRAMED else None
    count = film.count if film else 1
    indexes, notes = chosen(selection, count, kind)
    if film is None or count < 2 or (kind == "HEIC" and not (selection.frames or selection.scenes)):
        return Document(kind, 1, (), notes)
    if not selection.frames:
        indexes = film.scenes(selection.scenes or ON_SHEET)
    if kind == "HEIC":
        found = tuple(Found(Page(name, kind, index, index, count), _size(data, limits, index)) for index in indexes)
        return Document(kind, count, found, notes)
    if len(indexes) > 1 and not (selection.frames or selection.scenes):
        whole = Page(name, kind, indexes[0], indexes[0], count, frames=tuple(indexes))
        return Document(kind, count, (Found(whole, source.upright_size),), notes)
    at = film.times(indexes)
    return Document(kind, count, tuple(Found(Page(name, kind, i, i, count, at[i]), source.upright_size) for i in indexes), notes)


def _pdf(data: bytes, selection: Selection, name: str) -> Document:
    from llava_gateway.images import pdf

    with pdf.opened(data) as document:
        count = len(document)
        indexes, notes = chosen(selection, count, "PDF")
        found = tuple(Found(Page(name, "PDF", index, index + 1, count), pdf.size_of(document, index)) for index in indexes)
    return Document("PDF", count, found, notes)


def _video(data: bytes, limits: Limits, selection: Selection, name: str) -> Document:
    from llava_gateway.images import video

    with video.opened(data, limits) as film:
        indexes, notes = chosen(selection, film.count, "VIDEO")
        if not selection.frames:
            indexes = film.scenes(selection.scenes or video.SCENES)
        pages = (Page(name, "VIDEO", index, index, film.count, film.seconds_of(index)) for index in indexes)
        return Document("VIDEO", film.count, tuple(Found(page, film.size) for page in pages), notes)


def _size(data: bytes, limits: Limits, frame: int) -> Size:
    """Return the size of a page or frame; (0, 0) if it can't be opened."""
    try:
        return Source(data, limits, frame).upright_size
    except MemoryError:
        raise
    except Exception:  # damaged files make Pillow raise many types
        return 0, 0


def texts(data: bytes, indexes: list[int]) -> list[str]:
    """Return the text layers of pages of a PDF. Raises ImageError."""
    from llava_gateway.images import pdf

    return pdf.texts(data, indexes[:MOST_PAGES])


def thumbnails(data: bytes, limits: Limits) -> tuple[Document, list[bytes]]:
    """Return a document with the pages that a person can choose, or the frames that differ most, and a small JPEG of each.

    A page that can't be read has an empty file. Raises ImageError, and errors of decoders.
    """
    kind = kind_of(data)
    selection = Selection() if kind in PAGED else Selection(scenes=_FRAMES_TO_CHOOSE)
    document = examine(data, limits, selection)
    pages = [each.page for each in document.found]
    if not pages:
        return document, []
    if document.kind == "PDF":
        from llava_gateway.images import pdf

        small = pdf.thumbnails(data, [page.index for page in pages], _THUMBNAIL)
    elif document.kind in ("TIFF", "HEIC"):
        small = [
            _thumbnail_of(Source(data, limits, page.index)) if min(each.size) > 0 else None
            for page, each in zip(pages, document.found, strict=True)
        ]
    elif document.kind == "VIDEO":
        from llava_gateway.images import video

        with video.opened(data, limits) as recorded:
            small = [_small(frame) for frame in recorded.thumbnails([page.index for page in pages]).values()]
    else:
        film = Animation(Source(data, limits), data)
        frames = {index: frame for index, frame, _ in film.composed([page.index for page in pages])}
        small = [_small(frames[page.index]) for page in pages]
    return document, [_as_jpeg(each) if each else b"" for each in small]


def _thumbnail_of(source: Source) -> Image.Image:
    return _small(resize.rotate_upright(source.pixels(source.size)[0], source.orientation))


def _small(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    ground.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return ground.convert("RGB")


def _as_jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


def ingest_page(
    data: bytes,
    page: Page,
    limits: Limits,
    profile: VisionProfile | None,
    sight: Sight = Sight(),
    background: str | None = None,
) -> Iterator[Ready | Encoded]:
    """Ingest one page or frame like an image file of its own (`ingest.ingest`). Raises the same errors."""
    frame: int | None = None
    warnings: tuple[Note, ...] = ()
    size_bytes = len(data)
    if page.kind == "PDF":
        from llava_gateway.images import pdf

        image, warnings = pdf.drawn(data, page.index, limits)
        data = _as_bmp(image)
    elif page.kind in ("TIFF", "HEIC"):
        frame = page.index
    elif page.kind == "VIDEO":
        from llava_gateway.images import video

        with video.opened(data, limits) as film:
            data = film.file_of(page.index)
    else:
        animation = Animation(Source(data, limits), data)
        if animation.cut:
            warnings = (note("animation_cut", count=page.count),)
        if page.frames:
            data, limits = animation.sheet(page.frames).data, replace(limits, max_aspect=UNLIMITED.max_aspect)
            warnings += (note("animation_sheet", frames=ranges(page.frames), shown=len(page.frames), count=page.count),)
        else:
            data = animation.file(page.index)
    for result in ingest(data, limits, profile, sight, background, frame=frame):
        yield _of_page(result, page, size_bytes, warnings) if isinstance(result, Ready) else result


def _as_bmp(image: Image.Image) -> bytes:
    """Write an image as a file that takes no time to write and to read."""
    out = BytesIO()
    image.save(out, "BMP")
    return out.getvalue()


def _of_page(ready: Ready, page: Page, size_bytes: int, warnings: tuple[Note, ...]) -> Ready:
    """Return the result with the facts about the file in place of those about the drawing of one page."""
    info = ready.info
    kept = tuple(change for change in info.changes if change.code != "kept_as" or page.kind in ("TIFF", "HEIC"))
    info = replace(
        info,
        original_format=page.kind,
        original_bytes=size_bytes,
        changes=(page_note(page), *kept),
        warnings=(*info.warnings, *warnings),
    )
    return Ready(info, ready.rendered)


def page_note(page: Page) -> Note:
    """Return the note that tells which page or frame an image is."""
    values: dict[str, Any] = {"count": page.count}
    if page.frames:
        return note("sheet", count=len(page.frames))
    if page.kind in ("PDF", "TIFF"):
        return note("page", page=page.number, **values)
    if page.seconds is not None:
        return note("frame_at", frame=page.number, seconds=page.seconds, **values)
    return note("frame", frame=page.number, **values)
