"""Reject a file where no worker is needed to see the fault (pure)."""

from __future__ import annotations

from llava_gateway.errors import ImageError, ImageFileTooLarge
from llava_gateway.images.pages import kind_of
from llava_gateway.images.sniff import TIFF
from llava_gateway.images.unsupported import unsupported_file
from llava_gateway.notes import Value
from llava_gateway.settings import Settings


def check_file(data: bytes, settings: Settings) -> None:
    """Check the size and the format of an image or a document. Raises ImageError."""
    if not data:
        raise ImageError(code="empty_image_file")
    kind = kind_of(data)
    _check_bytes(len(data), kind, settings)
    if kind is None:
        raise unsupported_file(data)
    if kind not in settings.image_formats:
        values: dict[str, Value] = {"format": kind, "accepted": tuple(settings.image_formats)}
        raise ImageError("image_format_off", values=values, code="invalid_image_format")


def check_bytes(size: int, head: bytes, settings: Settings) -> None:
    """Check the size of a file in bytes against the limit for its kind, which `head` shows: its first bytes, or all of them.

    Raises ImageFileTooLarge.
    """
    _check_bytes(size, kind_of(head) if len(head) >= size else _likely_kind(head), settings)


def most_bytes(head: bytes, settings: Settings) -> int:
    """Return the most bytes of a file that begins like this."""
    return _limit(_likely_kind(head), settings)[0]


def most_bytes_of_any(settings: Settings) -> int:
    """Return the most bytes of a file of any kind."""
    return max(settings.image_max_bytes, settings.document_max_bytes, settings.video_max_bytes)


def _likely_kind(head: bytes) -> str | None:
    """Return the kind of a file of which only the beginning is known: most camera raw files begin like any TIFF."""
    return "RAW" if head.startswith(TIFF) else kind_of(head)


def _check_bytes(size: int, kind: str | None, settings: Settings) -> None:
    most, reason, code = _limit(kind, settings)
    if size > most:
        raise ImageFileTooLarge(reason, values={"bytes": size, "most_bytes": most}, code=code)


def _limit(kind: str | None, settings: Settings) -> tuple[int, str, str | None]:
    """Return (the most bytes, the reason and the code of the error for a larger file). Camera raw files are as large as documents."""
    match kind:
        case "PDF":
            return settings.document_max_bytes, "document_bytes", "document_too_large"
        case "RAW":
            return settings.document_max_bytes, "raw_bytes", "document_too_large"
        case "VIDEO":
            return settings.video_max_bytes, "video_bytes", "video_too_large"
    return settings.image_max_bytes, "image_bytes", None
