"""The error of a data directory that can't be used, for the person who starts the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

DataReason: TypeAlias = Literal["data_folder_unusable", "data_in_use", "data_damaged", "data_newer", "data_full"]


class DataError(Exception):
    """The data directory can't be used.

    Attributes:
        reason: why, as a code.
        path: the directory or the file in question.
        why: the system's or SQLite's own words; "" for none.
        process: id of the process that uses the directory; "" if unknown.
    """

    def __init__(self, reason: DataReason, *, path: Path, why: str = "", process: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.why = why
        self.process = process
