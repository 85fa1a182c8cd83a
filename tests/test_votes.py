"""Votes are kept up to a maximum number, and counted by model."""

from __future__ import annotations

from datetime import UTC, datetime

from llava_gateway.chat import Timings, Usage
from llava_gateway.votes import MAX_VOTES, Candidate, Vote, Votes

NOW = datetime(2026, 5, 14, tzinfo=UTC)


def answer(
    model: str, *, queue_ms: float = 0, first_ms: float | None = None, tokens: int | None = None, ms: float | None = None
) -> Candidate:
    timings = Timings(queue_ms=queue_ms, first_token_ms=first_ms, generation_ms=ms)
    return Candidate(model, "ollama", "It is red.", timings=timings, usage=Usage(completion_tokens=tokens))


def vote(best: int | None, *candidates: Candidate, prompt: str = "What?") -> Vote:
    return Vote(NOW, prompt, (), candidates, best)


def test_the_tally_counts_by_model_and_takes_the_queue_out_of_the_first_word() -> None:
    votes = Votes()
    votes.add(vote(1, answer("small", first_ms=100, tokens=10, ms=500), answer("large", queue_ms=400, first_ms=1000, tokens=10, ms=2000)))
    votes.add(vote(None, answer("small", first_ms=300), answer("large", queue_ms=100, first_ms=900, tokens=30, ms=2000)))
    votes.add(vote(0, answer("large", first_ms=700), answer("large", first_ms=700)))
    large, small = votes.tally()
    assert (large.model, large.compared, large.best, large.ties) == ("large", 3, 2, 1)
    assert (large.first_word_ms, large.tokens_per_second) == (700, 10)
    assert (small.model, small.compared, small.best, small.ties) == ("small", 2, 0, 1)
    assert (small.first_word_ms, small.tokens_per_second) == (200, 20)


def test_what_no_engine_told_is_no_figure() -> None:
    votes = Votes()
    votes.add(vote(0, answer("one"), answer("other")))
    assert [(s.model, s.first_word_ms, s.tokens_per_second) for s in votes.tally()] == [("one", None, None), ("other", None, None)]


def test_a_speed_beyond_all_numbers_is_no_figure() -> None:
    votes = Votes()
    votes.add(vote(0, answer("one", tokens=2**40, ms=1e-320), answer("other", tokens=8, ms=1000)))
    assert [(standing.model, standing.tokens_per_second) for standing in votes.tally()] == [("one", None), ("other", 8)]


def test_the_oldest_go_and_all_can_be_forgotten() -> None:
    votes = Votes()
    for number in range(MAX_VOTES + 2):
        votes.add(vote(0, answer("one"), answer("other"), prompt=str(number)))
    prompts = [kept.prompt for kept in votes]
    assert (len(prompts), prompts[0], prompts[-1]) == (MAX_VOTES, str(MAX_VOTES + 1), "2")
    votes.clear()
    assert (list(votes), votes.tally()) == ([], ())
