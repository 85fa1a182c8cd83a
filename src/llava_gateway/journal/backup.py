"""Reads all sessions on disk with their images, for a backup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from llava_gateway.journal.database import Database
from llava_gateway.journal.files import ImageFiles
from llava_gateway.journal.folder import DATABASE, IMAGES
from llava_gateway.sessions.archive import Filed
from llava_gateway.sessions.session import Session


class Backup:
    """What a backup of a data directory has.

    Attributes:
        sessions, images: how many were read so far.
        damaged: the titles of the sessions that lack an image, because its file is missing or was changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sessions = 0
        self.images = 0
        self.damaged: list[str] = []

    def read(self) -> Iterator[tuple[Session, Mapping[str, Filed]]]:
        """Yield the sessions, the least recently changed first. A gateway may use the directory meanwhile. Raises DataError."""
        files = ImageFiles(self._folder / IMAGES)
        with Database(self._folder / DATABASE) as database:
            for summary in sorted(database.summaries(), key=lambda summary: summary.updated_at):
                session = database.load(summary.id)  # what can be read of it
                if session is None:  # deleted meanwhile
                    continue
                images = _images(session, database, files)
                if lost := {*session.every_image_id} - images.keys():
                    self.damaged.append(session.title)
                    session = session.without_images(lost)
                self.sessions += 1
                self.images += len(images)
                yield session, images


def _images(session: Session, database: Database, files: ImageFiles) -> dict[str, Filed]:
    found: dict[str, Filed] = {}
    for image_id in session.every_image_id:
        with suppress(OSError, ValueError):
            if facts := database.image(image_id):
                found[image_id] = Filed(files.read(image_id), facts.media_type, facts.info.width, facts.info.height)
    return found
