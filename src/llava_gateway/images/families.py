"""Choose the size at which to send an image to each model family, and count its tokens; one function per family (pure).

The rules are those of llama.cpp's tools/mtmd (mtmd-image.cpp: how it resizes images; clip.cpp, `clip_n_output_tokens`: their token
counts; mtmd.cpp, `mtmd_tokenizer::add_media`: the markers around them). tests/images/test_families.py checks them against the engine. The
sizes we send are fixed points of the family's rule: the engine copies their pixels. It makes only the overview of sliced images itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from llava_gateway.chat import Label
from llava_gateway.images.plan import BLACK, CLIP_MEAN, GRAY, SMALLEST_SIDE, Canvas, Colour, Plan, Size, letterbox
from llava_gateway.notes import Note, note
from llava_gateway.parts import Sight

LOW_TOKENS = 576
"""Most tokens for `detail: low`, the cost of one tile of LLaVA; a family whose minimum is higher spends its minimum."""
AUTO_PIXELS = 1344 * 1344
"""Most pixels for `detail: auto` without a wish: 2,304 tokens of Qwen2.5-VL, which leaves room in the 4,096 of Ollama's default context."""
UNKNOWN_SIDE = 1344
_MOST_STRETCH = 1.1
MOST_SLICES = 9
GRID_SIDE = 3


@dataclass(frozen=True, slots=True)
class OneSquare:
    """An eye that sees each image as one square (Gemma 3, and models that take only one image).

    Attributes:
        side: side of the square in pixels.
        tokens: tokens per image, markers included; None if unknown.
        around: how many of these tokens are markers before and after the image.
        fill: colour of the padding.
    """

    side: int
    tokens: int | None = None
    around: int = 0
    fill: Colour = CLIP_MEAN


@dataclass(frozen=True, slots=True)
class Cells:
    """An eye that sees an image of any shape as square cells of one token each.

    Attributes:
        side: side of a cell in pixels.
        least, most: minimum and maximum number of cells.
        around: tokens of the markers before and after an image.
        row_break: whether every row but the last ends with one extra token.
    """

    side: int
    least: int
    most: int
    around: int = 2
    row_break: bool = False


@dataclass(frozen=True, slots=True)
class Slices:
    """An eye that sees an overview and up to nine slices of the image (MiniCPM-V).

    Attributes:
        side: the overview and each slice have about `side` x `side` pixels.
        align: the sides of a slice are multiples of this many pixels (the patch size).
        queries: tokens of the overview and of each slice, without the two markers of each.
        around_all: tokens of the markers around all slices together.
    """

    side: int
    align: int
    queries: int
    around_all: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """An eye that sees an overview and up to 3 x 3 tiles (Llama 4).

    Attributes:
        side: side of the overview and of each tile in pixels.
        tokens: tokens of the overview and of each tile.
        around: tokens of the markers before and after an image.
    """

    side: int
    tokens: int
    around: int = 2


