"""Tells readers what has changed, so that no client has to ask again and again.

A reader keeps only which things have changed since it looked last, and never their values. So a reader that stalls costs no more memory
than one that keeps up, and many changes in a row are one piece of news.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from llava_gateway.errors import ShuttingDown

Topic: TypeAlias = Literal["engines", "sessions", "running"]
"""engines: which engines and models there are. sessions: the list of sessions, or anything in one of them. running: which sessions have
a running answer."""
EVERYTHING: frozenset[Topic] = frozenset(("engines", "sessions", "running"))


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since a reader looked last.

    Attributes:
        sessions: the ids of the sessions that were changed, created or deleted; None if any may have been.
    """

    topics: frozenset[Topic]
    sessions: frozenset[str] | None = frozenset()


@dataclass(slots=True, eq=False)
class NewsReader:
    """One reader of the news."""

    _topics: set[Topic] = field(default_factory=lambda: set(EVERYTHING))
    _sessions: set[str] | None = None
    _closed: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> Changes:
        """Wait for changes; the first time, returns at once that everything may have changed. Raises ShuttingDown."""
        while not self._topics and not self._closed:
            self._news.clear()
            await self._news.wait()
        if self._closed:
            raise ShuttingDown
        changes = Changes(frozenset(self._topics), None if self._sessions is None else frozenset(self._sessions))
        self._topics, self._sessions = set(), set()
        return changes

    def add(self, topic: Topic, session_id: str | None) -> None:
        self._topics.add(topic)
        if session_id is not None and self._sessions is not None:
            self._sessions.add(session_id)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()


class News:
    """Collects the changes in a gateway for any number of readers. Call it on the event loop."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        """Differs after every start of the service."""
        self._readers: set[NewsReader] = set()
        self._closed = False

    @contextmanager
    def reader(self) -> Iterator[NewsReader]:
        """Yield a reader, which first learns that everything may have changed."""
        reader = NewsReader()
        if self._closed:
            reader.close()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def engines_changed(self) -> None:
        self._notify("engines")

    def session_changed(self, session_id: str) -> None:
        self._notify("sessions", session_id)

    def running_changed(self) -> None:
        self._notify("running")

    def close(self) -> None:
        """End every reader with ShuttingDown, also those that come later."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    def _notify(self, topic: Topic, session_id: str | None = None) -> None:
        for reader in self._readers:
            reader.add(topic, session_id)
