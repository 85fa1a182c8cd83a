"""The tables of the database and their versions. A database of an older version is copied aside and then brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from llava_gateway.journal.errors import DataError
from llava_gateway.journal.folder import private

APPLICATION_ID = 0x6C6C7661  # "llva"
_TABLES = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    model TEXT NOT NULL,
    engine TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    turn_count INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL
) STRICT;
CREATE TABLE turns (
    number INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    id INTEGER NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (session, id)
) STRICT;
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE session_images (
    image TEXT NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (image, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX images_of_session ON session_images (session);
CREATE TABLE votes (
    number INTEGER PRIMARY KEY,
    document TEXT NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize="unicode61 remove_diacritics 2");
"""


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)


Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: Sequence[Migration] = (_create,)
"""The step from each version to the next one, from version 0, an empty database."""


def bring_up_to_date(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a database to the newest version, all or nothing. Keeps a copy of an older one beside it.

    Raises DataError for a database of a newer version or of another program, and leaves it unchanged. Raises sqlite3.Error.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version > len(migrations):
        raise DataError("data_newer", path=path)
    if not empty and owner != APPLICATION_ID:
        raise DataError("data_damaged", path=path, why="another program made it")
    if version == len(migrations):
        return
    if not empty:
        _copy(connection, path.with_name(f"{path.name}.version-{version}"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migrate in migrations[version:]:
            migrate(connection)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _copy(connection: sqlite3.Connection, copy: Path) -> None:
    """Write a copy of the database. An unfinished copy of an earlier try is replaced."""
    copy.unlink(missing_ok=True)
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(part),))
    private(part)
    part.replace(copy)
