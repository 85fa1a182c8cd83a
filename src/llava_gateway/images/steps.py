"""Describe the processing of an image, from the file to the tokens, step by step in notes (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llava_gateway.chat import Piece, Rendition
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.layout import inner_box
from llava_gateway.images.plan import WHOLE, Canvas, Plan, Size, pixels
from llava_gateway.notes import Note, note
from llava_gateway.parts import Box


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """One file that is sent.

    Attributes:
        role: role of its canvas.
        box: the part of the image that it shows; None if it shows only padding.
        piece: the file.
        tokens: its token count; None if only the sum of all pieces is known.
    """

    role: str
    box: Box | None
    piece: Piece
    tokens: int | None


def steps(info: ImageInfo, plan: Plan, rendition: Rendition) -> tuple[Note, ...]:
    """Return the notes from the file to the tokens, in order."""
    size = info.original_width, info.original_height
    decoded = note("decoded", format=info.original_format, width=size[0], height=size[1], bytes=info.original_bytes)
    canvases = [step for canvas in plan.canvases for step in _canvas_steps((info.width, info.height), canvas)]
    return (decoded, *info.changes, *canvases, _encoded(rendition.pieces), _tokens(rendition))


def shown_pieces(plan: Plan, rendition: Rendition) -> tuple[ShownPiece, ...]:
    """Return the pieces in the order of sending, each with the part of the image that it shows."""
    boxes = [(canvas.role, box) for canvas in plan.canvases for box in _boxes(canvas)]
    alike = len({(piece.width, piece.height) for piece in rendition.pieces}) == 1
    share, rest = divmod(rendition.tokens or 0, len(boxes))
    tokens = share if rendition.tokens and alike and not rest else None
    return tuple(ShownPiece(role, box, piece, tokens) for (role, box), piece in zip(boxes, rendition.pieces, strict=True))


def in_words(plan: Plan) -> str:
    """Return one English sentence that describes what the plan shows."""
    parts = [_canvas_words(canvas) for canvas in plan.canvases if canvas.role != "strip"]
    if strips := [canvas for canvas in plan.canvases if canvas.role == "strip"]:
        parts.append(f"{len(strips)} parts in reading order of at most {_x(max(canvas.size for canvas in strips))} pixels")
    return f"{' and '.join(parts)}.".capitalize()


def _canvas_words(canvas: Canvas) -> str:
    if canvas.tile:
        columns, rows = canvas.grid
        part = "" if canvas.region == WHOLE else " of a part of the image"
        return f"a grid of {columns}x{rows} tiles of {_x(canvas.tile)} pixels{part}"
    subject = {"overview": "an overview of the whole", "region": "a part of the image"}.get(canvas.role, "the whole image")
    if canvas.inner == canvas.size:
        return f"{subject} as {_x(canvas.size)} pixels"
    return f"{subject} on {_x(canvas.size)} pixels, the rest of them padded"


def _canvas_steps(image: Size, canvas: Canvas) -> Iterator[Note]:
    part = image
    if canvas.role == "overview":
        yield note("overview")
    elif canvas.region != WHOLE:
        x, y, *_ = canvas.region
        left, top, right, bottom = pixels(canvas.region, image)
        part = right - left, bottom - top
        values = {"x": x, "y": y, "width": part[0], "height": part[1]}
        number, _, count = canvas.label.rstrip(":").partition("/")
        yield note("strip", number=int(number), count=int(count), **values) if canvas.role == "strip" else note("region", **values)
    if part != canvas.inner:
        yield _resized(part, canvas.inner)
    if canvas.inner != canvas.size:
        colour = "#" + bytes(canvas.fill).hex()
        yield note("padded", width=canvas.size[0], height=canvas.size[1], colour=colour)
    if canvas.tile:
        columns, rows = canvas.grid
        yield note("cut", columns=columns, rows=rows, width=canvas.tile[0], height=canvas.tile[1])


def _resized(before: Size, after: Size) -> Note:
    # Stretched: the shape changes by more than rounding one side to whole pixels explains.
    stretched = abs(after[0] * before[1] - after[1] * before[0]) > max(before)
    code = "stretched" if stretched else "shrunk" if after < before else "enlarged"
    return note(code, from_width=before[0], from_height=before[1], width=after[0], height=after[1])


def _encoded(pieces: Sequence[Piece]) -> Note:
    size = sum(len(piece.data) for piece in pieces)
    formats = "/".join(sorted({piece.format for piece in pieces}))
    return note("encoded", format=formats, count=len(pieces), bytes=size, kilobytes=size / 1000)


def _tokens(rendition: Rendition) -> Note:
    return note("tokens_unknown") if rendition.tokens is None else note("tokens", tokens=rendition.tokens, label=rendition.label)


def _boxes(canvas: Canvas) -> Iterator[Box | None]:
    """Yield the part of the image that each piece of the canvas shows; None for padding alone."""
    columns, rows = canvas.grid
    for row in range(rows):
        for column in range(columns):
            across = _span(column, 0, canvas)
            down = _span(row, 1, canvas)
            yield (across[0], down[0], across[1], down[1]) if across and down else None


def _span(index: int, axis: int, canvas: Canvas) -> tuple[float, float] | None:
    """Return (start, length) of the part that a column (axis 0) or row (axis 1) of pieces shows, as fractions of the image; None for
    padding alone."""
    length = (canvas.tile or canvas.size)[axis]
    inner = canvas.inner[axis]
    offset = inner_box(canvas)[axis]
    start, end = max(0, index * length - offset), min(inner, (index + 1) * length - offset)
    if start >= end:
        return None
    at, extent = canvas.region[axis], canvas.region[axis + 2]
    return round(at + start / inner * extent, 6), round((end - start) / inner * extent, 6)


def _x(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
