"""Say how much of a flawed file is there: the errors for files that lack too much, and the warnings for files that lack little."""

from __future__ import annotations

from llava_gateway.errors import ImageError, ImageParseError, UnsupportedImageType
from llava_gateway.images import sniff
from llava_gateway.images.kinds import unreadable_kind
from llava_gateway.notes import Note, note

ENOUGH = 0.95
"""The least share of an image's pixels with which it is accepted."""


def refused(data: bytes, *, cut: bool = False) -> ImageError:
    """Return the error for a file that a decoder rejected: that it is of a kind that none knows, or else that it is damaged."""
    if kind := unreadable_kind(data):
        return UnsupportedImageType("image_kind", values={"format": sniff.sniff(data) or "", "kind": kind})
    return damaged(data, cut=cut)


def damaged(data: bytes, *, cut: bool = False) -> ImageParseError:
    """Return the error for a file that a decoder rejected; it gives the percentage present if the file states its own length."""
    kind = sniff.sniff(data)
    part = sniff.present(data, kind) if kind else None
    # Below one percent, the stated length itself is damaged.
    if part is not None and 0.01 <= part < 1:
        return cut_off(part)
    return ImageParseError("image_cut_off") if cut else ImageParseError()


def cut_off(share: float, *, about: bool = False) -> ImageParseError:
    """Return the error for a file with this share of its pixels, 0 to 1; `about` marks an estimate. 0 stands for an unknown share."""
    percent = _percent(share)
    if percent == 0:
        return ImageParseError("image_cut_off")
    return ImageParseError("image_cut_off_about" if about else "image_cut_off_at", values={"percent": percent})


def incomplete(share: float, *, about: bool = False) -> Note:
    """Return the warning for a file that is accepted although it lacks some pixels."""
    percent = _percent(share)
    return note("image_incomplete_about", percent=percent) if about else note("image_incomplete", percent=percent)


def _percent(share: float) -> int:
    return min(99, int(share * 100))
