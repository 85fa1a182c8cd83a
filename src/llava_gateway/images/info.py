"""Describe an image apart from its pixels, and the limits that an image file must meet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from llava_gateway.notes import Note

Degrees: TypeAlias = Literal[90, 180, 270]
"""The clockwise rotations that an image can get."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image's sizes, the file it came from, and its changes.

    Attributes:
        width, height: size of the canonical image in pixels, upright.
        original_width, original_height: size in pixels as stored in the file.
        original_format: a `sniff.Format`.
        original_bytes: size of the file in bytes.
        changes: changes made to the image.
        warnings: warnings about the image for the user.
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
        """The memory that its notes take, in bytes."""
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
    """Limits for an image file: pixels, sides in pixels, and long side / short side; from the settings of these names with `image_`."""

    max_pixels: int = 64_000_000
    max_pixels_jpeg: int = 270_000_000
    max_pixels_webp_gif: int = 25_000_000
    max_side: int = 65_500
    min_side: int = 8
    max_aspect: float = 64
    store_max_pixels: int = 12_000_000

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


UNLIMITED = Limits(max_pixels=2**40, max_pixels_jpeg=2**40, max_pixels_webp_gif=2**40, max_side=2**31, min_side=1, max_aspect=2**31)
"""For canonical images, whose original files were within the limits."""
