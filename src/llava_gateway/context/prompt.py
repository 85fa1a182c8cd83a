"""Write a conversation as the messages to send: instructions, the part of the history that the window shows, and the question (pure).

A single first image has no number. From the second image on, or if a question has several images, a number stands before each image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from llava_gateway.chat import Message
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Exchange, Rules, Window, is_sent, shown
from llava_gateway.context.words import (
    anchor,
    image_label,
    image_trace,
    is_chinese,
    language_of,
    older_images,
    summary_note,
)
from llava_gateway.parts import ImagePart, Part, TextPart

TYPICAL_IMAGE = 576
"""Assumed tokens of an image with an unknown cost: those of LLaVA."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole conversation, before a window is chosen.

    Attributes:
        head: the instructions at the beginning, which are always sent.
        exchanges: the answered questions with their answers.
        question: the messages of the current question, from the last message by the user on; tool calls and results and the beginning of
            the answer may follow it.
        language: whether the person who set the conversation up uses Chinese; None if unknown.
    """

    head: tuple[Message, ...]
    exchanges: tuple[Exchange, ...]
    question: tuple[Message, ...]
    language: bool | None = None

    @classmethod
    def of(cls, messages: Sequence[Message], cost: Callable[[ImagePart], int | None], scale: Scale) -> Conversation:
        """Build a conversation from all the messages that a client sent.

        Args:
            messages: at least one, in any order of roles.
            cost: returns the tokens of an image; None if unknown.
            scale: estimates the tokens of the text.
        """
        groups = list(_groups(messages))
        head = groups.pop(0) if groups[0][0].role == "system" and all(message.role == "system" for message in groups[0]) else ()
        exchanges: list[Exchange] = []
        first = 1
        for turn, group in enumerate(groups[:-1]):
            images = tuple(cost(part) or TYPICAL_IMAGE for message in group for part in message.images)
            text, size = (sum(one.message(message.prompt_text) for message in group) for one in (scale, Scale()))
            exchanges.append(Exchange(turn, group, text, images, first, text_size=size))
            first += len(images)
        return cls(head, tuple(exchanges), groups[-1] if groups else ())

    def upto(self, turn: int, ends: int) -> Conversation:
        """Return the conversation as it was at an earlier moment: its question is the first `ends` messages of the exchange `turn`.

        A `turn` equal to the number of exchanges stands for the current question.
        """
        messages = self.question if turn == len(self.exchanges) else self.exchanges[turn].messages
        return replace(self, exchanges=self.exchanges[:turn], question=messages[:ends])

    def with_question(self, *parts: Part) -> Conversation:
        """Return the conversation with `parts` added to the question, as one message by the user; unanswered parts come first."""
        before = tuple(part for message in self.question for part in message.parts)
        return replace(self, question=(Message("user", before + parts),))

    def with_sights(self, seen: Callable[[ImagePart], ImagePart]) -> Conversation:
        """Return the conversation with `seen` applied to each image, which sets how much of it is shown."""

        def changed(message: Message) -> Message:
            return replace(message, parts=tuple(seen(part) if isinstance(part, ImagePart) else part for part in message.parts))

        exchanges = tuple(replace(exchange, messages=tuple(map(changed, exchange.messages))) for exchange in self.exchanges)
        return replace(self, exchanges=exchanges, question=tuple(map(changed, self.question)))

    @property
    def first_image(self) -> int:
        """The number of the question's first image."""
        return 1 + sum(len(exchange.images) for exchange in self.exchanges)

    @property
    def question_images(self) -> tuple[ImagePart, ...]:
        """The images of the question."""
        return tuple(part for message in self.question for part in message.images)

    @property
    def question_text(self) -> str:
        """The text of the question, including our notes."""
        return "\n".join(message.text for message in self.question)

    @property
    def instructions(self) -> str:
        return "\n\n".join(message.text for message in self.head)

    def messages(self, window: Window, rules: Rules) -> tuple[Message, ...]:
        """Write the messages to send."""
        sent: list[Message] = list(self.head)
        notes = self._notes(window, rules)
        visible = [shown(exchange, index, window, rules) for index, exchange in enumerate(self.exchanges)]
        sent_images = frozenset().union(*visible)
        for index, exchange in enumerate(self.exchanges):
            if index < window.start and not visible[index]:
                sent += exchange.instructions
                continue
            written = list(exchange.messages)
            if exchange.images:  # only these get words of ours, and detecting the language of every question would be slow
                writer = _Writer(rules, exchange.first_image, visible[index], exchange.answer, chinese=bool(self._chinese(index)))
                written = list(map(writer.message, exchange.messages))
            if index >= window.start:
                written, notes = _begun_with(notes, written), ()
            sent += (_without_recalls(message, sent_images) for message in written)
        question = list(self.question)
        if images := self.question_images:
            asked = frozenset(range(self.first_image, self.first_image + len(images))) - window.gone
            writer = _Writer(rules, self.first_image, asked, chinese=self._asks_in_chinese())
            question = list(map(writer.message, self.question))
        return (*sent, *_begun_with(notes, question))

    def _chinese(self, index: int) -> bool | None:
        """Return whether the question of an exchange is Chinese; a question without letters has the language of the one before it."""
        for place in range(index, -1, -1):
            if (own := language_of(self.exchanges[place].user_text)) is not None:
                return own
        return self.language

    def _asks_in_chinese(self) -> bool:
        """Return whether the question is Chinese, by its words or else by earlier questions, so that it can be read ahead of its words."""
        words = "\n".join(message.text_without_notes for message in self.question if message.role == "user")
        own = language_of(words)
        before = self._chinese(len(self.exchanges) - 1) if own is None else own
        return "。" in words if before is None else before  # read-ahead of a question without words may at least have its punctuation

    def _notes(self, window: Window, rules: Rules) -> tuple[TextPart, ...]:
        """Return the notes that replace the dropped text; they stand behind the images that stay, which the engine thus keeps cached."""
        if not window.start or not rules.annotate:
            return ()
        lines = [summary_note(window.summary)] if window.summary else []
        unsent: list[tuple[int, str, bool]] = []
        for index, exchange in enumerate(self.exchanges[: window.start]):
            if exchange.images and not is_sent(exchange, index, window, rules):  # a sent exchange has the traces in its own message
                chinese = bool(self._chinese(index))
                unsent += [(number, exchange.answer, chinese) for number in exchange.numbered_images]
        own = unsent[max(0, len(unsent) - window.traces) :]
        if older := len(unsent) - len(own):
            _, description, chinese = unsent[-1]
            lines.append(older_images(older, chinese=bool(language_of(description)) or (language_of(description) is None and chinese)))
        lines += [image_trace(number, text, chinese=chinese) for number, text, chinese in own]
        return tuple(TextPart(line, note=True) for line in lines)


