"""Names that other APIs, their clients and their tutorials use for our fields: which are taken, and what is said of the others."""

from __future__ import annotations

PICTURE_FILES = frozenset({"image", "images", "file", "files", "picture", "pictures", "photo", "photos"})
"""Fields of a form whose files are pictures; PHP's spelling of a list, `images[]`, is known too."""


def is_for_pictures(name: str) -> bool:
    return name.removesuffix("[]") in PICTURE_FILES
