"""Keeps which of several answers to one question a person found best, with the figures of each; in memory, the newest ones (pure)."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from llava_gateway.chat import Detail, Timings, Usage

MAX_VOTES = 200
MAX_TEXT_CHARS = 20_000
"""Of an answer, and of the question."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the answers, and what it was asked with beside the question; at most MAX_TEXT_CHARS of it."""

    model: str
    engine: str
    answer: str
    preset: str | None = None
    detail: Detail | None = None
    options: Mapping[str, float] = field(default_factory=dict)
    timings: Timings = Timings()
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Vote:
    """`best` is the place of the best candidate, None for a tie; `images` are ids, whose images may be gone by now. Of a long prompt only
    MAX_TEXT_CHARS are kept."""

    at: datetime
    prompt: str
    images: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    best: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model did: comparisons that it was in, those where it was best and those that were ties. A model that answered twice in one
    counts once. The figures are medians over its answers; `first_word_ms` is without the time in the queue."""

    model: str
    compared: int
    best: int
    ties: int
    first_word_ms: float | None
    tokens_per_second: float | None


class Votes:
    """The newest MAX_VOTES; older ones go."""

    def __init__(self) -> None:
        self._kept: deque[Vote] = deque(maxlen=MAX_VOTES)

    def __iter__(self) -> Iterator[Vote]:
        """Newest first."""
        return reversed(self._kept)

    def add(self, vote: Vote) -> None:
        self._kept.append(vote)

    def clear(self) -> None:
        self._kept.clear()

    def tally(self) -> tuple[Standing, ...]:
        """Of every model; the most often best first."""
        models = {candidate.model for vote in self._kept for candidate in vote.candidates}
        found = (self._standing(model) for model in models)
        return tuple(sorted(found, key=lambda standing: (-standing.best, standing.compared, standing.model)))

    def _standing(self, model: str) -> Standing:
        votes = [vote for vote in self._kept if any(candidate.model == model for candidate in vote.candidates)]
        answers = [candidate for vote in votes for candidate in vote.candidates if candidate.model == model]
        return Standing(
            model,
            compared=len(votes),
            best=sum(vote.best is not None and vote.candidates[vote.best].model == model for vote in votes),
            ties=sum(vote.best is None for vote in votes),
            first_word_ms=_median(first_word_ms(answer.timings) for answer in answers),
            tokens_per_second=_median(tokens_per_second(answer) for answer in answers),
        )


def first_word_ms(timings: Timings) -> float | None:
    """From the end of the queue to the first word."""
    return None if timings.first_token_ms is None else timings.first_token_ms - (timings.queue_ms or 0)


def tokens_per_second(answer: Candidate) -> float | None:
    """None where it isn't known, or no number that JSON has."""
    tokens, ms = answer.usage.completion_tokens, answer.timings.generation_ms
    rate = tokens / ms * 1000 if tokens and ms else math.nan
    return rate if math.isfinite(rate) else None


def _median(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None
