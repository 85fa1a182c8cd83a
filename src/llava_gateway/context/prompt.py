"""Writes a conversation down as the messages that a model is sent: instructions, what the window shows of the history, the question (pure).

The first image stands alone as it always did; from the second on, or where a question has several, each has its number before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from llava_gateway.chat import ImagePart, Message, Part, TextPart
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

TYPICAL_IMAGE = 576
"""Tokens of an image whose cost nobody knows: LLaVA's."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All there is to send.

    Attributes:
        head: what stands before everything else and is always sent: the instructions.
        exchanges: what was asked and answered before.
        question: what is asked now, from the last message by the user on: after it there may be calls and results of tools, and the
            beginning of the answer.
        language: of the person who set the conversation up, where that is known: whether it is Chinese.
    """

    head: tuple[Message, ...]
    exchanges: tuple[Exchange, ...]
    question: tuple[Message, ...]
    language: bool | None = None

    @classmethod
    def of(cls, messages: Sequence[Message], cost: Callable[[ImagePart], int | None], scale: Scale) -> Conversation:
        """A conversation that a client sent as a whole.

        Args:
            messages: at least one, in any order of roles.
            cost: tokens of an image; None where they are not known.
            scale: by which the tokens of the text are estimated.
        """
        groups = list(_groups(messages))
        head = groups.pop(0) if groups[0][0].role == "system" and all(message.role == "system" for message in groups[0]) else ()
        exchanges: list[Exchange] = []
        first = 1
        for turn, group in enumerate(groups[:-1]):
            images = tuple(cost(part) or TYPICAL_IMAGE for message in group for part in message.images)
            text, size = (sum(one.message(message.written) for message in group) for one in (scale, Scale()))
            exchanges.append(Exchange(turn, group, text, images, first, text_size=size))
            first += len(images)
        return cls(head, tuple(exchanges), groups[-1] if groups else ())

    def upto(self, turn: int, ends: int) -> Conversation:
        """As it was when the first `ends` messages of this exchange (or of the question, which comes after the last) were asked."""
        messages = self.question if turn == len(self.exchanges) else self.exchanges[turn].messages
        return replace(self, exchanges=self.exchanges[:turn], question=messages[:ends])

    def asking(self, *parts: Part) -> Conversation:
        """With further parts at the end of the question's message by the user: what was left unanswered comes first."""
        before = tuple(part for message in self.question for part in message.parts)
        return replace(self, question=(Message("user", before + parts),))

    def with_sights(self, seen: Callable[[ImagePart], ImagePart]) -> Conversation:
        """With how much of each image is shown from now on."""

        def changed(message: Message) -> Message:
            return replace(message, parts=tuple(seen(part) if isinstance(part, ImagePart) else part for part in message.parts))

        exchanges = tuple(replace(exchange, messages=tuple(map(changed, exchange.messages))) for exchange in self.exchanges)
        return replace(self, exchanges=exchanges, question=tuple(map(changed, self.question)))

    @property
    def first_image(self) -> int:
        """The number of the question's first image."""
        return 1 + sum(len(exchange.images) for exchange in self.exchanges)

    @property
    def asked_images(self) -> tuple[ImagePart, ...]:
        """The images of the question."""
        return tuple(part for message in self.question for part in message.images)

    @property
    def asked_text(self) -> str:
        """The words of the question, our notes among them."""
        return "\n".join(message.text for message in self.question)

    @property
    def instructions(self) -> str:
        return "\n\n".join(message.text for message in self.head)

    def messages(self, window: Window, rules: Rules) -> tuple[Message, ...]:
        """What is sent."""
        sent: list[Message] = list(self.head)
        notes = self._notes(window, rules)
        visible = [shown(exchange, index, window, rules) for index, exchange in enumerate(self.exchanges)]
        sent_images = frozenset().union(*visible)
        for index, exchange in enumerate(self.exchanges):
            if index < window.start and not visible[index]:
                sent += exchange.instructions
                continue
            written = list(exchange.messages)
            if exchange.images:  # only these have words of ours: to look at the language of every question would take long
                writer = _Writer(rules, exchange.first_image, visible[index], exchange.answer, chinese=bool(self._chinese(index)))
                written = list(map(writer.message, exchange.messages))
            if index >= window.start:
                written, notes = _begun_with(notes, written), ()
            sent += (_without_recalls(message, sent_images) for message in written)
        question = list(self.question)
        if images := self.asked_images:
            asked = frozenset(range(self.first_image, self.first_image + len(images))) - window.gone
            writer = _Writer(rules, self.first_image, asked, chinese=self._asks_in_chinese())
            question = list(map(writer.message, self.question))
        return (*sent, *_begun_with(notes, question))

    def _chinese(self, index: int) -> bool | None:
        """Whether what is asked at an exchange is Chinese; one without letters is as what was said before it."""
        for place in range(index, -1, -1):
            if (own := language_of(self.exchanges[place].asked)) is not None:
                return own
        return self.language

    def _asks_in_chinese(self) -> bool:
        """Whether the question is, by its words or else by what was said before it, so that it can be read ahead of its words."""
        words = "\n".join(message.asked for message in self.question if message.role == "user")
        own = language_of(words)
        before = self._chinese(len(self.exchanges) - 1) if own is None else own
        return "。" in words if before is None else before  # one that is still to be typed may at least be ended in its language

    def _notes(self, window: Window, rules: Rules) -> tuple[TextPart, ...]:
        """What stands where the text that was dropped stood: behind the images that stay, so that those need not be read again."""
        if not window.start or not rules.annotate:
            return ()
        lines = [summary_note(window.summary)] if window.summary else []
        unsent: list[tuple[int, str, bool]] = []
        for index, exchange in enumerate(self.exchanges[: window.start]):
            if exchange.images and not is_sent(exchange, index, window, rules):  # of the others, the traces stand in their own message
                chinese = bool(self._chinese(index))
                unsent += [(number, exchange.answer, chinese) for number in exchange.numbered_images]
        own = unsent[max(0, len(unsent) - window.traces) :]
        if older := len(unsent) - len(own):
            _, description, chinese = unsent[-1]
            lines.append(older_images(older, chinese=bool(language_of(description)) or (language_of(description) is None and chinese)))
        lines += [image_trace(number, told, chinese=chinese) for number, told, chinese in own]
        return tuple(TextPart(line, note=True) for line in lines)


