"""What is done to a picture on its way to a model, step by step: in words for people, in codes and numbers for programs (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from llava_gateway.chat import Box, Piece, Rendition
from llava_gateway.images.info import PictureInfo
from llava_gateway.images.layout import inner_box
from llava_gateway.images.plan import WHOLE, Canvas, Plan, Size, pixels

Value: TypeAlias = int | float | str

# The sentences of PictureInfo.changes (decode.py, colour.py, resize.py, ingest.py, store.py).
_CHANGES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(pattern))
    for code, pattern in (
        ("rotated", r"rotated (?P<degrees>\d+) degrees"),
        ("rotated_and_mirrored", r"rotated (?P<degrees>\d+) degrees and mirrored"),
        ("mirrored", r"mirrored"),
        ("flipped", r"flipped upside down"),
        ("first_frame", r"first frame of an animation"),
        ("first_page", r"first page of several"),
        ("main_picture", r"main picture of several"),
        ("exif_unreadable", r"unreadable EXIF data ignored"),
        ("gps_removed", r"GPS position removed"),
        ("metadata_removed", r"metadata removed"),
        ("eight_bit", r"(?P<bits>\d+)-bit to 8-bit"),
        ("eight_bit_stretched", r"(?P<bits>\d+)-bit to 8-bit, stretched to the full range"),
        ("lab_to_srgb", r"Lab to sRGB"),
        ("cmyk_to_srgb", r"CMYK to sRGB"),
        ("profile_broken", r"broken colour profile ignored"),
        ("profile_to_srgb", r"colour profile (?P<profile>.+) to sRGB"),
        ("white_ground", r"transparent parts made white"),
        ("kept_as", r"(?P<original>[A-Z]+) to (?P<format>PNG|JPEG)"),
        ("kept_smaller", r"shrunk from (?P<from_width>\d+)x(?P<from_height>\d+) to (?P<width>\d+)x(?P<height>\d+)"),
        ("kept_larger", r"enlarged from (?P<from_width>\d+)x(?P<from_height>\d+) to (?P<width>\d+)x(?P<height>\d+)"),
        ("turned", r"turned (?P<degrees>\d+) degrees by hand"),
        ("contact_sheet", r"contact sheet of (?P<count>\d+) pictures"),
    )
)


@dataclass(frozen=True, slots=True)
class Step:
    """`code` is stable, `values` are its numbers and names, `text` says both in a sentence."""

    code: str
    text: str
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """One file that is sent.

    Attributes:
        role: of its canvas.
        box: the part of the picture that is on it; None where it shows nothing but padding.
        tokens: what it costs; None where only the sum is known.
    """

    role: str
    box: Box | None
    piece: Piece
    tokens: int | None


def steps(info: PictureInfo, plan: Plan, rendition: Rendition) -> tuple[Step, ...]:
    """From the file to the tokens, in order."""
    size = info.original_width, info.original_height
    decoded = Step(
        "decoded",
        f"Decoded {info.original_format} of {_x(size)} pixels.",
        {"format": info.original_format, "width": size[0], "height": size[1], "bytes": info.original_bytes},
    )
    canvases = [step for canvas in plan.canvases for step in _canvas_steps((info.width, info.height), canvas)]
    return (decoded, *map(change_step, info.changes), *canvases, _encoded(rendition.pieces), _tokens(rendition))


def change_step(sentence: str) -> Step:
    """One of PictureInfo.changes."""
    for code, pattern in _CHANGES:
        if match := pattern.fullmatch(sentence):
            values = {name: int(value) if value.isdecimal() else value for name, value in match.groupdict().items()}
            return Step(code, _sentence(sentence), values)
    raise ValueError(f"a change without a code: {sentence}")


def shown_pieces(plan: Plan, rendition: Rendition) -> tuple[ShownPiece, ...]:
    """The pieces in the order they are sent, each with the part of the picture it shows."""
    boxes = [(canvas.role, box) for canvas in plan.canvases for box in _boxes(canvas)]
    alike = len({(piece.width, piece.height) for piece in rendition.pieces}) == 1
    share, rest = divmod(rendition.tokens or 0, len(boxes))
    tokens = share if rendition.tokens and alike and not rest else None
    return tuple(ShownPiece(role, box, piece, tokens) for (role, box), piece in zip(boxes, rendition.pieces, strict=True))


def in_words(plan: Plan) -> str:
    """What kind of eye this is, in one sentence."""
    parts = [_canvas_words(canvas) for canvas in plan.canvases]
    return f"{' and '.join(parts)}.".capitalize()


def _canvas_words(canvas: Canvas) -> str:
    if canvas.tile:
        columns, rows = canvas.grid
        part = "" if canvas.region == WHOLE else " of a part of the picture"
        return f"a grid of {columns}x{rows} tiles of {_x(canvas.tile)} pixels{part}"
    subject = {"overview": "an overview of the whole", "region": "a part of the picture"}.get(canvas.role, "the whole picture")
    if canvas.inner == canvas.size:
        return f"{subject} as {_x(canvas.size)} pixels"
    return f"{subject} on {_x(canvas.size)} pixels, the rest of them padded"


def _canvas_steps(picture: Size, canvas: Canvas) -> Iterator[Step]:
    part = picture
    if canvas.role == "overview":
        yield Step("overview", "An overview of the whole picture.")
    elif canvas.region != WHOLE:
        x, y, *_ = canvas.region
        left, top, right, bottom = pixels(canvas.region, picture)
        part = right - left, bottom - top
        values: dict[str, Value] = {"x": x, "y": y, "width": part[0], "height": part[1]}
        yield Step("region", f"The part of {_x(part)} pixels at {x:.0%} from the left and {y:.0%} from the top.", values)
    if part != canvas.inner:
        yield _resized(part, canvas.inner)
    if canvas.inner != canvas.size:
        colour = "#" + bytes(canvas.fill).hex()
        yield Step("padded", f"Padded to {_x(canvas.size)}.", {"width": canvas.size[0], "height": canvas.size[1], "colour": colour})
    if canvas.tile:
        columns, rows = canvas.grid
        text = f"Cut into {columns}x{rows} tiles of {_x(canvas.tile)}."
        yield Step("cut", text, {"columns": columns, "rows": rows, "width": canvas.tile[0], "height": canvas.tile[1]})


def _resized(before: Size, after: Size) -> Step:
    values: dict[str, Value] = {"from_width": before[0], "from_height": before[1], "width": after[0], "height": after[1]}
    # Beyond what rounding one side to whole pixels can do to the shape.
    if abs(after[0] * before[1] - after[1] * before[0]) > max(before):
        return Step("stretched", f"Stretched from {_x(before)} to {_x(after)}.", values)
    code = "shrunk" if after < before else "enlarged"
    return Step(code, f"{code.capitalize()} from {_x(before)} to {_x(after)}.", values)


def _encoded(pieces: Sequence[Piece]) -> Step:
    size = sum(len(piece.data) for piece in pieces)
    formats = "/".join(sorted({piece.format for piece in pieces}))
    files = "one file" if len(pieces) == 1 else f"{len(pieces)} files"
    values: dict[str, Value] = {"format": formats, "count": len(pieces), "bytes": size}
    return Step("encoded", f"Sent as {formats}, {files} of {size / 1000:.1f} kB.", values)


def _tokens(rendition: Rendition) -> Step:
    if rendition.tokens is None:
        return Step("tokens_unknown", "Only the engine knows how many tokens that is.")
    text = f"{rendition.tokens} tokens, {rendition.label}."
    return Step("tokens", text, {"tokens": rendition.tokens, "label": rendition.label})


def _boxes(canvas: Canvas) -> Iterator[Box | None]:
    """The part of the picture on each of its pieces."""
    columns, rows = canvas.grid
    for row in range(rows):
        for column in range(columns):
            across = _span(column, 0, canvas)
            down = _span(row, 1, canvas)
            yield (across[0], down[0], across[1], down[1]) if across and down else None


def _span(index: int, axis: int, canvas: Canvas) -> tuple[float, float] | None:
    """(start, length) of what a column (axis 0) or row (axis 1) of pieces shows, in fractions of the picture."""
    length = (canvas.tile or canvas.size)[axis]
    inner = canvas.inner[axis]
    offset = inner_box(canvas)[axis]
    start, end = max(0, index * length - offset), min(inner, (index + 1) * length - offset)
    if start >= end:
        return None
    at, extent = canvas.region[axis], canvas.region[axis + 2]
    return round(at + start / inner * extent, 6), round((end - start) / inner * extent, 6)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _x(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
