"""How a question wants its files read, their pages and frames and the ground behind them: set for all files, or for one."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llava_gateway.api.bodies import AskBody, FileBody, parse_body
from llava_gateway.errors import InvalidRequest
from llava_gateway.images.pages import MOST_PAGES, Document
from llava_gateway.parts import Attached, ImagePart, Link, Selection, Upload

_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:[-–]\s*(\d{1,6})\s*)?", re.ASCII)
_CHOICES = {"pages", "frames"}
_SCENES = re.compile(r"\s*scenes\s*:\s*(\d{1,3})\s*", re.ASCII)


def selection_of(body: FileBody, within: str = "") -> Selection:
    """Return the selection that a body describes. `within` goes before the field's name in errors. Raises InvalidRequest."""
    pages = ".".join(filter(None, (within, "pages")))
    frames = ".".join(filter(None, (within, "frames")))
    scenes = _scenes(body.frames, frames) if body.frames else None
    return Selection(
        _ranges(body.pages, pages) if body.pages else (),
        tuple(_frames(body.frames, frames)) if body.frames and scenes is None else (),
        scenes,
        body.text_layer != "off",
    )


def with_files(body: AskBody, images: Sequence[tuple[Attached, FileBody | None]]) -> list[Attached]:
    """Return the images, each file as it is wanted; its own fields take precedence over those of the question. A stored image has its
    pages and its ground already.

    Raises InvalidRequest.
    """
    return [
        image if isinstance(image, ImagePart) else _with_file(image, body, own, f"images[{index}]")
        for index, (image, own) in enumerate(images)
    ]


def _with_file(image: Upload | Link, body: AskBody, own: FileBody | None, within: str) -> Upload | Link:
    said = {} if own is None else {name: value for name in FileBody.model_fields if (value := getattr(own, name)) is not None}
    wanted = body.model_copy(update=said)
    if image.selection == Selection():
        image = replace(image, selection=selection_of(wanted, within if said.keys() & _CHOICES else ""))
    return replace(image, background=background(wanted.background))


def background(wish: str | None) -> str | None:
    """Return the colour in lower case; None for auto."""
    return wish.lower() if wish and wish != "auto" else None


def selections(pages: Sequence[str], frames: Sequence[str], places: Sequence[int], *, text_layer: bool) -> list[Selection] | None:
    """Return a selection for each file of a form that gives several of them; None if one is for all.

    Args:
        pages, frames: the values of these fields, in order; "" stands for what fits.
        places: of the files, among the images of the form.

    Raises InvalidRequest.
    """
    files = len(places)
    for name, values in (("pages", pages), ("frames", frames)):
        if len(values) > 1 and len(values) != files:
            raise InvalidRequest("selections_wrong", values={"count": len(values), "files": files}, param=name)
    if max(len(pages), len(frames)) < 2:
        return None
    of_each = [values if len(values) == files else (list(values) or [""]) * files for values in (pages, frames)]
    layer = "auto" if text_layer else "off"
    return [
        selection_of(parse_body(FileBody, {"pages": of_page or None, "frames": of_frame or None, "text_layer": layer}), f"images[{place}]")
        for place, of_page, of_frame in zip(places, *of_each, strict=True)
    ]


def document_json(document: Document, thumbnails: Sequence[bytes]) -> dict[str, Any]:
    """Render the pages of a document. `field` names the field that chooses them, `number` counts as that field does; `thumbnail` is a data:
    URL, null for a page that can't be read.
    """
    pages = [
        {
            "number": each.page.number,
            "width": each.size[0],
            "height": each.size[1],
            "seconds": each.page.seconds,
            "thumbnail": f"data:image/jpeg;base64,{b64encode(small).decode()}" if small else None,
        }
        for each, small in zip(document.found, thumbnails, strict=True)
    ]
    field = "pages" if document.has_pages else "frames"
    return {"format": document.kind, "count": document.count, "field": field, "pages": pages}


def _ranges(text: str, param: str) -> tuple[tuple[int, int], ...]:
    """Parse 1-3,7. Raises InvalidRequest."""
    found = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high:
            raise InvalidRequest("pages_wrong", param=param)
        if high - low >= MOST_PAGES:
            raise _too_many(param)
        found.append((low, high))
    return tuple(found)


def _frames(text: str, param: str) -> list[int]:
    """Parse 0,5. Raises InvalidRequest."""
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if low > high:
            raise InvalidRequest("frames_wrong", param=param)
        if high - low >= MOST_PAGES:
            raise _too_many(param)
        found += range(low, high + 1)
    return found


def _scenes(text: str, param: str) -> int | None:
    match = _SCENES.fullmatch(text)
    if match is None:
        return None
    if int(match[1]) < 1:
        raise InvalidRequest("frames_wrong", param=param)
    if int(match[1]) > MOST_PAGES:
        raise _too_many(param)
    return int(match[1])


def _too_many(param: str) -> InvalidRequest:
    return InvalidRequest("too_many_pages", values={"most": MOST_PAGES}, param=param)
