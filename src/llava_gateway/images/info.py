"""What is known of an image apart from its pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from llava_gateway.notes import Note

Degrees: TypeAlias = Literal[90, 180, 270]
"""By which an image can be rotated, clockwise."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image and the file it came from.

    Attributes:
        width, height: pixels of the canonical image, upright.
        original_width, original_height: pixels of the file as they were stored in it.
        original_format: one of sniff.FORMATS.
        original_bytes: size of the file.
        changes: what was done to it.
        warnings: what a person should know of it.
    """

    width: int
    height: int
    original_width: int
    original_height: int
    original_format: str
    original_bytes: int
    changes: tuple[Note, ...] = ()
    warnings: tuple[Note, ...] = ()

    @property
    def bytes(self) -> int:
        """What its notes take in memory."""
        return sum(fact.size for fact in (*self.changes, *self.warnings))

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "changes": [each.to_json() for each in self.changes],
            "warnings": [each.to_json() for each in self.warnings],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ImageInfo:
        notes = {name: tuple(map(Note.from_json, value[name])) for name in ("changes", "warnings")}
        return cls(**{**value, **notes})


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may be, from the settings of the same names (`image_` left out)."""

    max_pixels: int = 50_000_000
    max_pixels_webp_gif: int = 25_000_000
    max_side: int = 30_000
    min_side: int = 8
    max_aspect: float = 64
    store_max_pixels: int = 12_000_000

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


UNLIMITED = Limits(max_pixels=2**40, max_pixels_webp_gif=2**40, max_side=2**31, min_side=1, max_aspect=2**31)
"""For canonical images: what they came from was within the limits."""
