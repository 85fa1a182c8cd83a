"""Reject a file where no worker is needed to see the fault (pure)."""

from __future__ import annotations

from llava_gateway.errors import ImageError, ImageFileTooLarge
from llava_gateway.images.pages import is_pdf, kind_of, video_demuxer
from llava_gateway.images.sniff import TIFF, sniff
from llava_gateway.images.unsupported import unsupported_file
from llava_gateway.notes import Value
from llava_gateway.settings import Settings


def check_file(data: bytes, settings: Settings) -> None:
    """Check the size and the format of an image or a document. Raises ImageError."""
    if not data:
        raise ImageError(code="empty_image_file")
    check_bytes(len(data), data, settings)
    kind = kind_of(data)
    if kind is None:
        raise unsupported_file(data)
    if kind not in settings.image_formats:
        values: dict[str, Value] = {"format": kind, "accepted": tuple(settings.image_formats)}
        raise ImageError("image_format_off", values=values, code="invalid_image_format")


def check_bytes(size: int, head: bytes, settings: Settings) -> None:
    """Check the size of a file in bytes against the limit for its kind, which `head` shows: its first bytes, or all of them.

    Raises ImageFileTooLarge.
    """
    most, reason, code = _limit(head, settings, is_whole=len(head) >= size)
    if size > most:
        raise ImageFileTooLarge(reason, values={"bytes": size, "most_bytes": most}, code=code)


def most_bytes(head: bytes, settings: Settings) -> int:
    """Return the most bytes of a file that begins like this."""
    return _limit(head, settings, is_whole=False)[0]


def most_bytes_of_any(settings: Settings) -> int:
    """Return the most bytes of a file of any kind."""
    return max(settings.image_max_bytes, settings.document_max_bytes, settings.video_max_bytes)


def _limit(head: bytes, settings: Settings, *, is_whole: bool) -> tuple[int, str, str | None]:
    """Return (the most bytes, the reason and the code of the error for a larger file).

    Camera raw files are as large as documents. Most of them are TIFFs whose first bytes don't tell.
    """
    if is_pdf(head):
        return settings.document_max_bytes, "document_bytes", "document_too_large"
    if sniff(head) == "RAW" or (not is_whole and head.startswith(TIFF)):
        return settings.document_max_bytes, "raw_bytes", "document_too_large"
    if video_demuxer(head):
        return settings.video_max_bytes, "video_bytes", "video_too_large"
    return settings.image_max_bytes, "image_bytes", None
