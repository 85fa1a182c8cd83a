"""The rows of the database: sessions, turns, images, votes, and the words to search. Every method is one transaction, or only reads."""

# ruff: noqa: S608 (statements are put together from the names in this file only)

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from llava_gateway.chat import JSON
from llava_gateway.errors import TurnNotFound
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.stored import ImageFile
from llava_gateway.journal.errors import DataError
from llava_gateway.journal.folder import private
from llava_gateway.journal.schema import bring_up_to_date
from llava_gateway.journal.words import index_words, query_of
from llava_gateway.sessions.documents import rebuilt, session_with, state_json, turn_json, turn_of
from llava_gateway.sessions.search import Hit
from llava_gateway.sessions.session import Session, Summary
from llava_gateway.sessions.turn import Turn
from llava_gateway.votes import MAX_VOTES, Vote

T = TypeVar("T")

BUSY_SECONDS = 5.0
_SUMMARY = ", ".join(f"sessions.{name}" for name in ("id", "title", "model", "engine", "created_at", "updated_at", "turn_count"))
# The index returns the newest turns first without looking at the others, so a common word costs no more than a rare one.
_SEARCH = f"""
WITH
    newest AS MATERIALIZED (SELECT rowid AS hit FROM words WHERE words MATCH :query AND rowid > 0 ORDER BY rowid DESC LIMIT :most),
    titles AS MATERIALIZED (SELECT rowid AS hit FROM words WHERE words MATCH :query AND rowid < 0 LIMIT :most)
SELECT document, {_SUMMARY} FROM newest JOIN turns ON turns.number = hit JOIN sessions ON sessions.number = turns.session WHERE NOT deleted
UNION ALL
SELECT NULL, {_SUMMARY} FROM titles JOIN sessions ON sessions.number = -hit WHERE NOT deleted
ORDER BY updated_at DESC
"""


