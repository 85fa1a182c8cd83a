"""The data directory: who may read it, which process uses it, and which files are in it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from llava_gateway.journal.errors import DataError

DATABASE = "chats.db"
IMAGES = "images"
_LOCK = "lock"


class DataFolder:
    """A data directory that only this process uses, from `DataFolder(...)` until `release`.

    Raises DataError if it can't be made, belongs to another user, or is in use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / DATABASE
        self.images = path / IMAGES
        try:
            for folder in (path, self.images):  # one that is there keeps its mode: it may be a folder that others use too
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataError("data_folder_unusable", path=path, why=error.strerror or type(error).__name__) from None
        try:
            _lock(self._lock)
        except OSError:
            process = os.read(self._lock, 20).decode("ascii", "replace").strip() if sys.platform != "win32" else ""
            os.close(self._lock)
            raise DataError("data_in_use", path=path, process=process) from None
        if sys.platform != "win32":  # there, nobody else could read the locked file
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let other processes use the directory."""
        with suppress(OSError):
            os.close(self._lock)


def private(path: Path) -> None:
    """Let only this user read a file."""
    if sys.platform != "win32":
        with suppress(OSError):
            path.chmod(0o600)


def sync_folder(path: Path) -> None:
    """Write the entries of a folder to the disk: only then does a new or renamed file survive a power cut."""
    if sys.platform == "win32":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _lock(file: int) -> None:
    """Lock the file until it is closed or the process ends. Raises OSError if another process has locked it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