@dataclass(frozen=True, slots=True)
class AnyShape:
    """An unknown eye: images keep their shape, and their long side is at most `max_side` pixels."""

    max_side: int = UNKNOWN_SIDE


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to send an image; it costs `visual` tokens for the image alone and `total` tokens with all markers."""

    canvas: Canvas
    visual: int
    total: int


def one_square(eye: OneSquare, size: Size, sight: Sight, label: Label = "exact") -> Plan:
    """Plan the whole image inside one square.

    The padding is that of llama.cpp `mtmd_image_preprocessor_fixed_size`, which copies an image of exactly this size.
    """
    canvas = letterbox(size, eye.side, eye.fill)
    if eye.tokens is None:
        return Plan((canvas,), lossless=True)
    return replace(_first_within([_Option(canvas, eye.tokens - eye.around, eye.tokens)], sight, label), detail="low", lossless=True)


def cells(eye: Cells, size: Size, sight: Sight, label: Label = "exact") -> Plan:
    """Plan the image in its own shape, with both sides rounded to whole cells (Qwen-VL, Pixtral, Gemma 4).

    The rule is llama.cpp `mtmd_image_preprocessor_dyn_size`, `calc_size_preserved_ratio` (smart_resize in transformers). llama.cpp pads
    the remainder of the rounding. We stretch the image instead, as the models' own processors do, and pad only if stretching would
    distort it.
    """
    return _first_within(_cell_options(eye, size, sight), sight, label)


def _cell_options(eye: Cells, size: Size, sight: Sight) -> Iterator[_Option]:
    """Yield options from the largest that the wishes allow to the smallest that the engine accepts."""
    most = eye.most
    if sight.detail == "auto" and sight.num_visual_tokens is None and sight.image_size is None:
        most = min(most, max(eye.least, AUTO_PIXELS // eye.side**2))
    wished = [n for n in (sight.num_visual_tokens, sight.max_image_tokens, LOW_TOKENS if sight.detail == "low" else None) if n is not None]
    if sight.image_size:
        wished.append((sight.image_size[0] // eye.side) * (sight.image_size[1] // eye.side))
    start = _within(size, sight.image_size)
    for budget in range(max(eye.least, min([most, *wished])), eye.least - 1, -1):
        columns, rows = _cell_grid(eye, start, budget)
        if sight.image_size:
            columns, rows = _boxed(eye, columns, rows, sight.image_size)
        target = columns * eye.side, rows * eye.side
        visual = columns * rows + (rows - 1 if eye.row_break else 0)
        yield _Option(Canvas("whole", _shaped(size, target), target, fill=BLACK), visual, visual + eye.around)


def _boxed(eye: Cells, columns: int, rows: int, box: Size) -> Size:
    """Clip the cells to the box, because rounding may exceed it; don't clip if too few cells would remain."""
    wide, high = min(columns, max(1, box[0] // eye.side)), min(rows, max(1, box[1] // eye.side))
    return (wide, high) if wide * high >= eye.least else (columns, rows)


def _cell_grid(eye: Cells, size: Size, budget: int) -> Size:
    """Return (columns, rows) of the cells for an image of `size` pixels: at most `budget` cells, but at least `eye.least`."""
    width, height = (length / eye.side for length in size)
    columns, rows = max(1, math.floor(width + 0.5)), max(1, math.floor(height + 0.5))
    if columns * rows > budget:
        shrink = math.sqrt(width * height / budget)
        columns, rows = _clipped(max(1, int(width / shrink)), max(1, int(height / shrink)), budget)
    if columns * rows < eye.least:
        grow = math.sqrt(eye.least / (width * height))
        columns, rows = _clipped(math.ceil(width * grow), math.ceil(height * grow), eye.most)
    return columns, rows


def _clipped(columns: int, rows: int, most: int) -> Size:
    """Shorten the longer side so that there are at most `most` cells.

    More cells can result because a side of one cell can't shrink and because of rounding up. The engine would then resize the image.
    """
    if columns >= rows:
        return min(columns, max(1, most // rows)), rows
    return columns, min(rows, max(1, most // columns))


def slices(eye: Slices, size: Size, sight: Sight, label: Label = "exact") -> Plan:
    """Plan an overview and, for an image larger than one slice, its slices (MiniCPM-V).

    The rule is llama.cpp `mtmd_image_preprocessor_llava_uhd` without pinpoints. We send the size to which it would resize before slicing.
    llama.cpp stretches an image that fits into one square; we pad it instead.
    """
    return _first_within(_slice_options(eye, size, sight), sight, label)


def _slice_options(eye: Slices, size: Size, sight: Sight) -> Iterator[_Option]:
    """Yield options from the most slices to the overview alone."""
    each = eye.queries + 2
    if max(size) > eye.side and sight.detail != "low":
        for most in range(MOST_SLICES, 0, -1):
            target, (columns, rows) = _sliced(eye, _shrunk(size, most * eye.side**2))
            if max(target) > eye.side:
                count = 1 + columns * rows
                yield _Option(Canvas("whole", target, target, fill=GRAY), eye.queries * count, each * count + eye.around_all + rows - 1)
    yield _Option(letterbox(size, eye.side, GRAY), eye.queries, each)


def _sliced(eye: Slices, size: Size) -> tuple[Size, Size]:
    """Return (size to send in pixels, (columns, rows) of its slices).

    The size is the one at which the engine cuts the image, or a size smaller by one patch per slice. The smaller size often prevents a cut
    into more slices than the original needs. If no such size exists (long images of few pixels), the original size is sent and the engine
    enlarges it.
    """
    first = grid = _slice_grid(eye, size)
    tried = size
    for _ in range(3):
        wide, high = tried = _refined(eye, tried, grid)
        for less_wide, less_high in ((0, 0), (0, 1), (1, 0), (1, 1)):
            target = wide - less_wide * eye.align * grid[0], high - less_high * eye.align * grid[1]
            if (
                min(target) > 0
                and _refined(eye, target, again := _slice_grid(eye, target)) == target
                and math.prod(again) <= math.prod(first)
            ):
                return target, again
        grid = _slice_grid(eye, tried)
    return size, first


def _slice_grid(eye: Slices, size: Size) -> Size:
    """Choose among the grids of about area / side^2 slices the one nearest in shape, the first of equals (llama.cpp `get_best_grid`)."""
    width, height = size
    shape = _f32(math.log(_f32(width / height)))
    count = min(math.ceil(_f32(width * height / eye.side**2)), MOST_SLICES)
    counts = [n for n in (count - 1, count, count + 1) if n != 1 and n <= MOST_SLICES]
    grids = [(columns, n // columns) for n in counts for columns in range(1, n + 1) if n % columns == 0]
    return min(grids, key=lambda grid: _f32(abs(shape - math.log(grid[0] / grid[1]))))


def _refined(eye: Slices, size: Size, grid: Size) -> Size:
    """Return the image size for a grid of slices of about side^2 pixels each, in whole patches (llama.cpp `get_refine_size`)."""
    width, height = (_divisible(length, parts) // parts for length, parts in zip(size, grid, strict=True))
    shape = _f32(width / height)
    high = int(_f32(eye.side / _f32(math.sqrt(shape))))
    wide = int(_f32(high * shape))
    return _divisible(wide, eye.align) * grid[0], _divisible(high, eye.align) * grid[1]


def _divisible(length: int, by: int) -> int:
    """Round to the nearest multiple of `by`, at least `by` (llama.cpp `ensure_divide`)."""
    return max(math.floor(length / by + 0.5) * by, by)


def grid(eye: Grid, size: Size, sight: Sight, label: Label = "exact") -> Plan:
    """Plan the tiles of the best grid, and an overview (Llama 4).

    The rule is llama.cpp `mtmd_image_preprocessor_llava_uhd` with the grids of `set_llava_uhd_res_candidates`. We resize the image to fit
    its grid but send it without padding, so that the engine's overview shows only the image. llama.cpp stretches an image that fits
    into one tile; we pad it instead.
    """
    return _first_within(_grid_options(eye, size, sight), sight, label)


def _grid_options(eye: Grid, size: Size, sight: Sight) -> Iterator[_Option]:
    """Yield options from the grid that the engine itself would choose down to one tile."""
    every = [(x * eye.side, y * eye.side) for x in range(1, GRID_SIDE + 1) for y in range(1, GRID_SIDE + 1) if (x, y) != (1, 1)]
    seen = set()
    if max(size) > eye.side and sight.detail != "low":
        for most in range(GRID_SIDE**2, 1, -1):
            best = best_resolution(size, [(w, h) for w, h in every if w * h <= most * eye.side**2])
            inner = _fitted(size, best)
            if best not in seen and max(inner) > eye.side and best_resolution(inner, every) == best:
                visual = eye.tokens * (1 + best[0] * best[1] // eye.side**2)
                yield _Option(Canvas("whole", inner, inner, fill=BLACK), visual, visual + eye.around)
            seen.add(best)
    yield _Option(letterbox(size, eye.side, BLACK), eye.tokens, eye.tokens + eye.around)


def best_resolution(size: Size, candidates: Iterable[Size]) -> Size:
    """Return the candidate that keeps most of the image's pixels, then has the least padding; the first of equals.

    Follows llama.cpp `select_best_resolution`, which follows LLaVA-NeXT.
    """

    def rank(candidate: Size) -> tuple[int, int]:
        scale = min(_f32(candidate[0] / size[0]), _f32(candidate[1] / size[1]))
        kept = min(int(_f32(size[0] * scale)) * int(_f32(size[1] * scale)), size[0] * size[1])
        return -kept, candidate[0] * candidate[1] - kept

    return min(candidates, key=rank)


def any_shape(eye: AnyShape, size: Size, sight: Sight) -> Plan:
    """Plan the image in its own shape, never enlarged, for a model whose eye is unknown."""
    longest = eye.max_side // 2 if sight.detail == "low" else eye.max_side
    scale = min(1.0, longest / max(size))
    inner = _within((max(1, round(size[0] * scale)), max(1, round(size[1] * scale))), sight.image_size)
    wishes = {"num_visual_tokens": sight.num_visual_tokens, "max_image_tokens": sight.max_image_tokens}
    notes = tuple(note("image_cost_unknown", field=name) for name, wish in wishes.items() if wish is not None)
    return Plan((Canvas("whole", inner, (max(inner[0], SMALLEST_SIDE), max(inner[1], SMALLEST_SIDE))),), notes=notes)


def _first_within(options: Iterable[_Option], sight: Sight, label: Label) -> Plan:
    """Plan the first option that meets all wishes, or the last option with notes on the wishes that it does not meet."""
    for option in options:
        if not (notes := _beyond(option, sight)):
            break
    if sight.num_visual_tokens is not None and option.visual < sight.num_visual_tokens:
        notes.append(note("num_visual_tokens_adjusted", tokens=option.visual, wanted=sight.num_visual_tokens))
    detail: Literal["low", "high"] = "low" if option.visual <= LOW_TOKENS else "high"
    return Plan((option.canvas,), option.total, label, detail, notes=tuple(notes))


def _beyond(option: _Option, sight: Sight) -> list[Note]:
    """Return notes on the wishes that an option exceeds."""
    notes = []
    if (visual := sight.num_visual_tokens) is not None and option.visual > visual:
        notes.append(note("num_visual_tokens_adjusted", tokens=option.visual, wanted=visual))
    if (most := sight.max_image_tokens) is not None and option.total > most:
        notes.append(note("max_image_tokens_adjusted", tokens=option.total, wanted=most))
    width, height = option.canvas.size
    if (box := sight.image_size) is not None and (width > box[0] or height > box[1]):
        notes.append(note("image_size_adjusted", width=width, height=height, wanted_width=box[0], wanted_height=box[1]))
    return notes


def _within(size: Size, box: Size | None) -> Size:
    """Shrink a size to fit inside a box; return it unchanged if it fits or there is no box."""
    if box is None or (size[0] <= box[0] and size[1] <= box[1]):
        return size
    return _fitted(size, box)


def _fitted(size: Size, box: Size) -> Size:
    """Return the largest size of the same shape inside a box; at least one side equals the box's."""
    if size[0] * box[1] >= size[1] * box[0]:
        return box[0], min(box[1], max(1, round(size[1] * box[0] / size[0])))
    return min(box[0], max(1, round(size[0] * box[1] / size[1]))), box[1]


def _shrunk(size: Size, pixels: int) -> Size:
    """Shrink a size to at most about `pixels` pixels in all, in the same shape."""
    scale = min(1.0, math.sqrt(pixels / (size[0] * size[1])))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shaped(size: Size, target: Size) -> Size:
    """Return `target` if stretching to it hardly distorts the image, else the size of the image inside it."""
    stretch = (target[0] * size[1]) / (target[1] * size[0])
    return target if 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH else _fitted(size, target)


def _f32(value: float) -> float:
    """Round to a C float. The engine compares grids in floats, and the last digit breaks a tie."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded
