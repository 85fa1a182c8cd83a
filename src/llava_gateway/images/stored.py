"""An image in the image store: its facts, its bytes, and its renditions for models."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from llava_gateway.chat import Piece, Rendition
from llava_gateway.images.auto import Choice
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import Note
from llava_gateway.parts import Sight

MediaType: TypeAlias = Literal["image/png", "image/jpeg"]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A canonical image on disk; `bytes` is the size of the file."""

    info: ImageInfo
    media_type: MediaType
    bytes: int


class ImageDisk(Protocol):
    """The images on disk, by their ids."""

    def image(self, image_id: str) -> ImageFile | None:
        """Return the facts about an image; None if it is not there. Takes microseconds."""

    async def read_image(self, image_id: str) -> bytes:
        """Return the canonical file. Raises ImageNotFound if it is missing or was changed."""


class StoredImage:
    """One image: its info, its canonical bytes, and its renditions for models.

    Attributes:
        info: sizes and changes.
        latest: the info of the most recent upload among all files with the same pixels; up to date on the image that `get` returns.
        chosen: the choices of `detail: auto` by (engine, model), wished sight and whether it was for an earlier turn; only the newest few.
        read_by: the (engine, model) pairs that have read it, each with the sight.
        renditions: by profile and sight (`rendition_key`); a rendition never changes.
        canonical, media_type: the canonical file and its type; None until `stored()` returns.
        on_disk: whether the canonical file is on disk. `canonical` is then None: `ImageStore.read` reads it.
        file_bytes: size of the canonical file, in memory or on disk; of the upload, as an estimate, until it is stored.
        id_ready: its id, once the canonical image is stored.
        holders: how many users keep it from being evicted.
        rendering: the renditions that are being made.
    """

    def __init__(self, info: ImageInfo) -> None:
        self.info = self.latest = info
        self.renditions: dict[str, Rendition] = {}
        self.chosen: dict[tuple[tuple[str, str], Sight, bool], Choice] = {}
        self.read_by: set[tuple[tuple[str, str], Sight]] = set()
        self.canonical: bytes | None = None
        self.media_type: MediaType | None = None
        self.on_disk = False
        self.file_bytes = info.original_bytes
        self.id_ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # Nobody may ever await the id, and asyncio warns about exceptions that nobody retrieved.
        self.id_ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.holders = 0
        self.rendering: dict[str, asyncio.Task[Rendition]] = {}

    @classmethod
    def of(cls, image_id: str, file: ImageFile) -> StoredImage:
        """Make the image of a file on disk."""
        image = cls(file.info)
        image.media_type, image.on_disk, image.file_bytes = file.media_type, True, file.bytes
        image.id_ready.set_result(image_id)
        return image

    async def stored(self) -> str:
        """Wait for the canonical image. Returns the id, its sha256 in hex. Raises ImageError, StorageFull."""
        return await asyncio.shield(self.id_ready)

    @property
    def id(self) -> str | None:
        """The id; None until the canonical image is stored."""
        return self.id_ready.result() if self.is_stored else None

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes. A rendition counts as a file and as the base64 of that file."""
        return len(self.canonical or b"") + sum(held_bytes(rendition) for rendition in self.renditions.values())

    @property
    def is_stored(self) -> bool:
        return self.id_ready.done() and not self.id_ready.cancelled() and self.id_ready.exception() is None


def rendition_key(profile: VisionProfile, sight: Sight) -> str:
    """Return a text that identifies a rendition of an image."""
    return f"{profile.key} {sight.key}"


def rendition_of(header: dict[str, Any], data: bytes) -> Rendition:
    """Build a rendition from a worker's answer (`worker._rendered`)."""
    pieces, at = [], 0
    for piece in header["pieces"]:
        pieces.append(Piece(data[at : at + piece["bytes"]], piece["format"], piece["width"], piece["height"], piece["label"]))
        at += piece["bytes"]
    return Rendition(tuple(pieces), header["tokens"], header["label"], header["detail"], tuple(map(Note.from_json, header["notes"])))


def held_bytes(rendition: Rendition) -> int:
    """Return the memory that a rendition takes: a file, and its base64."""
    return rendition.size_bytes + sum(4 * ((len(piece.data) + 2) // 3) for piece in rendition.pieces)