class Database:
    """A connection to the database file at `path`.

    A connection is used by one thread at a time. Raises DataError if the file can't be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise DataError("data_folder_unusable", path=path, why=str(error)) from None
        try:
            private(path)
            self._connection.text_factory = lambda text: text.decode("utf-8", "replace")
            for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON", "secure_delete = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            bring_up_to_date(self._connection, path)
            self._connection.execute("PRAGMA journal_mode = WAL")  # changes the file, so not before it is known to be ours
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError):
                raise DataError("data_full" if is_full(error) else "data_folder_unusable", path=path, why=str(error)) from None
            if isinstance(error, sqlite3.DatabaseError):
                raise DataError("data_damaged", path=path, why=str(error)) from None
            raise
        self._has_removed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    @property
    def bytes(self) -> int:
        """The size of the database file, without its write-ahead log."""
        pages, size = (self._one(f"PRAGMA {name}")[0] for name in ("page_count", "page_size"))
        return int(pages) * int(size)

    def check(self) -> None:
        """Read the whole database. Raises DataError for the first fault."""
        found = self._one("PRAGMA integrity_check(1)")[0]
        if found != "ok":
            raise DataError("data_damaged", path=self._path, why=found)
        for session, turn, document in self._connection.execute("SELECT session, id, document FROM turns"):
            if turn_in(document) is None:
                raise DataError("data_damaged", path=self._path, why=f"turn {turn} of session {session} can't be read")

    def tidy(self) -> None:
        """Move what was written into the database file, and empty the log beside it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def overwrite_removed(self) -> None:
        """Let the words of removed texts leave the file: the index only marks them as removed until it is written anew."""
        if self._has_removed:
            self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            self._has_removed = False
        self.tidy()

    def shrink(self) -> None:
        """Give the space of removed rows back to the disk."""
        self._connection.execute("VACUUM")
        self.tidy()

    # Sessions

    def summaries(self) -> list[Summary]:
        """List the sessions that are not deleted. 10,000 take 50 ms."""
        rows = self._connection.execute(f"SELECT {_SUMMARY} FROM sessions WHERE NOT deleted")
        return [summary_of(row) for row in rows]

    def save(self, session: Session, turns: Sequence[Turn], images: Mapping[str, ImageFile]) -> None:
        """Write a session, with those of its turns and images that are new or may be. Raises sqlite3.Error."""
        with self._writing():
            number = self._save_row(session)
            for turn in turns:
                self._save_turn(number, turn)
            for image_id, file in images.items():
                document = _json({"info": file.info.to_json(), "media_type": file.media_type})
                self._connection.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?)", (image_id, file.bytes, document))
                self._connection.execute("INSERT OR IGNORE INTO session_images VALUES (?, ?)", (image_id, number))

    def load(self, session_id: str) -> Session | None:
        """Return a session with all its turns that can be read; None if there is none. Raises sqlite3.Error."""
        with self._reading():
            row = self._one(f"SELECT number, state, {_SUMMARY} FROM sessions WHERE id = ? AND NOT deleted", session_id)
            if row is None:
                return None
            number, state, *summary = row
            documents = self._connection.execute("SELECT document FROM turns WHERE session = ? ORDER BY id", (number,)).fetchall()
        turns = [turn for (document,) in documents if (turn := turn_in(document))]
        return session_in(summary_of(summary), state, turns)

    def mark_deleted(self, session_id: str) -> None:
        """Hide a session until it is saved again or removed."""
        with self._writing():
            self._connection.execute("UPDATE sessions SET deleted = 1 WHERE id = ?", (session_id,))

    def remove_deleted(self) -> list[str]:
        """Remove the sessions that are hidden. Returns the ids of all images that no session has; `remove_images` removes them."""
        for (session_id,) in self._connection.execute("SELECT id FROM sessions WHERE deleted").fetchall():
            self.remove(session_id)
        return self.unused_images()

    def remove(self, session_id: str) -> list[str]:
        """Remove a session. Returns the ids of its images that no other session has; `remove_images` removes them."""
        with self._writing():
            row = self._one("SELECT number, title FROM sessions WHERE id = ?", session_id)
            if row is None:
                return []
            number, title = row
            images = [row[0] for row in self._connection.execute("SELECT image FROM session_images WHERE session = ?", (number,))]
            for turn_number, document in self._connection.execute("SELECT number, document FROM turns WHERE session = ?", (number,)):
                if turn := turn_in(document):
                    self._forget_words(turn_number, _words_of(turn))
            self._forget_words(-number, title)
            self._has_removed = True
            for table, column in (("turns", "session"), ("session_images", "session"), ("sessions", "number")):
                self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
            return [image for image in images if not self._is_used(image)]

    def remove_all(self) -> list[str]:
        """Remove all sessions. Returns the ids of all images; `remove_images` removes them."""
        with self._writing():
            for table in ("sessions", "turns", "session_images"):
                self._connection.execute(f"DELETE FROM {table}")
            self._connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
            return self.unused_images()

    # Images

    def image(self, image_id: str) -> ImageFile | None:
        """Return the facts about an image on disk; None if there is none."""
        row = self._one("SELECT bytes, document FROM images WHERE id = ?", image_id)
        if row is None:
            return None
        document = json.loads(row[1])
        return ImageFile(ImageInfo.from_json(document["info"]), document["media_type"], row[0])

    def images(self) -> Iterator[str]:
        return (row[0] for row in self._connection.execute("SELECT id FROM images"))

    def image_bytes(self) -> int:
        """The size of all image files."""
        return int(self._one("SELECT coalesce(sum(bytes), 0) FROM images")[0])

    def image_sizes(self, session_id: str) -> dict[str, int]:
        """Return the sizes of the image files of a session, by their ids."""
        rows = self._connection.execute(
            "SELECT images.id, images.bytes FROM images JOIN session_images ON image = images.id JOIN sessions ON number = session"
            " WHERE sessions.id = ?",
            (session_id,),
        )
        return dict(rows.fetchall())

    def remove_images(self, image_ids: Sequence[str]) -> list[str]:
        """Remove the rows of images that no session has. Returns the ids of those whose files can go too."""
        with self._writing():
            gone = [image for image in image_ids if not self._is_used(image)]
            self._connection.executemany("DELETE FROM images WHERE id = ?", [(image,) for image in gone])
            return gone

    def unused_images(self) -> list[str]:
        return [row[0] for row in self._connection.execute("SELECT id FROM images WHERE id NOT IN (SELECT image FROM session_images)")]

    def _is_used(self, image_id: str) -> bool:
        return self._one("SELECT 1 FROM session_images WHERE image = ? LIMIT 1", image_id) is not None

    # Votes

    def votes(self) -> list[Vote]:
        """Return the votes that can be read, the oldest first."""
        rows = self._connection.execute("SELECT document FROM votes ORDER BY number")
        return [vote for (document,) in rows if (vote := vote_in(document))]

    def add_vote(self, vote: Vote) -> None:
        """Write a vote, and remove the oldest ones beyond MAX_VOTES."""
        with self._writing():
            self._connection.execute("INSERT INTO votes (document) VALUES (?)", (_json(vote.to_json()),))
            self._connection.execute("DELETE FROM votes WHERE number <= (SELECT max(number) FROM votes) - ?", (MAX_VOTES,))

    def remove_votes(self) -> None:
        with self._writing():
            self._connection.execute("DELETE FROM votes")

    # Search

    def search(self, text: str, most: int) -> list[Hit]:
        """Find turns and titles by their words: the newest `most` turns and as many titles, those of the most recently changed sessions
        first."""
        query = query_of(text)
        if not query:
            return []
        found = self._connection.execute(_SEARCH, {"query": query, "most": most})
        hits = ((summary_of(row[1:]), row[0] and turn_in(row[0]), row[0]) for row in found)
        return [(summary, turn or None) for summary, turn, document in hits if turn or not document]

    def _save_row(self, session: Session) -> int:
        """Write the row of a session. Returns its number."""
        fields = (
            title := _encodable(session.title),
            _encodable(session.model),
            session.engine,
            session.created_at.isoformat(),
            session.updated_at.isoformat(),
            len(session.turns),
            _json(state_json(session)),
        )
        known = self._one("SELECT number, title FROM sessions WHERE id = ?", session.id)
        if known is None:
            columns = "title, model, engine, created_at, updated_at, turn_count, state, id"
            added = self._connection.execute(f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*fields, session.id))
            number = int(added.lastrowid or 0)
            self._index_words(-number, title)
            return number
        number, before = known
        changes = "title = ?, model = ?, engine = ?, created_at = ?, updated_at = ?, turn_count = ?, state = ?, deleted = 0"
        self._connection.execute(f"UPDATE sessions SET {changes} WHERE number = ?", (*fields, number))
        if before != title:
            self._forget_words(-number, before)
            self._index_words(-number, title)
        return int(number)

    def _save_turn(self, session_number: int, turn: Turn) -> None:
        """Write a turn; a turn that is there is replaced."""
        document = _json(turn_json(turn))
        known = self._one("SELECT number, document FROM turns WHERE session = ? AND id = ?", session_number, turn.id)
        if known is None:
            values = session_number, turn.id, document
            number = self._connection.execute("INSERT INTO turns (session, id, document) VALUES (?, ?, ?)", values).lastrowid or 0
        elif known[1] == document:
            return
        else:
            number = known[0]
            if before := turn_in(known[1]):
                self._forget_words(number, _words_of(before))
            self._connection.execute("UPDATE turns SET document = ? WHERE number = ?", (document, number))
        self._index_words(number, _words_of(turn))

    def _index_words(self, number: int, text: str) -> None:
        self._connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, index_words(text)))

    def _forget_words(self, number: int, text: str) -> None:
        # A table without content has to be told what it had indexed.
        self._connection.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (number, index_words(text)))

    def _one(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values).fetchone()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Let several statements see the same state."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise


