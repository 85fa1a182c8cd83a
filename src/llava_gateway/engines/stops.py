"""Ends an answer at the first of its stop texts, for engines that don't tell which one ended it (pure)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from llava_gateway.chat import EngineEvent, Finish, TextDelta, Usage


async def ended_at(events: AsyncGenerator[EngineEvent], stops: Sequence[str]) -> AsyncGenerator[EngineEvent]:
    """Forward the events of an answer up to the first stop text in its words, and end there.

    Holds back words that may be the beginning of a stop text. The engine is stopped in the middle of its answer, so of the usage only the
    number of pieces is known, which is about that of the tokens.
    """
    held = TextDelta("")
    pieces = 0
    async with aclosing(events):
        async for event in events:
            if not isinstance(event, TextDelta):
                if held.text:
                    yield held
                    held = TextDelta("")
                yield event
                continue
            pieces += 1
            text = held.text + event.text
            if found := _first(text, stops):
                place, stop = found
                if place:
                    yield replace(event, text=text[:place])
                yield Finish("stop", Usage(completion_tokens=pieces), stop=stop)
                return
            kept = _held(text, stops)
            if said := text[: len(text) - kept]:
                yield replace(event, text=said)
            held = replace(event, text=text[len(text) - kept :])


def _first(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Return the place of the stop text that begins first, and that text; of several there, the longest."""
    found = [(place, -len(stop), stop) for stop in stops if (place := text.find(stop)) >= 0]
    if not found:
        return None
    place, _, stop = min(found)
    return place, stop


def _held(text: str, stops: Sequence[str]) -> int:
    """Return the length of the longest end of a text with which a stop text begins."""
    longest = max(map(len, stops), default=1)
    return next((size for size in range(min(longest - 1, len(text)), 0, -1) if any(stop.startswith(text[-size:]) for stop in stops)), 0)
