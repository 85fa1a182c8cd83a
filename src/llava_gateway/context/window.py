"""Which turns of a conversation the model is told when not all of them fit: what stays, what goes, and in which steps (pure).

The prompt's beginning is what the engine has in its cache, so it moves rarely: once it must, it moves by a large step, and the turns after
that only add to its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llava_gateway.chat import ImagePart, Message, Part, Policy

STEP = 0.4
"""Share of the context that one move of the window makes free."""
TRACE_TOKENS = 48
"""About what a picture's trace costs."""
MOST_TRACES = 8
"""Pictures that leave a line of their own where their turn is dropped; of all older ones one line tells."""
ASSUMED_CONTEXT = 4096
"""Tokens of context where the engine doesn't tell: what Ollama takes on a machine with little memory."""
NUM_CTX_BUCKETS = (4096, 8192, 16384, 32768)
"""The sizes a context grows to; few, because each change loads the model again."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that was answered, and the answer.

    Attributes:
        turn: its place in the session.
        parts: the question, with our notes and with what earlier turns left unanswered.
        text_tokens, image_tokens: what it costs; the second has a number for each picture in `parts`, in order.
        first_picture: the number of its first picture in the conversation, counted from 1.
    """

    turn: int
    parts: tuple[Part, ...]
    answer: str
    text_tokens: int
    image_tokens: tuple[int, ...] = ()
    first_picture: int = 1

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return Message("user", self.parts).images

    @property
    def pictures(self) -> dict[int, ImagePart]:
        """By number."""
        return dict(enumerate(self.images, self.first_picture))

    @property
    def tokens(self) -> int:
        return self.text_tokens + sum(self.image_tokens)


@dataclass(frozen=True, slots=True)
class Window:
    """What is still told. A session keeps it, so that the next turn begins as this one did.

    Attributes:
        start: exchanges before this one are left out, but for those whose pictures stay.
        gone: numbers of pictures that are left out although the policy would keep them, because there is no room.
        anchored: the exchange at which pictures were last called back to mind; 0 for never.
        summary: what stands in place of the text that was dropped; "" for nothing.
        traces: how many of the pictures that went with their turn, the newest, leave a line of their own.
    """

    start: int = 0
    gone: frozenset[int] = frozenset()
    anchored: int = 0
    summary: str = ""
    traces: int = MOST_TRACES


@dataclass(frozen=True, slots=True)
class Rules:
    """How a window is chosen: the policy, and by image id which pictures a person pinned (True) or let go (False)."""

    policy: Policy = "pin_images"
    pins: Mapping[str, bool] | None = None

    def stays(self, image_id: str) -> bool:
        """Whether a picture outlives the text around it."""
        pinned = (self.pins or {}).get(image_id)
        return self.policy != "sliding" if pinned is None else pinned

    def may_go(self, image_id: str) -> bool:
        """Whether it may be dropped where there is no room otherwise."""
        return not (self.pins or {}).get(image_id, False)


class DoesNotFit(Exception):
    """`over`: tokens there are too many, with all dropped that may be."""

    def __init__(self, over: int) -> None:
        super().__init__(over)
        self.over = over


def shown(exchange: Exchange, index: int, window: Window, rules: Rules) -> frozenset[int]:
    """The numbers of its pictures that are told."""
    return frozenset(
        number
        for number, part in exchange.pictures.items()
        if number not in window.gone and (index >= window.start or rules.stays(part.image_id))
    )


def is_told(exchange: Exchange, index: int, window: Window, rules: Rules) -> bool:
    """Whether an exchange is told at all."""
    return index >= window.start or bool(shown(exchange, index, window, rules))


def cost(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> int:
    """Tokens of what is told of the exchanges, with the traces of the pictures that are not."""
    tokens = untold = 0
    for index, exchange in enumerate(exchanges):
        visible = shown(exchange, index, window, rules)
        hidden = len(exchange.image_tokens) - len(visible)
        if is_told(exchange, index, window, rules):
            tokens += exchange.text_tokens + TRACE_TOKENS * hidden
            tokens += sum(exchange.image_tokens[number - exchange.first_picture] for number in visible)
        else:
            untold += hidden
    return tokens + TRACE_TOKENS * (min(untold, window.traces) + (untold > window.traces))


def choose(exchanges: Sequence[Exchange], window: Window, rules: Rules, *, budget: int, context: int) -> Window:
    """The window with which the exchanges cost at most `budget` tokens: the same one while that holds, else one a large step further.

    Oldest text goes first; pictures that stay keep their question and answer. Pictures go, oldest first, only where all text is gone.

    Args:
        budget: tokens for the exchanges: the context without the answer's room, the system prompt and the question.
        context: tokens that the conversation may take in all; a step is a share of it.

    Raises DoesNotFit: under the policy strict as soon as anything would have to go, else when nothing more may.
    """
    over = cost(exchanges, window, rules) - budget
    if over <= 0:
        return window
    if rules.policy == "strict":
        raise DoesNotFit(over)
    window = replace(window, traces=MOST_TRACES)
    target = max(0, budget - int(STEP * context))
    for start in range(window.start + 1, len(exchanges)):
        moved = replace(window, start=start)
        if cost(exchanges, moved, rules) <= target:
            return moved
    # So many pictures stay that a whole step can't be made. Keep the last exchange, if it fits, and drop all other text.
    for start in (len(exchanges) - 1, len(exchanges)):
        moved = replace(window, start=max(window.start, start))
        if cost(exchanges, moved, rules) <= budget:
            return moved
    return _without_pictures(exchanges, replace(window, start=len(exchanges)), rules, budget)


def _without_pictures(exchanges: Sequence[Exchange], window: Window, rules: Rules, budget: int) -> Window:
    for index, exchange in enumerate(exchanges):
        for number in sorted(shown(exchange, index, window, rules)):
            if rules.may_go(exchange.pictures[number].image_id):
                window = replace(window, gone=window.gone | {number})
                if cost(exchanges, window, rules) <= budget:
                    return window
    window = replace(window, traces=0)
    if cost(exchanges, window, rules) <= budget:
        return window
    raise DoesNotFit(cost(exchanges, window, rules) - budget)


def later(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> tuple[Window, ...]:
    """The windows that come after this one while ever more must go, each with as little less as can be; none under the policy strict."""
    if rules.policy == "strict":
        return ()
    found = [replace(window, start=start) for start in range(window.start + 1, len(exchanges) + 1)]
    last = found[-1] if found else window
    for index, exchange in enumerate(exchanges):
        for number in sorted(shown(exchange, index, last, rules)):
            if rules.may_go(exchange.pictures[number].image_id):
                last = replace(last, gone=last.gone | {number})
                found.append(last)
    return tuple(found)


def answer_room(num_predict: int | None, default: int, limit: int) -> int:
    """Tokens kept free for the answer: as many as it may have, else the default, but never more than half (an eighth) of the context."""
    return min(num_predict, limit // 2) if num_predict and num_predict > 0 else min(default, limit // 8)


def num_ctx_needed(tokens: int) -> int:
    """The smallest num_ctx for so many tokens: llama.cpp rounds contexts up to a multiple of 256."""
    return -(-tokens // 256) * 256


def bucket(tokens: int) -> int:
    """The num_ctx for so many tokens."""
    return next((size for size in NUM_CTX_BUCKETS if tokens <= size), -(-tokens // 4096) * 4096)