def _groups(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """Yield the messages in groups that are sent or dropped together.

    A group starts at a message by the user that follows no other message by the user. Instructions at the beginning, and an answer before
    the first question, are groups of their own.
    """
    group: list[Message] = []
    for message in messages:
        begins = message.role == "user" and group and group[-1].role != "user" and any(one.role != "system" for one in group)
        leaves_head = group and group[-1].role == "system" and message.role != "system" and all(one.role == "system" for one in group)
        if group and (begins or (leaves_head and group[0] is messages[0])):
            yield tuple(group)
            group = []
        group.append(message)
    if group:
        yield tuple(group)


def _begun_with(notes: tuple[TextPart, ...], messages: list[Message]) -> list[Message]:
    """Put notes at the beginning of the first message by the user."""
    for place, message in enumerate(messages):
        if notes and message.role == "user":
            return [*messages[:place], replace(message, parts=(*notes, *message.parts)), *messages[place + 1 :]]
    return messages


MOST_ANCHORS = 4


def anchors(conversation: Conversation, window: Window, rules: Rules, after: int) -> tuple[TextPart, ...]:
    """Return notes for the question that remind the model of images further up.

    They are due once more than `after` tokens of conversation follow the last image that is sent, or the last such notes. Returns no
    notes if the question has its own images or `after` is 0.
    """
    if not after or not rules.annotate or conversation.question_images:
        return ()
    images: list[tuple[int, str]] = []
    last = 0
    for index, exchange in enumerate(conversation.exchanges):
        if visible := shown(exchange, index, window, rules):
            images += [(number, exchange.answer) for number in sorted(visible)]
            last = index + 1
        if any(isinstance(part, TextPart) and part.recalls is not None for message in exchange.messages for part in message.parts):
            last = index  # this question was asked with notes; only the conversation from here on counts
    behind = enumerate(conversation.exchanges[last:], last)
    if not images or sum(exchange.tokens for index, exchange in behind if is_sent(exchange, index, window, rules)) <= after:
        return ()
    chinese = is_chinese("\n".join(message.text_without_notes for message in conversation.question))
    return tuple(TextPart(anchor(number, text, chinese=chinese), note=True, recalls=number) for number, text in images[-MOST_ANCHORS:])


def _without_recalls(message: Message, visible: frozenset[int]) -> Message:
    """Remove the notes that recall an image which is no longer sent."""
    kept = tuple(part for part in message.parts if not (isinstance(part, TextPart) and part.recalls not in (None, *visible)))
    return message if len(kept) == len(message.parts) else replace(message, parts=kept)


class _Writer:
    """Writes the messages of one exchange and counts its images: a number before each visible image, a trace in place of the others."""

    def __init__(self, rules: Rules, first: int, visible: frozenset[int], description: str = "", *, chinese: bool = False) -> None:
        self._rules = rules
        self._number = first
        self._visible = visible
        self._description = description
        self._chinese = chinese

    def message(self, message: Message) -> Message:
        if not message.images:
            return message
        annotate = self._rules.annotate
        parts = labelled(message.parts, self._number, self._visible, self._description, chinese=self._chinese, annotate=annotate)
        self._number += len(message.images)
        return replace(message, parts=parts)


def labelled(
    parts: Sequence[Part], first: int, visible: frozenset[int], description: str = "", *, chinese: bool = False, annotate: bool = True
) -> tuple[Part, ...]:
    """Put a number before each visible image and a trace in place of the others.

    Without `annotate`, add neither, except a trace where the message would be empty.

    Args:
        first: number of the first image.
        visible: numbers of the images that are sent.
        description: what the model said about the images, for the traces.
        chinese: whether the question is Chinese.
    """
    several = sum(isinstance(part, ImagePart) for part in parts) > 1
    sent: list[Part] = []
    number = first
    for part in parts:
        if not isinstance(part, ImagePart):
            sent.append(part)
            continue
        if number not in visible:
            if annotate or len(parts) == 1:
                sent.append(TextPart(image_trace(number, description, chinese=chinese), note=True))
        else:
            if annotate and (several or number > 1):
                sent.append(TextPart(image_label(number, chinese=chinese), note=True))
            sent.append(part)
        number += 1
    return tuple(sent)
