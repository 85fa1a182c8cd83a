"""Manages sessions in memory: within budgets, least recently used evicted first, one turn at a time.

Without a journal, memory is all there is: a session holds the images of all its branches in the image store, and evicting the session
loses it. With a journal, every change is also written to disk. A session then holds its images until they are on disk, and an evicted
session comes back when someone asks for it; temporary sessions are the exception. A deleted session stays hidden for a while, so that it
can be restored. It is the first to be evicted when memory is needed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from llava_gateway.errors import InvalidRequest, SessionBusy, SessionDeleted, SessionFull, SessionNotFound, StorageFull
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.sessions.session import Session, Summary
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings

Change: TypeAlias = Callable[[Session], Session]
"""Makes the new value of a session from the old one. It is called exactly once, immediately."""


class SessionDisk(Protocol):
    """Sessions on disk; `journal/journal.py` is one."""

    def summaries(self) -> list[Summary]: ...
    def load(self, session_id: str) -> tuple[Session, dict[str, int]]:
        """Return a session, and the sizes of its image files by their ids. Raises StorageFailed."""

    def save(self, session: Session, turns: Sequence[Turn], images: Mapping[str, StoredImage]) -> asyncio.Future[None]:
        """Write a session with new turns and images. The future raises StorageFull or StorageFailed if that fails."""

    def mark_deleted(self, session_id: str) -> asyncio.Future[None]:
        """Hide a session until it is saved again or removed."""

    def remove(self, session_id: str) -> None: ...
    async def remove_all(self) -> None: ...
    def check_room(self, size: int) -> None:
        """Raise StorageFull if there is no room for images of `size` bytes."""


@dataclass(slots=True)
class _Kept:
    """A session in memory.

    Attributes:
        images: the images that the session holds: all of them, or those that are not on disk yet.
        image_sizes: the sizes in bytes of those that are on disk.
        asked: the session as it was when the current turn began, or the last one.
        written: the turns that are on disk, by their ids; a turn that was continued since is another value.
        write: the last write to disk; `is_written`: whether everything is on disk.
    """

    session: Session
    used_at: float
    images: dict[str, StoredImage] = field(default_factory=dict)
    image_sizes: dict[str, int] = field(default_factory=dict)
    running: bool = False
    key: str = field(default_factory=lambda: secrets.token_hex(4))
    changes: int = 0
    asked: Session | None = None
    written: dict[int, Turn] = field(default_factory=dict)
    write: asyncio.Future[None] | None = None
    is_written: bool = True


class SessionStore:
    """All sessions of the process.

    Args:
        settings: session_max_turns, session_max_bytes, session_ttl, session_undo, store_max_bytes.
        images: stores the images of the sessions; both share one byte budget.
        clock: returns monotonic seconds, so that a change of the wall clock expires nothing.
        disk: where sessions are kept; None if nowhere.
    """

    def __init__(
        self, settings: Settings, images: ImageStore, clock: Callable[[], float] = time.monotonic, disk: SessionDisk | None = None
    ) -> None:
        self._settings = settings
        self._images = images
        self._clock = clock
        self._disk = disk
        self._summaries = {summary.id: summary for summary in disk.summaries()} if disk else {}
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._run = secrets.token_hex(4)
        self._changes = 0
        self._deletions: dict[str, asyncio.Future[None]] = {}  # those that are not on disk yet
        self._deleted: OrderedDict[str, tuple[_Kept, float]] = OrderedDict()  # each with its expiry time, in that order
        self.on_gone: Callable[[str, float], None] | None = None
        """Called once for each session that can no longer be found because it was deleted, expired or evicted. Gets its id, and for how
        many seconds it can be restored. Work for the session ends there. It must not call the store."""
        self.on_change: Callable[[str], None] = lambda session_id: None
        """Called with the id of a session that was created, changed, deleted or restored. It must not call the store."""
        images.evict_session = self._evict_for_images

    def __len__(self) -> int:
        return len(self._summaries)

    def create(self, session: Session) -> Session:
        """Store a new session. The images of its turns, if it has any, must be in the image store. Raises SessionFull, StorageFull."""
        self.expire()
        images = {image_id: self._images.get(image_id) for image_id in session.every_image_id}
        self.check(session, sum(image.size for image in images.values()))
        self.check_room(session, images.values())
        for image in images.values():  # hold them first: making room may evict the session that is being forked
            self._images.hold(image)
        try:
            self._images.make_room(session.text_bytes)
        except StorageFull:
            for image in images.values():
                self._images.release(image)
            raise
        kept = self._kept[session.id] = _Kept(session, self._clock(), images)
        self._images.reserved += session.text_bytes
        self._changed(kept)
        return session

    def check(self, session: Session, image_bytes: int) -> None:
        """Raise SessionFull if the session has more turns or takes more bytes than allowed."""
        if session.branches.turn_count > self._settings.session_max_turns:
            raise SessionFull("session_turns", values={"count": session.branches.turn_count, "most": self._settings.session_max_turns})
        if session.text_bytes + image_bytes > self._settings.session_max_bytes:
            raise SessionFull("session_bytes", values={"most_bytes": self._settings.session_max_bytes})

    def check_room(self, session: Session, images: Iterable[StoredImage]) -> None:
        """Raise StorageFull if new images of the session have no room on disk."""
        if disk := self._disk_of(session):
            disk.check_room(sum(image.file_bytes for image in images if not image.on_disk))

    async def wait_saved(self, session_id: str) -> None:
        """Wait until every change of the session is on disk. Raises StorageFull, StorageFailed. Returns at once without a journal."""
        kept = self._kept.get(session_id)
        write = kept.write if kept else self._deletions.get(session_id)
        if write:
            await asyncio.shield(write)

    async def aclose(self) -> None:
        """Try once more to write what could not be written. Deleted sessions can't be restored any more."""
        while self._deleted:
            self._forget(self._deleted.popitem()[1][0], deleted=True)
        for kept in self._kept.values():
            if not kept.is_written:
                self._changed(kept)
        writes = [kept.write for kept in self._kept.values() if kept.write]
        await asyncio.gather(*writes, return_exceptions=True)

    def deleted(self) -> list[Session]:
        """List the sessions that `restore` can bring back, most recently deleted first."""
        self.expire()
        return [kept.session for kept, _ in reversed(self._deleted.values())]

    def only_in_memory(self) -> list[Session]:
        """List the sessions that are not on disk, most recently changed first."""
        self.expire()
        sessions = (kept.session for kept in self._kept.values() if not self._disk_of(kept.session))
        return sorted(sessions, key=lambda session: session.updated_at, reverse=True)

    def list(self) -> list[Summary]:
        """List all sessions, most recently changed first."""
        self.expire()
        return sorted(self._summaries.values(), key=lambda summary: summary.updated_at, reverse=True)

    def get(self, session_id: str) -> Session:
        return self._find(session_id).session

    def is_running(self, session_id: str) -> bool:
        return self._find(session_id).running

    def change(self, session_id: str, change: Change) -> Session:
        """Change anything but the turns of a session (title, defaults, pins, ...). Raises SessionNotFound, StorageFull."""
        kept = self._find(session_id)
        changed = change(kept.session)
        if not changed.same_beside(kept.session):
            changed = changed.uncounted()
        self._make_room(kept, changed.text_bytes - kept.session.text_bytes)
        return self._put(kept, changed)

    def revision(self, session_id: str) -> str:
        """Return a text that differs after every visible change of the session."""
        kept = self._find(session_id)
        return f"{kept.key}-{kept.changes}{'r' if kept.running else ''}"

    def revision_of_all(self) -> str:
        """Return a text that differs after every change of the list, and after every start of the service."""
        self.expire()
        return f"{self._run}-{self._changes}"

    def switch(self, session_id: str, turn_id: int) -> Session:
        """Make the branch of a turn the current one. Raises TurnNotFound, SessionBusy."""
        kept = self._find(session_id)
        if kept.running:
            raise SessionBusy
        return self._put(kept, kept.session.on_branch(turn_id))

    def delete(self, session_id: str) -> None:
        """Delete a session and end all work for it. `restore` brings it back. Raises SessionNotFound."""
        kept = self._find(session_id)
        undo = self._settings.session_undo
        if disk := self._disk_of(kept.session):
            self._deletions[session_id] = _retrieved(disk.mark_deleted(session_id))
            self._deletions[session_id].add_done_callback(lambda _: self._deletions.pop(session_id, None))
        if undo:
            self._deleted[session_id] = kept, self._clock() + undo
        self._remove(kept, undo)
        if not undo:
            self._forget(kept, deleted=True)

    async def delete_all(self) -> None:
        """Delete all sessions and end all work for them; nothing brings them back. Raises StorageFull, StorageFailed."""
        before = dict(self._summaries)
        for kept, _ in self._deleted.values():
            self._forget(kept)
        self._deleted.clear()
        for kept in list(self._kept.values()):
            self._remove(kept)
            self._forget(kept)
        for session_id in before:
            self._summaries.pop(session_id, None)
            self._report_change(session_id)
        if self._disk:
            try:
                await self._disk.remove_all()
            except BaseException:  # they are still on disk, so they stay in the list
                self._summaries.update((summary.id, summary) for summary in before.values() if not summary.temporary)
                raise

    def discard(self, session_id: str) -> None:
        """Delete a session at once, if there is one; it was never shown to anybody."""
        if kept := self._kept.get(session_id):
            self._remove(kept)
            self._forget(kept, deleted=True)

    def restore(self, session_id: str) -> Session:
        """Undo a deletion. Raises SessionNotFound if it is too late."""
        self.expire()
        found = self._deleted.pop(session_id, None)
        if found is None:
            raise SessionNotFound("session_not_restored")
        kept = self._kept[session_id] = found[0]
        self._changed(kept)
        self._touch(kept)
        return kept.session

    def fork(self, session_id: str, at: int | None) -> Session:
        """Create a session with the first `at` turns of another one (None: all)."""
        session = self.get(session_id)
        try:
            forked = session.forked(len(session.turns) if at is None else at)
        except IndexError:
            raise InvalidRequest("fork_beyond", values={"count": len(session.turns), "at": at or 0}).at("turn_count") from None
        return self.create(forked)

    @contextmanager
    def turn(self, session_id: str, wanted: int, *, adds: bool = True) -> Iterator[Session]:
        """Pin the session for one turn. A second turn at the same time is rejected with SessionBusy.

        Args:
            wanted: bytes of the turn's text.
            adds: whether it is a new turn; False if the last one goes on.

        Raises SessionNotFound, SessionBusy, SessionFull, StorageFull.
        """
        kept = self._find(session_id)
        if kept.running:
            raise SessionBusy
        if adds and kept.session.branches.turn_count >= self._settings.session_max_turns:
            raise SessionFull("session_turns", values={"count": kept.session.branches.turn_count, "most": self._settings.session_max_turns})
        if self._bytes_of(kept) + wanted > self._settings.session_max_bytes:
            raise SessionFull("session_bytes", values={"most_bytes": self._settings.session_max_bytes})
        self._make_room(kept, wanted)
        kept.running, kept.asked = True, kept.session
        try:
            yield kept.session
        finally:
            kept.running = False
            self._touch(kept)

    def record(
        self, session_id: str, turn: Turn, images: tuple[StoredImage, ...], change: Change | None = None, *, after: int | None = None
    ) -> Session:
        """Change the session, add the turn after another one (None: the last), and hold its images.

        Raises SessionDeleted if the session is gone by now, TurnNotFound.
        """
        kept = self._kept.get(session_id)  # a session that is answering is not evicted
        if kept is None:
            raise SessionDeleted
        for part, image in zip(turn.images, images, strict=True):
            if part.image_id not in kept.images and part.image_id not in kept.image_sizes:
                self._images.hold(image)
                kept.images[part.image_id] = image
        session = kept.session if after is None else kept.session.after(after)
        recorded = (change(session) if change else session).with_turn(turn)
        if kept.asked and not session.same_beside(kept.asked):  # something changed during the answer, and the engine did not count that
            recorded = recorded.uncounted()
        return self._put(kept, recorded)

    def _find(self, session_id: str) -> _Kept:
        self.expire()
        kept = self._kept.get(session_id)
        if kept is None:
            kept = self._load(session_id)
        return kept

    def _load(self, session_id: str) -> _Kept:
        """Bring a session from the disk into memory. Raises SessionNotFound, StorageFull, StorageFailed."""
        if self._disk is None or session_id not in self._summaries:
            raise SessionNotFound
        session, image_sizes = self._disk.load(session_id)
        self._images.make_room(session.text_bytes)
        self._images.reserved += session.text_bytes
        written = {turn.id: turn for turn in session.branches.every_turn}
        kept = self._kept[session_id] = _Kept(session, self._clock(), image_sizes=image_sizes, written=written)
        return kept

    def _put(self, kept: _Kept, session: Session) -> Session:
        self._images.reserved += session.text_bytes - kept.session.text_bytes
        kept.session = session
        self._changed(kept)
        self._touch(kept)
        return session

    def _changed(self, kept: _Kept) -> None:
        """Show the new value of a session in the list, and begin to write it to disk: with every turn and image that is not there yet,
        so that a write makes up for earlier ones that failed."""
        kept.changes += 1
        session = kept.session
        self._summaries[session.id] = session.summary
        self._report_change(session.id)
        disk = self._disk_of(session)
        if disk is None:
            return
        turns = [turn for turn in session.branches.every_turn if kept.written.get(turn.id) is not turn]
        images = dict(kept.images)
        kept.is_written = False

        def written(write: asyncio.Future[None]) -> None:
            if write.cancelled() or write.exception():
                return
            kept.is_written = kept.session is session
            kept.written.update((turn.id, turn) for turn in turns)
            for image_id in images:
                if image := kept.images.pop(image_id, None):
                    kept.image_sizes[image_id] = image.file_bytes
                    self._images.mark_on_disk(image)
                    self._images.release(image)

        kept.write = _retrieved(disk.save(session, turns, images))
        kept.write.add_done_callback(written)

    def _report_change(self, session_id: str) -> None:
        """Report a change of a session, or of whether there is one."""
        self._changes += 1
        self.on_change(session_id)

    def _disk_of(self, session: Session) -> SessionDisk | None:
        """Return where a session is kept; None for one that is only in memory."""
        return None if session.temporary else self._disk

    def _touch(self, kept: _Kept) -> None:
        """Mark the session as just used, so that it is evicted last."""
        kept.used_at = self._clock()
        if kept.session.id in self._kept:
            self._kept.move_to_end(kept.session.id)

    def _make_room(self, kept: _Kept, size: int) -> None:
        """Make room for `size` more bytes of text without evicting this session. Raises StorageFull."""
        running, kept.running = kept.running, True
        try:
            self._images.make_room(size)
        finally:
            kept.running = running

    def _evict(self, kept: _Kept) -> bool:
        """Evict a session from memory. One that is on disk can come back; one that is not is lost. Returns False for a session that must
        stay: it is answering, or not on disk yet."""
        if kept.running or not kept.is_written:
            return False
        if self._disk_of(kept.session):
            del self._kept[kept.session.id]
        else:
            self._remove(kept)
        self._forget(kept)
        return True

    def _remove(self, kept: _Kept, undo: float = 0) -> None:
        """Remove a session from `_kept` and from the list."""
        del self._kept[kept.session.id]
        del self._summaries[kept.session.id]
        self._report_change(kept.session.id)
        if self.on_gone is not None:
            self.on_gone(kept.session.id, undo)

    def _forget(self, kept: _Kept, *, deleted: bool = False) -> None:
        """Free the memory of a session that was removed from `_kept`; a deleted one leaves the disk too."""
        self._images.reserved -= kept.session.text_bytes
        while kept.images:
            self._images.release(kept.images.popitem()[1])
        if deleted and (disk := self._disk_of(kept.session)):
            disk.remove(kept.session.id)

    def _bytes_of(self, kept: _Kept) -> int:
        images = sum(image.size for image in kept.images.values()) + sum(kept.image_sizes.values())
        return kept.session.text_bytes + images

    def expire(self) -> None:
        """Drop sessions that were unused for too long, and deleted ones that can't be restored any more.

        Sessions are ordered by use and deleted ones by deletion, so only the oldest are checked.
        """
        now = self._clock()
        for kept, ends in list(self._deleted.values()):
            if ends > now:
                break
            del self._deleted[kept.session.id]
            self._forget(kept, deleted=True)
        for kept in list(self._kept.values()):
            if kept.used_at > now - self._settings.session_ttl:
                break
            self._evict(kept)

    def _evict_for_images(self) -> bool:
        """Evict the oldest deleted session, else the least recently used idle one. Returns False if there is none.

        The image store calls this when everything it keeps is held.
        """
        if self._deleted:
            self._forget(self._deleted.popitem(last=False)[1][0], deleted=True)
            return True
        return any(self._evict(kept) for kept in list(self._kept.values()))


def _retrieved(write: asyncio.Future[None]) -> asyncio.Future[None]:
    """Mark the error of a write as seen, for one that nobody may wait for."""
    write.add_done_callback(lambda done: done.cancelled() or done.exception())
    return write
