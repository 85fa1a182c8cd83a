"""Which turns of a conversation the model is told when not all of them fit: what stays, what goes, and in which steps (pure).

The prompt's beginning is what the engine has in its cache, so it moves rarely: once it must, it moves by a large step, and the turns after
that only add to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llava_gateway.chat import ImagePart, Message, Policy

STEP = 0.4
"""Share of the context that one move of the window makes free."""
TRACE_TOKENS = 48
"""About what an image's trace costs."""
MOST_TRACES = 8
"""Images that leave a line of their own where their turn is dropped; of all older ones one line tells."""
ASSUMED_CONTEXT = 4096
"""Tokens of context where the engine doesn't tell: what Ollama takes on a machine with little memory."""
NUM_CTX_BUCKETS = (4096, 8192, 16384, 32768)
"""The sizes a context grows to; few, because each change loads the model again."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that was answered, and the answer: messages that are sent or dropped together.

    Attributes:
        turn, turn_id: its place in the branch, and its id, which stays when other branches are gone to.
        messages: by the user, the assistant and tools, in order, with our notes and with what earlier turns left unanswered.
        text_tokens, image_tokens: what it costs as far as is known; the second has a number for each image in `messages`, in order.
        text_size: by which windows are chosen: about tokens too, but the same whatever was learned of the model meanwhile, so that the
            same history is always cut in the same places. 0: `text_tokens`.
        first_image: the number of its first image in the conversation, counted from 1.
        images: those in `messages`; kept, because windows are chosen by going over them again and again.
    """

    turn: int
    messages: tuple[Message, ...]
    text_tokens: int
    image_tokens: tuple[int, ...] = ()
    first_image: int = 1
    turn_id: int = 0
    text_size: int = 0
    images: tuple[ImagePart, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(part for message in self.messages for part in message.images))
        object.__setattr__(self, "text_size", self.text_size or self.text_tokens)

    @property
    def answer(self) -> str:
        """What the assistant said."""
        return "\n".join(message.text for message in self.messages if message.role == "assistant")

    @property
    def asked(self) -> str:
        """What the user said, without our notes."""
        return "\n".join(message.asked for message in self.messages if message.role == "user")

    @property
    def instructions(self) -> tuple[Message, ...]:
        """System messages in the middle of a conversation; they are sent also where the exchange is dropped."""
        return tuple(message for message in self.messages if message.role == "system")

    @property
    def numbered_images(self) -> dict[int, ImagePart]:
        """By number."""
        return dict(enumerate(self.images, self.first_image))

    @property
    def tokens(self) -> int:
        return self.text_tokens + sum(self.image_tokens)


@dataclass(frozen=True, slots=True)
class Window:
    """What is still told. A session keeps it, so that the next turn begins as this one did.

    Attributes:
        start: exchanges before this one are left out, but for those whose images stay.
        gone: numbers of images that are left out although the policy would keep them, because there is no room.
        summary: what stands in place of the text that was dropped; "" for nothing.
        traces: how many of the images that went with their turn, the newest, leave a line of their own.
    """

    start: int = 0
    gone: frozenset[int] = frozenset()
    summary: str = ""
    traces: int = MOST_TRACES


@dataclass(frozen=True, slots=True)
class Rules:
    """How a window is chosen, and how what it shows is written down.

    Attributes:
        policy: what goes when not everything fits.
        pins: by image id which images a person pinned (True) or let go (False).
        annotate: whether we add words of our own: numbers before images, traces of what was dropped, lines that recall an image.
    """

    policy: Policy = "pin_images"
    pins: Mapping[str, bool] | None = None
    annotate: bool = True

    @property
    def trace_tokens(self) -> int:
        """About what the trace of an image costs."""
        return TRACE_TOKENS if self.annotate else 0

    def stays(self, image_id: str) -> bool:
        """Whether an image outlives the text around it."""
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
    """The numbers of its images that are told."""
    if not exchange.images:  # as of most: this is asked of every exchange again and again
        return frozenset()
    return frozenset(
        number
        for number, part in enumerate(exchange.images, exchange.first_image)
        if number not in window.gone and (index >= window.start or rules.stays(part.image_id))
    )