def _groups(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """What belongs together: a message by the user that follows no other, up to the next one. Instructions before the first such message,
    and an answer that stands before any question, are groups of their own."""
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
    """The messages with notes at the beginning of the first one by the user."""
    for place, message in enumerate(messages):
        if notes and message.role == "user":
            return [*messages[:place], replace(message, parts=(*notes, *message.parts)), *messages[place + 1 :]]
    return messages


MOST_ANCHORS = 4


def anchors(conversation: Conversation, window: Window, rules: Rules, after: int) -> tuple[TextPart, ...]:
    """Lines beside the question that call the images that are sent back to mind, once more than `after` tokens of talk lie behind the last
    of them or behind the last such lines. None where the question has images of its own, or `after` is 0."""
    if not after or not rules.annotate or conversation.asked_images:
        return ()
    images: list[tuple[int, str]] = []
    last = 0
    for index, exchange in enumerate(conversation.exchanges):
        if visible := shown(exchange, index, window, rules):
            images += [(number, exchange.answer) for number in sorted(visible)]
            last = index + 1
        if any(isinstance(part, TextPart) and part.recalls is not None for message in exchange.messages for part in message.parts):
            last = index  # its own question was asked with them; what came after it counts
    behind = enumerate(conversation.exchanges[last:], last)
    if not images or sum(exchange.tokens for index, exchange in behind if is_sent(exchange, index, window, rules)) <= after:
        return ()
    chinese = is_chinese("\n".join(message.asked for message in conversation.question))
    return tuple(TextPart(anchor(number, told, chinese=chinese), note=True, recalls=number) for number, told in images[-MOST_ANCHORS:])


def _without_recalls(message: Message, visible: frozenset[int]) -> Message:
    """A message without lines of an earlier turn about an image that was sent then, and is not any more."""
    kept = tuple(part for part in message.parts if not (isinstance(part, TextPart) and part.recalls not in (None, *visible)))
    return message if len(kept) == len(message.parts) else replace(message, parts=kept)


class _Writer:
    """Writes the messages of one exchange, counting its images: a number before each, a trace in place of those that are not visible."""

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
    """The parts with a number before each image, and a trace in place of those that are not visible; without `annotate` neither, but for
    a message that would be empty."""
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
