"""Pages and frames of a file: which files have them, which of them a question shows, and what is known of each (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llava_gateway.errors import InvalidRequest
from llava_gateway.images import tiff
from llava_gateway.images.plan import Size
from llava_gateway.images.sniff import sniff
from llava_gateway.notes import Note, note
from llava_gateway.parts import Page, Selection

Kind: TypeAlias = Literal["PDF", "TIFF", "GIF", "PNG", "WEBP", "AVIF", "HEIC", "VIDEO"]

MOST_PAGES = 64
"""Most pages and frames of all files of one question."""
PDF_JUNK = 1024
"""Bytes that may precede a PDF's first line; readers accept as many."""
_VIDEO_BRANDS = (
    b"isom",
    b"iso2",
    b"iso4",
    b"iso5",
    b"iso6",
    b"mp41",
    b"mp42",
    b"avc1",
    b"M4V ",
    b"M4VH",
    b"qt  ",
    b"3gp4",
    b"3gp5",
    b"3gp6",
    b"mmp4",
    b"dash",
    b"MSNV",
)
PAGED = ("PDF", "TIFF")
"""Formats with pages."""
FRAMED = ("GIF", "PNG", "WEBP", "AVIF", "HEIC", "VIDEO")
"""Formats with frames. What else a JPEG, a PSD or an icon has are previews, layers and sizes of one picture."""
_DIRECTORIES_LOOKED_AT = 32
"""Directories of a TIFF in which a second page is looked for here: a worker counts them all."""


@dataclass(frozen=True, slots=True)
class Found:
    """A page or frame that was found in a file, with its size in pixels; (0, 0) if the file only claims to have it."""

    page: Page
    size: Size


@dataclass(frozen=True, slots=True)
class Document:
    """A file with several pages or frames, or a PDF.

    Attributes:
        kind: format of the file.
        count: number of pages or frames, as the file says.
        found: those that were asked for, in that order; by default the first ones.
        notes: wishes that were not met.
    """

    kind: str
    count: int
    found: tuple[Found, ...]
    notes: tuple[Note, ...] = ()

    @property
    def has_pages(self) -> bool:
        return self.kind in PAGED

    @property
    def has_many(self) -> bool:
        """Whether it must be taken apart: an image file with one frame is an ordinary image."""
        return self.kind in ("PDF", "VIDEO") or self.count > 1

    def to_json(self) -> dict[str, Any]:
        found = [{"page": each.page.to_json(), "size": each.size} for each in self.found]
        return {"kind": self.kind, "count": self.count, "found": found, "notes": [each.to_json() for each in self.notes]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Document:
        found = tuple(Found(Page.from_json(each["page"]), (each["size"][0], each["size"][1])) for each in value["found"])
        return cls(value["kind"], value["count"], found, tuple(map(Note.from_json, value["notes"])))


def kind_of(data: bytes) -> str | None:
    """Return the format of an image, a document or a video by its content; None if it is none of these."""
    if found := sniff(data):
        return found
    if b"%PDF-" in data[:PDF_JUNK]:
        return "PDF"
    return "VIDEO" if video_demuxer(data) else None


def video_demuxer(data: bytes) -> str | None:
    """Return ffmpeg's name for the container of a video: MP4 and MOV, WebM and Matroska, or AVI. None if it is none of these."""
    if data[4:8] == b"ftyp" and data[8:12] in _VIDEO_BRANDS:
        return "mov"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def may_have_pages(data: bytes) -> bool:
    """Return whether a worker must count the pages or frames of a file: it has several by default, or nothing short of reading it tells.

    A HEIC has its main image, whatever else is in it; only those who ask for its frames want others.
    """
    match kind_of(data):
        case "PDF" | "GIF" | "VIDEO":
            return True
        case "PNG":
            return b"acTL" in data[:65536]
        case "WEBP":
            return data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)
        case "AVIF":
            return b"avis" in data[8:64]
        case "TIFF":
            return len(tiff.pages(data, _DIRECTORIES_LOOKED_AT)) > 1
    return False


def chosen(selection: Selection, count: int, kind: str) -> tuple[list[int], tuple[Note, ...]]:
    """Return the indexes of the wanted pages or frames, counted from 0 and in the wanted order, and notes on wishes without effect.

    By default, these are the first ones. Raises InvalidRequest for one that the file does not have, and for too many.
    """
    numbers = selection.pages if kind in PAGED else tuple((frame, frame) for frame in selection.frames)
    ignored = selection.frames or selection.scenes if kind in PAGED else selection.pages
    notes = (note("selection_ignored", field="frames" if kind in PAGED else "pages", format=kind),) if ignored else ()
    if not numbers:
        return list(range(min(count, MOST_PAGES))), notes
    first = 1 if kind in PAGED else 0
    wanted: dict[int, None] = {}
    for low, high in numbers:
        if high - first >= count:
            raise _beyond(high, count, kind)
        wanted |= dict.fromkeys(range(low - first, high - first + 1))
        if len(wanted) > MOST_PAGES:
            raise too_many(kind)
    return list(wanted), notes


def _beyond(number: int, count: int, kind: str) -> InvalidRequest:
    if kind in PAGED:
        return InvalidRequest("page_beyond", values={"page": number, "count": count}, code="page_not_found").at("pages")
    return InvalidRequest("frame_beyond", values={"frame": number, "count": count}, code="page_not_found").at("frames")


def too_many(kind: str) -> InvalidRequest:
    return InvalidRequest("too_many_pages", values={"most": MOST_PAGES}).at("pages" if kind in PAGED else "frames")


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as people do: 1-4, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def pages_note(document: Document, shown: Sequence[Page]) -> Note | None:
    """Return the note on the pages that a question shows by default; None if it shows all of them."""
    if len(shown) == document.count:
        return None
    code = "pages_used" if document.has_pages else "frames_used"
    return note(code, pages=ranges(page.number for page in shown), count=document.count, shown=len(shown))
