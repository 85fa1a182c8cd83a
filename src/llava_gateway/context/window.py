"""Choose which turns of a conversation to send when not all of them fit into the context (pure).

The engine's cache holds the beginning of the prompt, so the beginning should rarely change. When it must, the window moves by a large
step, and the following turns only add to the prompt's end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llava_gateway.chat import Message, Policy
from llava_gateway.parts import ImagePart

STEP = 0.4
"""Fraction of the context that one move of the window frees."""
TRACE_TOKENS = 48
"""Approximate tokens of an image's trace."""
MOST_TRACES = 8
"""Most images of dropped turns that get a trace each; one line covers all older images."""
ASSUMED_CONTEXT = 4096
"""Assumed context length in tokens if the engine doesn't report one: Ollama's default on a machine with little memory."""
NUM_CTX_BUCKETS = (4096, 8192, 16384, 32768)
"""The context lengths in tokens that a context grows to; few, because each change reloads the model."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answered question and its answer: messages that are sent or dropped together.

    Attributes:
        turn, turn_id: position in the branch, and the id, which doesn't depend on the branch.
        messages: messages by the user, the assistant and tools, in order, with our notes and the unanswered parts of earlier turns.
        text_tokens: tokens of the text, as far as known.
        image_tokens: tokens of each image in `messages`, in order, as far as known.
        text_size: size of the text by which windows are chosen: also about tokens, but independent of anything learned about the model,
            so that the same history is always cut in the same places. 0 stands for `text_tokens`.
        first_image: number of its first image in the conversation, counted from 1.
        images: the images in `messages`, cached because choosing a window reads them many times.
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
        """The text of the assistant."""
        return "\n".join(message.text for message in self.messages if message.role == "assistant")

    @property
    def user_text(self) -> str:
        """The text of the user, without our notes."""
        return "\n".join(message.text_without_notes for message in self.messages if message.role == "user")

    @property
    def instructions(self) -> tuple[Message, ...]:
        """The system messages in the exchange, which are sent even if the exchange is dropped."""
        return tuple(message for message in self.messages if message.role == "system")

    @property
    def numbered_images(self) -> dict[int, ImagePart]:
        """The images by number."""
        return dict(enumerate(self.images, self.first_image))

    @property
    def tokens(self) -> int:
        return self.text_tokens + sum(self.image_tokens)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a conversation that is sent. A session keeps it, so that the next prompt begins like this one.

    Attributes:
        start: index of the first exchange that is sent whole; earlier ones are dropped unless their images stay.
        gone: numbers of images that are dropped for lack of room although the policy would keep them.
        summary: summary of the dropped text; "" for none.
        traces: how many of the images in dropped turns, the newest first, get a trace each.
    """

    start: int = 0
    gone: frozenset[int] = frozenset()
    summary: str = ""
    traces: int = MOST_TRACES


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for choosing a window and for writing the messages.

    Attributes:
        policy: what to drop if not everything fits.
        pins: by image id, whether a person pinned the image (True) or released it (False).
        annotate: whether we add words of our own: numbers before images, traces of dropped images, notes that recall an image.
    """

    policy: Policy = "pin_images"
    pins: Mapping[str, bool] | None = None
    annotate: bool = True

    @property
    def trace_tokens(self) -> int:
        """The approximate tokens of an image's trace."""
        return TRACE_TOKENS if self.annotate else 0

    def stays(self, image_id: str) -> bool:
        """Return whether an image stays when the text around it is dropped."""
        pinned = (self.pins or {}).get(image_id)
        return self.policy != "sliding" if pinned is None else pinned

    def may_go(self, image_id: str) -> bool:
        """Return whether an image may be dropped as a last resort."""
        return not (self.pins or {}).get(image_id, False)


class DoesNotFit(Exception):
    """The conversation doesn't fit even with everything dropped that the policy allows; it has `over` tokens too many."""

    def __init__(self, over: int) -> None:
        super().__init__(over)
        self.over = over


def shown(exchange: Exchange, index: int, window: Window, rules: Rules) -> frozenset[int]:
    """Return the numbers of the exchange's images that are sent."""
    if not exchange.images:  # the common case, checked first because this runs often for every exchange
        return frozenset()
    return frozenset(
        number
        for number, part in enumerate(exchange.images, exchange.first_image)
        if number not in window.gone and (index >= window.start or rules.stays(part.image_id))
    )


def is_sent(exchange: Exchange, index: int, window: Window, rules: Rules) -> bool:
    """Return whether an exchange is sent at all."""
    return index >= window.start or bool(shown(exchange, index, window, rules))


def cost(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> int:
    """Estimate the tokens of the exchanges as sent, including the traces of dropped images."""
    return _cost(exchanges, window, rules).total(window, rules)


@dataclass(frozen=True, slots=True)
class _Cost:
    """The `tokens` of everything that is sent, and the number of images that are `unsent` because their turn is dropped."""

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
    """Choose a window with which the exchanges cost at most `budget` tokens: the same window while they do, else one a large step further.

    Drops the oldest text first; images that stay keep their question and answer. Drops images, oldest first, only once all text is gone.

    Args:
        budget: tokens for the exchanges: the context minus the room for the answer, the system prompt and the question.
        context: tokens for the whole conversation; a step is a fraction of it.

    Raises DoesNotFit as soon as anything would have to be dropped (policy strict), or when nothing more may be dropped.
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
        # The images that stay may make a whole step impossible; the last exchange is then kept if it fits at all.
        if move.cost <= (target if window.start < len(exchanges) - 1 else budget):
            return window
    window = replace(window, traces=0)
    over = cost(exchanges, window, rules) - budget
    if over <= 0:
        return window
    raise DoesNotFit(over)


@dataclass(frozen=True, slots=True)
class Move:
    """A move of the window by the smallest step.

    Attributes:
        window: the new window; it differs from the previous one only in the exchange at `index`.
        index: index of that exchange.
        cost: tokens of all exchanges after the move.
    """

    window: Window
    index: int
    cost: int


def later(exchanges: Sequence[Exchange], window: Window, rules: Rules) -> Iterator[Move]:
    """Yield the windows after this one, each of which drops as little more as possible; none under the policy strict."""
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
    """Return the last of the windows after this one, which sends as little as possible."""
    if rules.policy == "strict":
        return window
    for move in later(exchanges, window, rules):
        window = move.window
    return replace(window, traces=0)


def answer_room(num_predict: int | None, default: int, limit: int) -> int:
    """Return the tokens to keep free for the answer: `num_predict`, but at most half of the context `limit`.

    Without a positive `num_predict`, this is `default`, but at most an eighth of `limit`.
    """
    return min(num_predict, limit // 2) if num_predict and num_predict > 0 else min(default, limit // 8)


def num_ctx_needed(tokens: int) -> int:
    """Return the smallest num_ctx for `tokens`, a multiple of 256, to which llama.cpp rounds contexts up."""
    return -(-tokens // 256) * 256


def bucket(tokens: int) -> int:
    """Return the smallest size of NUM_CTX_BUCKETS that holds `tokens`; above the largest, a multiple of 4096."""
    return next((size for size in NUM_CTX_BUCKETS if tokens <= size), -(-tokens // 4096) * 4096)