def is_full(error: BaseException) -> bool:
    """Return whether an error of SQLite or of the system says that the disk is full."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def summary_of(row: Sequence[Any]) -> Summary:
    """Build the summary of a session from its columns in `_SUMMARY`."""
    session_id, title, model, engine, created_at, updated_at, turn_count = row
    return Summary(session_id, title, model, engine, _moment(created_at), _moment(updated_at), turn_count)


def _moment(text: str) -> datetime:
    """Read a date; a damaged one is the beginning of 1970."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def turn_in(document: str) -> Turn | None:
    """Return the turn in a document; None if it is damaged."""
    return _in(document, turn_of)


def vote_in(document: str) -> Vote | None:
    """Return the vote in a document; None if it is damaged."""
    return _in(document, Vote.from_json)


def _in(document: str, build: Callable[[JSON], T]) -> T | None:
    try:
        return build(json.loads(document))
    except (TypeError, ValueError, LookupError, AttributeError):
        return None


def session_in(summary: Summary, state: str, turns: Sequence[Turn]) -> Session:
    """Return the session with these turns; if the state is damaged or turns are missing, as the turns follow each other."""
    try:
        known = json.loads(state)
    except ValueError:
        known = {}
    try:
        return session_with(summary, known, turns)
    except (TypeError, ValueError, LookupError, AttributeError, TurnNotFound):
        return rebuilt(summary, known, turns)


def _words_of(turn: Turn) -> str:
    return _encodable(f"{turn.prompt}\n{turn.answer}")


def _json(value: JSON) -> str:
    return _encodable(json.dumps(value, ensure_ascii=False))


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which SQLite can't store."""
    return text.encode("utf-8", "replace").decode("utf-8")
