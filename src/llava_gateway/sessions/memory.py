"""Keeps sessions in memory: budgets, least recently used first out, one turn at a time.

A session holds the images of its turns, those of all its branches, in the image store; evicting it lets them go. A deleted one is kept
aside for a while, out of everybody's sight, in case it is wanted back; it is the first to go when room is needed.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from llava_gateway.errors import InvalidRequest, SessionBusy, SessionDeleted, SessionFull, SessionNotFound, StorageFull
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings

Change: TypeAlias = Callable[[Session], Session]
"""Makes the session that is kept from the one that was; it is called once, at once."""


@dataclass(slots=True)
class _Kept:
    session: Session
    used_at: float
    images: dict[str, StoredImage]
    running: bool = False
    changes: int = 0
    asked: Session | None = None
    """What it was when the turn began that is running, or ran last."""


class SessionStore:
    """All sessions of the process.

    Args:
        settings: session_max_turns, session_max_bytes, session_ttl, session_undo, store_max_bytes.
        images: where the images of the sessions live; the two share one byte budget.
        clock: monotonic seconds, so that a changed wall clock ages nothing.
    """

    def __init__(self, settings: Settings, images: ImageStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._images = images
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._run = secrets.token_hex(4)
        self._changes = 0
        self._deleted: OrderedDict[str, tuple[_Kept, float]] = OrderedDict()  # each with the time of its end, in that order
        self.on_gone: Callable[[str, float], None] | None = None
        """Called once for each session that nobody finds any more, whether it was deleted, too old or in the way: its id, and for how many
        seconds it can be restored. Whatever works for a session ends there. It must not call the store."""
        images.let_go = self._let_go

    def __len__(self) -> int:
        return len(self._kept)

    def create(self, session: Session) -> Session:
        """Keeps a new session (or one with turns, whose images must be there). Raises SessionFull, StorageFull."""
        self.expire()
        images = {image_id: self._images.get(image_id) for image_id in session.every_image_id}
        self.check(session, sum(image.size for image in images.values()))
        for image in images.values():  # first of all: making room may drop the session that is being forked
            self._images.hold(image)
        try:
            self._images.make_room(session.text_bytes)
        except StorageFull:
            for image in images.values():
                self._images.release(image)
            raise
        self._kept[session.id] = _Kept(session, self._clock(), images)
        self._changes += 1
        self._images.reserved += session.text_bytes
        return session

    def check(self, session: Session, image_bytes: int) -> None:
        """Raises SessionFull where it has more turns or takes more bytes than a session may."""
        if session.branches.turn_count > self._settings.session_max_turns:
            raise SessionFull("session_turns", values={"count": session.branches.turn_count, "most": self._settings.session_max_turns})
        if session.text_bytes + image_bytes > self._settings.session_max_bytes:
            raise SessionFull("session_bytes", values={"most_bytes": self._settings.session_max_bytes})

    def deleted(self) -> list[Session]:
        """Those that `restore` can bring back, the one that was deleted last first."""
        self.expire()
        return [kept.session for kept, _ in reversed(self._deleted.values())]

    def list(self) -> list[Session]:
        """Most recently changed first."""
        self.expire()
        return sorted((kept.session for kept in self._kept.values()), key=lambda session: session.updated_at, reverse=True)

    def get(self, session_id: str) -> Session:
        return self._find(session_id).session

    def is_running(self, session_id: str) -> bool:
        return self._find(session_id).running

    def change(self, session_id: str, change: Change) -> Session:
        """Change anything but the turns of a session (its title, defaults, pins, ...). Raises SessionNotFound, StorageFull."""
        kept = self._find(session_id)
        changed = change(kept.session)
        if not changed.same_beside(kept.session):
            changed = changed.uncounted()
        self._make_room(kept, changed.text_bytes - kept.session.text_bytes)
        return self._put(kept, changed)

    def revision(self, session_id: str) -> str:
        """Another text whenever what there is to see of the session has changed."""
        kept = self._find(session_id)
        return f"{kept.changes}{'r' if kept.running else ''}"

    def revision_of_all(self) -> str:
        """Another text whenever the list has changed, and with each start of the service."""
        self.expire()
        return f"{self._run}-{self._changes}"

    def switch(self, session_id: str, turn_id: int) -> Session:
        """Makes the branch of a turn the one that is told. Raises TurnNotFound, SessionBusy."""
        kept = self._find(session_id)
        if kept.running:
            raise SessionBusy
        return self._put(kept, kept.session.on_branch(turn_id))

    def delete(self, session_id: str) -> None:
        """Delete a session: nobody finds it any more, and what works for it ends. `restore` brings it back. Raises SessionNotFound."""
        kept = self._find(session_id)
        undo = self._settings.session_undo
        if undo:
            self._deleted[session_id] = kept, self._clock() + undo
        else:
            self._forget(kept)
        self._remove(kept, undo)

    def restore(self, session_id: str) -> Session:
        """Takes a deletion back. Raises SessionNotFound when it is too late."""
        self.expire()
        found = self._deleted.pop(session_id, None)
        if found is None:
            raise SessionNotFound("session_not_restored")
        kept = self._kept[session_id] = found[0]
        self._changes += 1
        self._touch(kept)
        return kept.session

    def fork(self, session_id: str, at: int | None) -> Session:
        """A new session with the first `at` turns (None: all)."""
        session = self.get(session_id)
        try:
            forked = session.forked(len(session.turns) if at is None else at)
        except IndexError:
            raise InvalidRequest("fork_beyond", values={"count": len(session.turns), "at": at or 0}).at("turn_count") from None
        return self.create(forked)

    @contextmanager
    def turn(self, session_id: str, wanted: int) -> Iterator[Session]:
        """Takes the session for one turn of `wanted` bytes of text: it is pinned, and a second turn is refused with SessionBusy.

        Raises SessionNotFound, SessionBusy, SessionFull, StorageFull.
        """
        kept = self._find(session_id)
        if kept.running:
            raise SessionBusy
        if kept.session.branches.turn_count >= self._settings.session_max_turns:
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

        Raises SessionDeleted when the session has gone meanwhile, TurnNotFound.
        """
        kept = self._kept.get(session_id)
        if kept is None:
            raise SessionDeleted
        for part, image in zip(turn.images, images, strict=True):
            if part.image_id not in kept.images:
                self._images.hold(image)
                kept.images[part.image_id] = image
        session = kept.session if after is None else kept.session.after(after)
        recorded = (change(session) if change else session).with_turn(turn)
        if kept.asked and not session.same_beside(kept.asked):  # changed while the turn was answered: nobody counted that
            recorded = recorded.uncounted()
        return self._put(kept, recorded)

    def _find(self, session_id: str) -> _Kept:
        self.expire()
        kept = self._kept.get(session_id)
        if kept is None:
            raise SessionNotFound
        return kept

    def _put(self, kept: _Kept, session: Session) -> Session:
        self._images.reserved += session.text_bytes - kept.session.text_bytes
        kept.session = session
        kept.changes += 1
        self._changes += 1
        self._touch(kept)
        return session

    def _touch(self, kept: _Kept) -> None:
        """Used just now: last to be dropped."""
        kept.used_at = self._clock()
        if kept.session.id in self._kept:
            self._kept.move_to_end(kept.session.id)

    def _make_room(self, kept: _Kept, size: int) -> None:
        """Room for `size` more bytes of text in a session, which is not itself dropped for it. Raises StorageFull."""
        running, kept.running = kept.running, True
        try:
            self._images.make_room(size)
        finally:
            kept.running = running

    def _drop(self, kept: _Kept) -> None:
        self._forget(kept)
        self._remove(kept)

    def _remove(self, kept: _Kept, undo: float = 0) -> None:
        """The one way out of `_kept`."""
        del self._kept[kept.session.id]
        self._changes += 1
        if self.on_gone is not None:
            self.on_gone(kept.session.id, undo)

    def _forget(self, kept: _Kept) -> None:
        self._images.reserved -= kept.session.text_bytes
        for image in kept.images.values():
            self._images.release(image)

    def _bytes_of(self, kept: _Kept) -> int:
        return kept.session.text_bytes + sum(image.size for image in kept.images.values())

    def expire(self) -> None:
        """Drops what was not used for too long, and what was deleted and not wanted back.

        Sessions are in order of use, the deleted ones in order of deletion, so only the oldest need a look.
        """
        now = self._clock()
        for kept, ends in list(self._deleted.values()):
            if ends > now:
                break
            del self._deleted[kept.session.id]
            self._forget(kept)
        for kept in list(self._kept.values()):
            if kept.used_at > now - self._settings.session_ttl:
                break
            if not kept.running:
                self._drop(kept)

    def _let_go(self) -> bool:
        """Drops the session that was deleted first, else the least recently used idle one; False when there is none. The image store asks
        when all it keeps is held."""
        if self._deleted:
            self._forget(self._deleted.popitem(last=False)[1][0])
            return True
        for kept in self._kept.values():
            if not kept.running:
                self._drop(kept)
                return True
        return False
