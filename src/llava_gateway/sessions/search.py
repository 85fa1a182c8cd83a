"""Finds words in sessions: in their titles, and in the questions and answers of all branches (pure)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from llava_gateway.sessions.session import Session

MOST_MATCHES = 5
"""For each session."""
AROUND = 48
"""Characters that are shown before and after what was found."""


@dataclass(frozen=True, slots=True)
class Match:
    """`text` is what was found, between what stands `before` and `after` it; `turn` is the id of the turn, None in a title."""

    turn: int | None
    place: Literal["title", "prompt", "answer"]
    before: str
    text: str
    after: str


def search(sessions: Iterable[Session], words: str) -> list[tuple[Session, tuple[Match, ...]]]:
    """The sessions that have the words, in the order given, each with its first matches.

    Upper and lower case are the same, and so is any white space between the words. With gigabytes of text it takes seconds.
    """
    pattern = re.compile(r"\s+".join(re.escape(word) for word in _normal(words).split()), re.IGNORECASE)
    found = ((session, tuple(islice(_matches(session, pattern), MOST_MATCHES))) for session in sessions)
    return [(session, matches) for session, matches in found if matches]


def _matches(session: Session, pattern: re.Pattern[str]) -> Iterator[Match]:
    yield from _in_text(session.title, pattern, None, "title")
    for turn in session.branches.every_turn:
        yield from _in_text(turn.prompt, pattern, turn.id, "prompt")
        yield from _in_text(turn.answer, pattern, turn.id, "answer")


def _in_text(text: str, pattern: re.Pattern[str], turn: int | None, place: Literal["title", "prompt", "answer"]) -> Iterator[Match]:
    """The first place in the text: more of one text tell no more."""
    text = _normal(text)
    if found := pattern.search(text):
        start, end = found.span()
        before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
        lead, trail = "…" if start > AROUND else "", "…" if end + AROUND < len(text) else ""
        yield Match(turn, place, lead + before, found[0], after + trail)


def _normal(text: str) -> str:
    """In one of the ways in which accents can be written."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
