"""Saves what can be read of a damaged database: its sessions are copied into a new one, which then takes its place."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llava_gateway.images.info import ImageInfo
from llava_gateway.images.stored import ImageFile
from llava_gateway.journal.database import Database, session_in, summary_of, turn_in, vote_in
from llava_gateway.journal.errors import DataError
from llava_gateway.journal.files import ImageFiles
from llava_gateway.journal.folder import DATABASE, DataFolder
from llava_gateway.sessions.documents import rebuilt
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.votes import Vote

log = logging.getLogger(__name__)

MOST_ROWS = 200_000
"""Row numbers to try if the last one can't be read."""
_MOST_NUMBER = 10_000_000
"""A last row number beyond this is damaged too."""
_ROW = "SELECT id, title, model, engine, created_at, updated_at, turn_count, state, deleted FROM sessions NOT INDEXED WHERE number = ?"
_SIDES = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was saved: the number of sessions and turns, and where the damaged database is now."""

    sessions: int
    turns: int
    moved_to: Path


def recover(path: Path) -> Recovered | None:
    """Recover the database of a data directory. Returns None, and changes nothing, if there is no database or it has no fault.

    Raises DataError if the directory can't be used, or if there is no room for the new database; then nothing was changed.
    """
    folder = DataFolder(path)
    try:
        if not folder.database.exists() or _is_sound(folder.database):
            return None
        part = folder.database.with_name(f"{DATABASE}.part")
        _remove(part)
        try:
            sessions, turns = _copy(folder.database, part, ImageFiles(folder.images))
        except (OSError, sqlite3.Error) as error:
            _remove(part)
            raise DataError("data_folder_unusable", path=path, why=str(error)) from None
        moved_to = folder.database.with_name(f"{DATABASE}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        for side in reversed(_SIDES):
            file = folder.database.with_name(DATABASE + side)
            if file.exists():
                file.replace(moved_to.with_name(moved_to.name + side))
        part.replace(folder.database)
        return Recovered(sessions, turns, moved_to)
    finally:
        folder.release()


def _is_sound(path: Path) -> bool:
    """Return whether a database has no fault. Raises DataError for anything that is no damage, such as a newer version."""
    try:
        with Database(path) as database:
            database.check()
    except DataError as error:
        if error.reason != "data_damaged":
            raise
        return False
    except sqlite3.Error:
        return False
    return True


def _remove(part: Path) -> None:
    for side in _SIDES:
        part.with_name(part.name + side).unlink(missing_ok=True)


def _copy(damaged: Path, part: Path, files: ImageFiles) -> tuple[int, int]:
    """Copy what can be read into a new database. Returns the number of sessions and of turns."""
    sessions = turns = 0
    source = sqlite3.connect(f"{damaged.resolve().as_uri()}?mode=ro", uri=True)
    source.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        with Database(part) as target:
            for session in _sessions(source):
                target.save(session, session.branches.every_turn, _images_of(session, files))
                sessions += 1
                turns += session.branches.turn_count
            for vote in _votes(source):
                target.add_vote(vote)
            target.tidy()
    finally:
        source.close()
    return sessions, turns


def _sessions(source: sqlite3.Connection) -> Iterator[Session]:
    """Yield the sessions that were not deleted, with those of their turns that can be read. Reads row by row, because one bad page makes a
    longer query fail as a whole."""
    turns: dict[int, list[Turn]] = {}
    for number in _numbers(source, "turns"):
        found = _row(source, "SELECT session, document FROM turns NOT INDEXED WHERE number = ?", number)
        if found and isinstance(found[0], int) and (turn := turn_in(found[1])):
            turns.setdefault(found[0], []).append(turn)
    for number in sorted({*_numbers(source, "sessions"), *turns}):
        row = _row(source, _ROW, number)
        known = {turn.id: turn for turn in turns.get(number, [])}.values()
        if row is None and known:
            yield rebuilt(None, {}, known)
        elif row is not None and not row[-1]:
            try:
                yield session_in(summary_of(row[:7]), row[7], list(known))
            except (TypeError, ValueError, LookupError) as error:
                log.error("a chat can't be recovered: %r", error)


def _votes(source: sqlite3.Connection) -> Iterator[Vote]:
    for number in _numbers(source, "votes"):
        row = _row(source, "SELECT document FROM votes NOT INDEXED WHERE number = ?", number)
        if row and (vote := vote_in(row[0])):
            yield vote


def _numbers(source: sqlite3.Connection, table: str) -> range:
    """Return all row numbers that a table may have."""
    try:
        last = source.execute(f"SELECT max(number) FROM {table} NOT INDEXED").fetchone()[0] or 0  # noqa: S608 (names from above)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            return range(0)
        last = MOST_ROWS
    return range(1, (last if last <= _MOST_NUMBER else MOST_ROWS) + 1)


def _row(source: sqlite3.Connection, statement: str, number: int) -> tuple[Any, ...] | None:
    try:
        found: tuple[Any, ...] | None = source.execute(statement, (number,)).fetchone()
    except sqlite3.Error:
        return None
    return found


def _images_of(session: Session, files: ImageFiles) -> dict[str, ImageFile]:
    """Return the images of a session whose files are there; the turns know the facts about them."""
    found: dict[str, ImageFile] = {}
    for turn in session.branches.every_turn:
        for part, info in zip(turn.images, turn.files, strict=False):
            if part.image_id not in found and files.has(part.image_id):
                found[part.image_id] = _file(part.image_id, info, files)
    return found


def _file(image_id: str, info: ImageInfo, files: ImageFiles) -> ImageFile:
    head, size = files.head(image_id)
    return ImageFile(info, "image/png" if head.startswith(b"\x89PNG") else "image/jpeg", size)
