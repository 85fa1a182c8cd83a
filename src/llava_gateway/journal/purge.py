"""Deletes everything in a data directory that no gateway uses."""

from __future__ import annotations

from pathlib import Path

from llava_gateway.journal.errors import DataError
from llava_gateway.journal.files import ImageFiles
from llava_gateway.journal.folder import DATABASE, DataFolder


def purge_folder(path: Path) -> None:
    """Delete the database with all its copies, and all image files. Raises DataError if a gateway uses the directory."""
    folder = DataFolder(path)
    try:
        for file in path.glob(f"{DATABASE}*"):
            file.unlink()
        ImageFiles(folder.images).remove_all()
    except OSError as error:
        raise DataError("data_folder_unusable", path=path, why=error.strerror or type(error).__name__) from None
    finally:
        folder.release()
