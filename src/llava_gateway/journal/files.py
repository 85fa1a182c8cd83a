"""Image files on disk, named by the sha256 of their bytes. A file that is there is whole: it is written beside and then renamed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from llava_gateway.journal.folder import sync_folder

_UNFINISHED = ".part"
_FOLDER = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{64}")


class ImageFiles:
    """The files under `folder`, spread over 256 folders by the first two digits of their names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, image_id: str, data: bytes) -> None:
        """Write a file unless it is there, whole. Returns once it is on the disk. Raises OSError, and then leaves nothing behind."""
        path = self._path(image_id)
        if self._is_whole(image_id):
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        part = path.with_suffix(_UNFINISHED)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        sync_folder(self._folder)

    def read(self, image_id: str) -> bytes:
        """Read a file. Raises OSError; ValueError if the file was changed since it was written."""
        data = self._path(image_id).read_bytes()
        if hashlib.sha256(data).hexdigest() != image_id:
            raise ValueError("the file was changed")
        return data

    def _is_whole(self, image_id: str) -> bool:
        try:
            self.read(image_id)
        except (OSError, ValueError):
            return False
        return True

    def head(self, image_id: str) -> tuple[bytes, int]:
        """Return the first 16 bytes of a file and its size in bytes. Raises OSError."""
        path = self._path(image_id)
        with path.open("rb") as file:
            return file.read(16), path.stat().st_size

    def has(self, image_id: str) -> bool:
        return self._path(image_id).is_file()

    def remove(self, image_id: str) -> None:
        """Remove a file if it is there. Raises OSError."""
        self._path(image_id).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Iterate over the ids of all files. Removes files that were never finished, and leaves files of other programs alone."""
        for folder in sorted(self._folder.iterdir()):
            if not _FOLDER.fullmatch(folder.name) or not folder.is_dir():
                continue
            for file in folder.iterdir():
                if not _NAME.fullmatch(file.stem):
                    continue
                if file.suffix == _UNFINISHED:
                    file.unlink(missing_ok=True)
                elif not file.suffix:
                    yield file.name

    def remove_all(self) -> None:
        """Remove all files, and the folders that are empty then. Raises OSError."""
        for image_id in [*self.names()]:
            self.remove(image_id)
        for folder in [*self._folder.iterdir(), self._folder]:
            with suppress(OSError):
                folder.rmdir()

    def _path(self, image_id: str) -> Path:
        return self._folder / image_id[:2] / image_id
