"""Keep users' votes for the best of several answers to one question, with the metrics of each answer; newest only (pure)."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from llava_gateway.chat import JSON, Detail, Timings, Usage

MAX_VOTES = 200
MAX_TEXT_CHARS = 20_000
"""Most characters to keep of an answer or a question."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the answers with the settings of its request; `answer` has at most MAX_TEXT_CHARS."""

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
    """A comparison of candidates and its result.

    Attributes:
        at: time of the vote.
        prompt: the question, at most MAX_TEXT_CHARS of it.
        images: ids of its images; the images may have been evicted.
        candidates: the answers that were compared.
        best: index of the best candidate; None for a tie.
    """

    at: datetime
    prompt: str
    images: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    best: int | None

    def to_json(self) -> JSON:
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, value: JSON) -> Vote:
        """Build the vote from `to_json`. Raises KeyError, TypeError, ValueError for anything else."""
        candidates = tuple(
            Candidate(**{**each, "timings": Timings(**each["timings"]), "usage": Usage(**each["usage"])}) for each in value["candidates"]
        )
        at = datetime.fromisoformat(value["at"])
        return cls(**{**value, "at": at, "images": tuple(value["images"]), "candidates": candidates})


@dataclass(frozen=True, slots=True)
class Standing:
    """The results of one model. A comparison in which the model answered twice counts once.

    Attributes:
        compared: number of comparisons with this model.
        best: number of comparisons that it won.
        ties: number of comparisons that ended in a tie.
        first_word_ms: median time to the first word in milliseconds, without the time in the queue; None if unknown.
        tokens_per_second: median speed; None if unknown.
    """

    model: str
    compared: int
    best: int
    ties: int
    first_word_ms: float | None
    tokens_per_second: float | None


class Votes:
    """The newest MAX_VOTES votes; older ones are dropped."""

    def __init__(self, votes: Iterable[Vote] = ()) -> None:
        self._kept: deque[Vote] = deque(votes, maxlen=MAX_VOTES)

    def __iter__(self) -> Iterator[Vote]:
        """Iterate over the votes, newest first."""
        return reversed(self._kept)

    def add(self, vote: Vote) -> None:
        self._kept.append(vote)

    def clear(self) -> None:
        self._kept.clear()

    def tally(self) -> tuple[Standing, ...]:
        """Return the standing of every model, sorted by wins."""
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
    """Return the milliseconds from the end of the queue to the first word; None if unknown."""
    return None if timings.first_token_ms is None else timings.first_token_ms - (timings.queue_ms or 0)


def tokens_per_second(answer: Candidate) -> float | None:
    """Return the generation speed; None if it is unknown or not a finite number, which JSON can't hold."""
    tokens, ms = answer.usage.completion_tokens, answer.timings.generation_ms
    rate = tokens / ms * 1000 if tokens and ms else math.nan
    return rate if math.isfinite(rate) else None


def _median(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None
