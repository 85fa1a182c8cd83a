"""The journal: what must outlive the process is on disk before it is reported as done.

One thread writes, in the order of the calls. Reading uses a connection of its own, which a writer does not block.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from llava_gateway.errors import ImageNotFound, StorageFailed, StorageFull
from llava_gateway.images.stored import ImageFile, StoredImage
from llava_gateway.journal.database import Database, is_full
from llava_gateway.journal.errors import DataError
from llava_gateway.journal.files import ImageFiles
from llava_gateway.journal.folder import DATABASE, DataFolder
from llava_gateway.sessions.search import Found, matches_among
from llava_gateway.sessions.session import Session, Summary
from llava_gateway.sessions.turn import Turn
from llava_gateway.votes import Vote

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MOST_AT_ONCE = 100
"""Most images that are evicted from memory without a pause for other work."""
MOST_HITS = 1000
"""Most texts that a search returns."""
MOST_OF_DISK = 0.1
MOST_BYTES = 20 * 10**9
"""Most bytes to keep if the settings name no number: a tenth of the disk, but not more than this."""


class Journal:
    """Sessions, images and votes on disk, in a directory that no other process uses meanwhile.

    Args:
        path: the data directory.
        max_bytes: size from which new images are refused; None for a tenth of the disk, at most 20 GB.

    Raises DataError if the directory can't be used.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.folder = DataFolder(path)
        with ExitStack() as undo:
            undo.callback(self.folder.release)
            # Files that a new database does not know, or one that was recovered, may be all that is left of a chat.
            self._knows_files = self.folder.database.exists() and not any(path.glob(f"{DATABASE}.damaged-*"))
            self._database = undo.enter_context(Database(self.folder.database))  # used by the writing thread
            self._reader = undo.enter_context(Database(self.folder.database))  # used by the event loop
            try:
                self._at_start: list[Summary] | None = self._reader.summaries()
                self.image_bytes = self._reader.image_bytes()
                self.max_bytes = most_bytes(path) if max_bytes is None else max_bytes
            except (OSError, sqlite3.Error) as error:
                raise DataError("data_damaged", path=self.folder.database, why=str(error)) from None
            undo.pop_all()
        self._files = ImageFiles(self.folder.images)
        self._writer = ThreadPoolExecutor(1, "journal")
        self._unused: set[str] = set()  # images that no session has and that could not leave the disk yet
        self._leaving: set[str] = set()
        self._removals: set[asyncio.Task[None]] = set()
        self._closed = False
        self.forget_image: Callable[[str], bool] = lambda image_id: True
        """Called before an image leaves the disk; returns False if it is in use."""

    @property
    def size(self) -> int:
        """What all images and rows take on the disk."""
        return self.image_bytes + self._read(lambda: self._reader.bytes)

    def check_room(self, size: int) -> None:
        """Raise StorageFull if images of `size` bytes would go beyond `max_bytes`."""
        if size and self.size + size > self.max_bytes:
            raise StorageFull("keep_max_bytes", values={"most_bytes": self.max_bytes})

    # Sessions

    def summaries(self) -> list[Summary]:
        """List all sessions on disk."""
        summaries, self._at_start = self._at_start, None
        return self._read(self._reader.summaries) if summaries is None else summaries

    def load(self, session_id: str) -> tuple[Session, dict[str, int]]:
        """Return a session, and the sizes of its image files by their ids. Raises StorageFailed if it can't be read."""
        session = self._read(lambda: self._reader.load(session_id))
        if session is None:
            raise StorageFailed("session_unreadable")
        return session, self._read(lambda: self._reader.image_sizes(session_id))

    def save(self, session: Session, turns: Sequence[Turn], images: Mapping[str, StoredImage]) -> asyncio.Future[None]:
        """Write a session with these turns and images. The future is done when they are on the disk, and raises StorageFull or
        StorageFailed if they are not."""
        files: dict[str, ImageFile] = {}
        data: dict[str, bytes] = {}
        for image_id, image in images.items():
            files[image_id] = ImageFile(image.info, image.media_type or "image/png", image.file_bytes)
            if image.canonical is not None:
                data[image_id] = image.canonical
        return self._write(self._save, session, turns, files, data)

    def mark_deleted(self, session_id: str) -> asyncio.Future[None]:
        """Hide a session until it is saved again or removed. What is hidden when the gateway starts is removed."""
        return self._write(self._database.mark_deleted, session_id)

    def remove(self, session_id: str) -> None:
        """Remove a session with the images that no other session has."""
        if not self._closed:
            self._begin(self._remove(self._write(self._database.remove, session_id)))

    async def remove_all(self) -> None:
        """Remove all sessions and images, and return once their space is free. Raises StorageFull, StorageFailed."""
        await self._remove(self._write(self._database.remove_all))
        await self._write(self._shrink)

    # Images

    def image(self, image_id: str) -> ImageFile | None:
        if image_id in self._leaving:
            return None
        try:
            return self._read(lambda: self._reader.image(image_id))
        except StorageFailed:
            return None

    async def read_image(self, image_id: str) -> bytes:
        try:
            return await asyncio.to_thread(self._files.read, image_id)
        except (OSError, ValueError) as error:
            log.error("image %s can't be read from the disk: %s", image_id, error)
            raise ImageNotFound("image_unreadable") from None

    # Votes and search

    def votes(self) -> list[Vote]:
        return self._read(self._reader.votes)

    async def add_vote(self, vote: Vote) -> None:
        await self._write(self._database.add_vote, vote)

    async def remove_votes(self) -> None:
        await self._write(self._database.remove_votes)

    async def search(self, text: str) -> list[Found]:
        """Find sessions by the words in their titles, questions and answers; the most recently changed first. Raises StorageFailed."""

        def found() -> list[Found]:
            with Database(self.folder.database) as database:
                return matches_among(database.search(text, MOST_HITS), text)

        try:
            return await asyncio.to_thread(found)
        except (DataError, sqlite3.Error) as error:
            log.error("the search failed: %s", error)
            raise StorageFailed("search_failed") from None

    # Start and end

    def start(self) -> None:
        """Begin to remove what an earlier process left behind: deleted sessions, and images that no session has."""
        self._begin(self._remove(self._write(self._database.remove_deleted)))
        if self._knows_files:
            self._begin(self._sweep())

    async def aclose(self) -> None:
        """Finish all writes, and let other processes use the directory."""
        if self._closed:
            return
        self._closed = True
        while self._removals:
            await asyncio.gather(*self._removals, return_exceptions=True)
        if self._unused:  # nobody holds them any more
            with suppress(StorageFull, StorageFailed):
                await self._remove(self._write(list))
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Finish all writes, and let other processes use the directory. Blocks meanwhile."""
        self._closed = True
        self._writer.shutdown(wait=True)
        try:
            self._database.overwrite_removed()
        except sqlite3.Error as error:
            log.error("the journal could not be tidied up: %s", error)
        self._reader.close()
        self._database.close()
        self.folder.release()

    def _read(self, read: Callable[[], T]) -> T:
        """Run `read` on the reading connection. Raises StorageFailed."""
        try:
            return read()
        except (sqlite3.Error, DataError) as error:
            log.error("the journal can't be read: %s", error)
            raise StorageFailed("session_unreadable") from None

    def _write(self, write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Have the thread write, after all earlier calls. The future raises StorageFull, StorageFailed."""

        def guarded() -> T:
            try:
                return write(*args, **kwargs)
            except (OSError, sqlite3.Error) as error:
                log.error("the journal could not be written: %s", error)
                raise _failure(error) from None
            except Exception as error:  # a bug; what could not be written stays in memory
                log.exception("the journal could not be written")
                raise StorageFailed from error

        return asyncio.get_running_loop().run_in_executor(self._writer, guarded)

    def _save(self, session: Session, turns: Sequence[Turn], files: Mapping[str, ImageFile], data: Mapping[str, bytes]) -> None:
        for image_id, content in data.items():
            self._files.write(image_id, content)
        self._database.save(session, turns, files)
        if data:
            self.image_bytes = self._database.image_bytes()

    def _begin(self, removal: Coroutine[Any, Any, None]) -> None:
        """Remove something in the background. If that fails, the next start tries again."""
        task = asyncio.create_task(removal)
        self._removals.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._removals.discard(done)
            if not done.cancelled() and done.exception():
                log.error("a deleted session or image is still on disk; the next start removes it")

        task.add_done_callback(ended)

    async def _remove(self, finding: asyncio.Future[list[str]]) -> None:
        """Remove the images that are found, except those that have come into a session meanwhile. One that is in use stays until the next
        removal. Raises StorageFull, StorageFailed."""
        self._unused.update(await finding)
        going: set[str] = set()
        for number, image_id in enumerate(sorted(self._unused), 1):
            if self.forget_image(image_id):
                going.add(image_id)
                self._leaving.add(image_id)  # at once: nobody may find it again during the pauses
            if number % MOST_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._unused -= going
        try:
            await self._write(self._remove_images, sorted(going))
        finally:
            self._leaving -= going

    def _remove_images(self, image_ids: Sequence[str]) -> None:
        gone = self._database.remove_images(image_ids)
        self.image_bytes = self._database.image_bytes()
        failed = [image_id for image_id in gone if not self._has_removed(image_id)]
        self._database.tidy()
        if failed:
            raise OSError(f"{len(failed)} image files can't be removed")

    def _has_removed(self, image_id: str) -> bool:
        try:
            self._files.remove(image_id)
        except OSError as error:
            log.error("image %s can't be removed from the disk: %s", image_id, error)
            return False
        return True

    def _shrink(self) -> None:
        """Give the space of what was removed back, with the copies of the database that earlier versions left."""
        for copy in self.folder.path.glob(f"{DATABASE}.*"):
            copy.unlink()
        self._database.shrink()

    async def _sweep(self) -> None:
        """Remove the files of images that the database does not know: a process ended before it could write the row, or remove the file."""

        def sweep() -> None:
            known = set(self._database.images())
            for image_id in self._files.names():
                if image_id not in known:
                    self._has_removed(image_id)

        await self._write(sweep)


def most_bytes(path: Path) -> int:
    """Return how much to keep on the disk of this directory if the settings don't say it."""
    return min(MOST_BYTES, int(shutil.disk_usage(path).total * MOST_OF_DISK))


def _failure(error: BaseException) -> StorageFull | StorageFailed:
    return StorageFull("disk_full_for_chats") if is_full(error) else StorageFailed()
