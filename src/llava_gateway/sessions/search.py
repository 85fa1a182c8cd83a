"""Searches sessions for words: in titles, and in the questions and answers of all branches (pure)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, TypeAlias

from llava_gateway.sessions.session import Session, Summary
from llava_gateway.sessions.turn import Turn

MOST_MATCHES = 5
"""Matches that are returned for each session."""
AROUND = 48
"""Characters that are shown before and after a match."""
_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile(r"[*`~#]+|^[ \t]*>[ \t]?|\b_+|_+\b", re.MULTILINE)
"""The marks of Markdown, which a person does not read."""


@dataclass(frozen=True, slots=True)
class Match:
    """A match: `text` is the matched text, with the text `before` and `after` it. `turn` is the id of the turn, None for a title."""

    turn: int | None
    place: Literal["title", "prompt", "answer"]
    before: str
    text: str
    after: str


Hit: TypeAlias = tuple[Summary, Turn | None]
"""A text that an index found: a turn, or with None the title of the session."""
Found: TypeAlias = tuple[Summary, tuple[Match, ...]]


def search(sessions: Iterable[Session], text: str) -> list[Found]:
    """Return the sessions that contain the text, in the given order, each with its first matches.

    Ignores case, and treats all white space between words alike. Takes seconds on gigabytes of text.
    """
    pattern = _pattern(r"\s+".join(map(re.escape, _normal(text).split())))
    found = ((session.summary, tuple(islice(_matches(session, pattern), MOST_MATCHES))) for session in sessions)
    return [(summary, matches) for summary, matches in found if matches]


def matches_among(hits: Iterable[Hit], text: str) -> list[Found]:
    """Return the sessions of the texts that an index found, in the order of the hits, each with its first matches.

    An index knows only words, so anything may stand between them, and the last one may continue.
    """
    pattern = _pattern(r"[\W_]+".join(map(re.escape, _WORD.findall(_normal(text)))))
    found: dict[str, tuple[Summary, list[Match]]] = {}
    for summary, turn in hits:
        _, matches = found.setdefault(summary.id, (summary, []))
        matches += _in_turn(turn, pattern) if turn else _in_text(summary.title, pattern, None, "title")
    in_order = ((summary, sorted(matches, key=lambda match: match.turn or 0)) for summary, matches in found.values())
    return [(summary, tuple(matches[:MOST_MATCHES])) for summary, matches in in_order]


def _pattern(regex: str) -> re.Pattern[str]:
    return re.compile(regex, re.IGNORECASE)


def _matches(session: Session, pattern: re.Pattern[str]) -> Iterator[Match]:
    yield from _in_text(session.title, pattern, None, "title")
    for turn in session.branches.every_turn:
        yield from _in_turn(turn, pattern)


def _in_turn(turn: Turn, pattern: re.Pattern[str]) -> Iterator[Match]:
    """Yield the first match in the question or, if there is none, in the answer."""
    yield from islice(chain(_in_text(turn.prompt, pattern, turn.id, "prompt"), _in_text(turn.answer, pattern, turn.id, "answer")), 1)


def _in_text(text: str, pattern: re.Pattern[str], turn: int | None, place: Literal["title", "prompt", "answer"]) -> Iterator[Match]:
    """Yield the first match in the text; one match per text is enough."""
    text = _MARKS.sub("", _normal(text))
    if found := pattern.search(text):
        start, end = found.span()
        before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
        lead, trail = "…" if start > AROUND else "", "…" if end + AROUND < len(text) else ""
        yield Match(turn, place, lead + before, found[0], after + trail)


def _normal(text: str) -> str:
    """Normalise accents, which can be written in several ways."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
