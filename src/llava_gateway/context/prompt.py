"""Writes a conversation down as the messages that a model is told: system prompt, what the window shows of the turns, the question (pure).

The first picture stands alone as it always did; from the second on, or where a question has several, each has its number before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llava_gateway.chat import ImagePart, Message, Part, TextPart
from llava_gateway.context.window import Exchange, Rules, Window, is_told, shown
from llava_gateway.context.words import (
    anchor,
    anchored,
    glossary_note,
    is_chinese,
    language_of,
    older_pictures,
    picture_label,
    picture_trace,
    summary_note,
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """All there is to tell.

    Attributes:
        glossary: lines about names and terms.
        question: the parts of what is asked now, with what earlier turns left unanswered before it.
    """

    system: str
    glossary: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    question: tuple[Part, ...]

    @property
    def first_picture(self) -> int:
        """The number of the question's first picture."""
        return 1 + sum(len(exchange.images) for exchange in self.exchanges)

    @property
    def instructions(self) -> str:
        """What the system message says: the system prompt, and the glossary."""
        return "\n\n".join(filter(None, (self.system, glossary_note(self.glossary) if self.glossary else "")))

    def messages(self, window: Window, rules: Rules) -> tuple[Message, ...]:
        """What is told."""
        told: list[Message] = []
        if self.instructions:
            told.append(Message("system", (TextPart(self.instructions),)))
        notes = self._notes(window, rules)
        visible = [shown(exchange, index, window, rules) for index, exchange in enumerate(self.exchanges)]
        told_pictures = frozenset().union(*visible)
        chinese = language_of(self.system)
        for index, exchange in enumerate(self.exchanges):
            chinese = _language(exchange.parts, chinese)
            if not is_told(exchange, index, window, rules):
                continue
            before: tuple[Part, ...] = ()
            if index >= window.start:
                before, notes = notes, ()
            parts = labelled(exchange.parts, exchange.first_picture, visible[index], exchange.answer, chinese=bool(chinese))
            parts = tuple(part for part in parts if not _recalls_what_is_gone(part, told_pictures))
            told += [Message("user", before + parts), Message("assistant", (TextPart(exchange.answer),))]
        asked = frozenset(range(self.first_picture, self.first_picture + len(self.question))) - window.gone
        chinese = _language(self.question, chinese)
        if chinese is None:  # a question that is still to be typed may at least be ended in its language
            chinese = "。" in Message("user", self.question).asked
        return (*told, Message("user", notes + labelled(self.question, self.first_picture, asked, chinese=chinese)))

    def _notes(self, window: Window, rules: Rules) -> tuple[TextPart, ...]:
        """What stands where the text that was dropped stood: behind the pictures that stay, so that those need not be read again."""
        if not window.start:
            return ()
        lines = [summary_note(window.summary)] if window.summary else []
        untold: list[tuple[int, str, bool]] = []
        chinese = language_of(self.system)
        for index, exchange in enumerate(self.exchanges[: window.start]):
            chinese = _language(exchange.parts, chinese)
            if not is_told(exchange, index, window, rules):  # of the others, the traces stand in their own message
                untold += [(number, exchange.answer, bool(chinese)) for number in exchange.pictures]
        own = untold[max(0, len(untold) - window.traces) :]
        if older := len(untold) - len(own):
            _, description, chinese = untold[-1]
            lines.append(older_pictures(older, chinese=bool(language_of(description)) or (language_of(description) is None and chinese)))
        lines += [picture_trace(number, told, chinese=chinese) for number, told, chinese in own]
        return tuple(TextPart(line, note=True) for line in lines)


MOST_ANCHORS = 4


def anchors(conversation: Conversation, window: Window, rules: Rules, after: int) -> tuple[TextPart, ...]:
    """Lines beside the question that call the told pictures back to mind, once more than `after` tokens of talk lie behind the last of them
    or behind the last such lines. None where the question has pictures of its own, or `after` is 0."""
    if not after or Message("user", conversation.question).images:
        return ()
    pictures: list[tuple[int, str]] = []
    last = window.anchored
    for index, exchange in enumerate(conversation.exchanges):
        if visible := shown(exchange, index, window, rules):
            pictures += [(number, exchange.answer) for number in sorted(visible)]
            last = max(last, index + 1)
    behind = enumerate(conversation.exchanges[last:], last)
    if not pictures or sum(exchange.tokens for index, exchange in behind if is_told(exchange, index, window, rules)) <= after:
        return ()
    chinese = is_chinese(Message("user", conversation.question).asked)
    return tuple(TextPart(anchor(number, told, chinese=chinese), note=True) for number, told in pictures[-MOST_ANCHORS:])


def _language(parts: tuple[Part, ...], before: bool | None) -> bool | None:
    """Whether a question is Chinese; one without letters is as what was said before it, so that it can be read ahead of its words."""
    own = language_of(Message("user", parts).asked)
    return before if own is None else own


def _recalls_what_is_gone(part: Part, visible: frozenset[int]) -> bool:
    """A line of an earlier turn about a picture that was told then, and is not any more."""
    if not (isinstance(part, TextPart) and part.note):
        return False
    number = anchored(part.text)
    return number is not None and number not in visible


def labelled(
    parts: Sequence[Part], first: int, visible: frozenset[int], description: str = "", *, chinese: bool = False
) -> tuple[Part, ...]:
    """The parts with a number before each picture, and a trace in place of those that are not visible."""
    several = sum(isinstance(part, ImagePart) for part in parts) > 1
    told: list[Part] = []
    number = first
    for part in parts:
        if not isinstance(part, ImagePart):
            told.append(part)
            continue
        if number not in visible:
            told.append(TextPart(picture_trace(number, description, chinese=chinese), note=True))
        else:
            if several or number > 1:
                told.append(TextPart(picture_label(number, chinese=chinese), note=True))
            told.append(part)
        number += 1
    return tuple(told)
