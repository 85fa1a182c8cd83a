"""An answer ends at the first of its stop texts, however the words arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from llava_gateway.chat import EngineEvent, Finish, ReasoningDelta, TextDelta, ToolCall, Usage
from llava_gateway.engines.stops import ended_at

END = Finish("length", Usage(9, 5))


class Answer:
    """An engine's answer, which knows how far it was read and whether it was closed."""

    def __init__(self, *events: EngineEvent) -> None:
        self._events = events
        self.read = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[EngineEvent]:
        try:
            for event in self._events:
                self.read += 1
                yield event
        finally:
            self.closed = True


async def ended(answer: Answer, *stops: str) -> tuple[list[str], EngineEvent]:
    """Return the words, piece by piece, and the last event."""
    *words, last = [event async for event in ended_at(answer(), stops)]
    assert answer.closed
    return [event.text for event in words if isinstance(event, TextDelta)], last


@pytest.mark.parametrize(
    ("pieces", "stops", "words", "stop"),
    [
        (("a", "END", "b"), ("END",), ["a"], "END"),
        (("aE", "N", "Db"), ("END",), ["a"], "END"),
        (("aENDb",), ("END",), ["a"], "END"),
        (("END",), ("END",), [], "END"),
        (("one two",), ("two", "one"), [], "one"),
        (("a\n", "\nb"), ("\n\n", "\n"), ["a"], "\n"),
        (("abcd",), ("bc", "b", "bcd"), ["a"], "bcd"),
        (("aEN", "x"), ("END",), ["a", "ENx"], None),
        (("EEN", "D"), ("END",), ["E"], "END"),
        (("aE",), ("END",), ["a", "E"], None),
        (("a", "b"), ("END", "x"), ["a", "b"], None),
    ],
)
async def test_the_first_stop_text_ends_the_answer(
    pieces: tuple[str, ...], stops: tuple[str, ...], words: list[str], stop: str | None
) -> None:
    answer = Answer(*map(TextDelta, pieces), END)
    found, last = await ended(answer, *stops)
    assert found == words
    if stop is None:
        assert last == END
    else:
        assert last == Finish("stop", Usage(completion_tokens=min(answer.read, len(pieces))), stop=stop)


async def test_other_events_come_after_the_words_before_them() -> None:
    call = ToolCall("1", "look", "{}")
    events = [event async for event in ended_at(Answer(ReasoningDelta("END"), TextDelta("aEN"), call, END)(), ("END",))]
    assert events == [ReasoningDelta("END"), TextDelta("a"), TextDelta("EN"), call, END]
