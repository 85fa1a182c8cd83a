"""Open PDFs, draw their pages, and read their text layers, with PDFium. Runs only in worker processes.

PDFium must not run in two threads at once, not even for different files. A worker does one job at a time.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pypdfium2 as pdfium
from PIL import Image
from pypdfium2 import raw

from llava_gateway.errors import ImageError
from llava_gateway.images.info import Limits
from llava_gateway.images.plan import Size
from llava_gateway.notes import Note, Value, note

LONG_SIDE = 2016
"""Pixels of the long side of a drawn page: six squares of LLaVA, which is 183 dpi for a letter. Not dpi: a page may be kilometres wide."""
TEXT_MOST_CHARS = 20_000
"""Most characters of a page's text layer. A dense page has 5,000."""
_SAMPLE = 48
"""Characters of a page that are looked at to see whether text was drawn."""
_DRAWN = 0.5
"""Less than this share of the sample with ink means that fonts are missing."""
_CONTRAST = 24
"""Difference between the darkest and lightest pixel from which there is ink."""


@contextmanager
def opened(data: bytes) -> Iterator[pdfium.PdfDocument]:
    """Open a PDF with its form fields. Raises ImageError `pdf_encrypted`, `pdf_damaged`, `pdf_empty`."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        code = raw.FPDF_GetLastError()
        if code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise ImageError("pdf_encrypted", code="pdf_encrypted") from error
        raise ImageError("pdf_damaged", code="pdf_damaged") from error
    try:
        with suppress(pdfium.PdfiumError):
            document.init_forms()  # else the values of form fields are not drawn; a broken form leaves a readable page
        if len(document) < 1:
            raise ImageError("pdf_empty", code="pdf_damaged")
        yield document
    finally:
        document.close()


def size_of(document: pdfium.PdfDocument, index: int) -> Size:
    """Return the size in pixels of a drawn page, with its rotation applied; (0, 0) if there is no such page, whatever the file says."""
    try:
        width, height = document.get_page_size(index)
    except pdfium.PdfiumError:
        return 0, 0
    longest = max(width, height)
    if not (math.isfinite(longest) and min(width, height) > 0):
        return 0, 0
    return math.ceil(width * _scale(longest)), math.ceil(height * _scale(longest))


def _scale(longest: float) -> float:
    """Return the pixels of a point. The drawing's sides are rounded up, so a fraction of a pixel is kept in reserve."""
    return (LONG_SIDE - 0.01) / longest


def drawn(data: bytes, index: int, limits: Limits) -> tuple[Image.Image, tuple[Note, ...]]:
    """Draw a page on white. Returns (image, warnings). Raises ImageError."""
    with opened(data) as document:
        page = _page(document, index)
        width, height = page.get_size()
        if not max(width, height) <= limits.max_aspect * min(width, height):
            values: dict[str, Value] = {"width": round(width), "height": round(height), "most": limits.max_aspect}
            raise ImageError("image_aspect", values=values, code="image_too_large")
        bitmap = page.render(scale=_scale(max(width, height)))
        image = bitmap.to_pil().convert("RGB")
        warnings = () if _is_written(page, image) else (note("pdf_fonts_missing", page=index + 1),)
        return image, warnings


def thumbnails(data: bytes, indexes: Sequence[int], side: int) -> list[Image.Image | None]:
    """Draw small copies of pages, `side` pixels long; None for a page that can't be read. Raises ImageError."""
    found: list[Image.Image | None] = []
    with opened(data) as document:
        for index in indexes:
            try:
                page = document[index]
                longest = max(page.get_size())
                found.append(page.render(scale=(side - 0.01) / longest).to_pil().convert("RGB"))
            except (pdfium.PdfiumError, ValueError):
                found.append(None)
    return found


def texts(data: bytes, indexes: Sequence[int]) -> list[str]:
    """Return the text layers of pages; "" for a page without one, and for a page that can't be read. Raises ImageError."""
    found = []
    with opened(data) as document:
        for index in indexes:
            try:
                layer = document[index].get_textpage()
                found.append(_clean(layer.get_text_range(0, min(layer.count_chars(), TEXT_MOST_CHARS))))
            except pdfium.PdfiumError:
                found.append("")
    return found


def _page(document: pdfium.PdfDocument, index: int) -> pdfium.PdfPage:
    try:
        return document[index]
    except (pdfium.PdfiumError, IndexError):
        values = {"page": index + 1, "count": len(document)}
        raise ImageError("page_damaged", values=values, code="page_damaged") from None


def _clean(text: str) -> str:
    """Return a text with one kind of line end and without control characters, which fonts without a character map produce."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    kept = ("".join(c for c in line if c == "\t" or (c.isprintable() and c != "\ufffe")).rstrip() for line in lines)
    return "\n".join(kept).strip()


def _is_written(page: pdfium.PdfPage, image: Image.Image) -> bool:
    """Return whether the text of a page was drawn. PDFium draws nothing, and says nothing, where a font is neither in the file nor in the
    system.
    """
    layer = page.get_textpage()
    count = min(layer.count_chars(), TEXT_MOST_CHARS)
    visible = [place for place in range(count) if not chr(raw.FPDFText_GetUnicode(layer, place)).isspace()]
    sample = visible[:: max(1, len(visible) // _SAMPLE)][:_SAMPLE]
    inked = [_has_ink(image, box) for place in sample if (box := _pixels(page, layer.get_charbox(place, loose=True), image.size))]
    return not inked or sum(inked) >= _DRAWN * len(inked)


def _pixels(page: pdfium.PdfPage, box: tuple[float, float, float, float], size: Size) -> tuple[int, int, int, int] | None:
    """Return the pixels of a character's box, (left, top, right, bottom); None outside the page."""
    corners = []
    for x, y in ((box[0], box[1]), (box[2], box[3])):
        across, down = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(page, 0, 0, *size, 0, x, y, across, down)
        corners.append((across.value, down.value))
    (left, right), (top, bottom) = (sorted(one) for one in zip(*corners, strict=True))
    inside = max(0, left), max(0, top), min(size[0], right + 1), min(size[1], bottom + 1)
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else None


def _has_ink(image: Image.Image, box: tuple[int, int, int, int]) -> bool:
    counts = image.crop(box).convert("L").histogram()
    there = [level for level, count in enumerate(counts) if count]
    return there[-1] - there[0] >= _CONTRAST