def is_sent(exchange: Exchange, index: int, window: Window, rules: Rules) -> bool:
    """Whether an exchange is told at all."""
    return index >= window.start or bool(shown(exchange, index, window, rules))


def cost(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> int:
    """About the tokens of what is sent of the exchanges, with the traces of the images that are not."""
    return _cost(exchanges, window, rules).total(window, rules)


@dataclass(frozen=True, slots=True)
class _Cost:
    """`tokens` of all that is told, and how many images are `unsent` because their turn is."""

    tokens: int = 0
    unsent: int = 0

    def total(self, window: Window, rules: Rules) -> int:
        return self.tokens + rules.trace_tokens * (min(self.unsent, window.traces) + (self.unsent > window.traces))

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(self.tokens + other.tokens, self.unsent + other.unsent)

    def __sub__(self, other: _Cost) -> _Cost:
        return _Cost(self.tokens - other.tokens, self.unsent - other.unsent)


def _cost(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> _Cost:
    return sum((_cost_of(exchange, index, window, rules) for index, exchange in enumerate(exchanges)), _Cost())


def _cost_of(exchange: Exchange, index: int, window: Window, rules: Rules) -> _Cost:
    visible = shown(exchange, index, window, rules)
    hidden = len(exchange.image_tokens) - len(visible)
    if not visible and index < window.start:
        return _Cost(0, hidden)
    images = sum(exchange.image_tokens[number - exchange.first_image] for number in visible)
    return _Cost(exchange.text_size + images + rules.trace_tokens * hidden)


def choose(exchanges: Sequence[Exchange], window: Window, rules: Rules, *, budget: int, context: int) -> Window:
    """The window with which the exchanges cost at most `budget` tokens: the same one while that holds, else one a large step further.

    Oldest text goes first; images that stay keep their question and answer. Images go, oldest first, only where all text is gone.

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
    for move in later(exchanges, window, rules):
        window = move.window
        # So many images may stay that a whole step can't be made: the last exchange is kept where it fits at all.
        if move.cost <= (target if window.start < len(exchanges) - 1 else budget):
            return window
    window = replace(window, traces=0)
    over = cost(exchanges, window, rules) - budget
    if over <= 0:
        return window
    raise DoesNotFit(over)


@dataclass(frozen=True, slots=True)
class Move:
    """To a `window` that differs from the one before it by the exchange at `index` only; `cost` is that of all exchanges after it."""

    window: Window
    index: int
    cost: int


def later(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> Iterator[Move]:
    """The windows that come after this one while ever more must go, each with as little less as can be; none under the policy strict."""
    if rules.policy == "strict":
        return
    spent = _cost(exchanges, window, rules)
    for index, exchange in enumerate(exchanges[window.start :], window.start):
        before, window = window, replace(window, start=index + 1)
        spent += _cost_of(exchange, index, window, rules) - _cost_of(exchange, index, before, rules)
        yield Move(window, index, spent.total(window, rules))
    for index, exchange in enumerate(exchanges):
        for number in sorted(shown(exchange, index, window, rules)):
            if rules.may_go(exchange.images[number - exchange.first_image].image_id):
                before, window = window, replace(window, gone=window.gone | {number})
                spent += _cost_of(exchange, index, window, rules) - _cost_of(exchange, index, before, rules)
                yield Move(window, index, spent.total(window, rules))


def furthest(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> Window:
    """The last of the windows that come after this one: with it as little is sent as can be."""
    if rules.policy == "strict":
        return window
    for move in later(exchanges, window, rules):
        window = move.window
    return replace(window, traces=0)


def answer_room(num_predict: int | None, default: int, limit: int) -> int:
    """Tokens kept free for the answer: as many as it may have, else the default, but never more than half (an eighth) of the context."""
    return min(num_predict, limit // 2) if num_predict and num_predict > 0 else min(default, limit // 8)


def num_ctx_needed(tokens: int) -> int:
    """The smallest num_ctx for so many tokens: llama.cpp rounds contexts up to a multiple of 256."""
    return -(-tokens // 256) * 256


def bucket(tokens: int) -> int:
    """The num_ctx for so many tokens."""
    return next((size for size in NUM_CTX_BUCKETS if tokens <= size), -(-tokens // 4096) * 4096)
