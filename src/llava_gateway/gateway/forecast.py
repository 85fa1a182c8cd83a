"""Shows what fills a conversation's context, and predicts what is dropped next and whether a larger context would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llava_gateway.answers import Dropped
from llava_gateway.chat import Detail, Message
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import (
    ASSUMED_CONTEXT,
    STEP,
    Exchange,
    Rules,
    Window,
    bucket,
    cost,
    is_sent,
    later,
    num_ctx_needed,
    shown,
)
from llava_gateway.engines.base import Engine
from llava_gateway.gateway.prompt import Prompt
from llava_gateway.options import Options
from llava_gateway.parts import Part
from llava_gateway.sessions.turn import title_of


@dataclass(frozen=True, slots=True)
class ImageCost:
    """An image of a turn.

    Attributes:
        image_id: None if the image comes with the question as a file.
        tokens: what the image takes if it is sent, else what it took before.
        pinned: None if the user did not decide.
        detail: how much of the image is sent; None if it is not sent.
    """

    number: int
    image_id: str | None
    tokens: int | None
    sent: bool
    pinned: bool | None = None
    detail: Detail | None = None


@dataclass(frozen=True, slots=True)
class TurnCost:
    """A turn or the question.

    Attributes:
        turn: the index of the turn in its branch. turn_id: its id. Both are None for the question.
        asked: its first words.
        sent: whether its text is sent.
        text_tokens: an estimate.
    """

    turn: int | None
    turn_id: int | None
    asked: str
    sent: bool
    text_tokens: int
    images: tuple[ImageCost, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What fills the context now, and what is dropped next.

    Attributes:
        turns: oldest first, the question last.
        next: what can be dropped, in the order in which it would be; empty under the policy strict.
        together: how many of these are dropped at once when the context is full; an estimate, since the turns until then are
            unknown.
        larger: the next num_ctx that would fit everything; None if the model has no larger one.
        last_load_ms: how long the model last took to load. A larger num_ctx loads it again.
    """

    turns: tuple[TurnCost, ...]
    next: tuple[Dropped, ...]
    together: int
    larger: int | None
    last_load_ms: float | None


def forecast(prompt: Prompt, engine: Engine, scale: Scale) -> Forecast:
    """Forecast what is dropped next.

    Args:
        prompt: a prompt whose tokens are counted.
        engine: the engine of its model.
        scale: the model's vocabulary, for the estimate of the question's text.
    """
    conversation = prompt.conversation
    order, together = _next(prompt)
    exchanges = tuple(_turn(prompt, index, exchange) for index, exchange in enumerate(conversation.exchanges))
    larger = _larger(prompt, engine)
    return Forecast((*exchanges, _question(prompt, scale)), order, together, larger, engine.last_load_ms(prompt.model.name))


def _next(prompt: Prompt) -> tuple[tuple[Dropped, ...], int]:
    exchanges, window, rules = prompt.conversation.exchanges, prompt.fitted.window, prompt.rules
    room = (prompt.fitted.limit or ASSUMED_CONTEXT) - prompt.fitted.room
    full = cost(exchanges, window, rules)
    order: list[Dropped] = []
    together, made = 0, 0
    before = window
    for move in later(exchanges, window, rules):
        order += _going(exchanges[move.index], move.index, before, move.window, rules)
        if made < STEP * room and move.window.gone == window.gone:
            together, made = len(order), full - move.cost
        before = move.window
    return tuple(order), together


def _going(exchange: Exchange, index: int, before: Window, after: Window, rules: Rules) -> list[Dropped]:
    """List what the window `before` sends of an exchange and the window `after` does not."""
    text = is_sent(exchange, index, before, rules) and not is_sent(exchange, index, after, rules)
    numbers = sorted(shown(exchange, index, before, rules) - shown(exchange, index, after, rules))
    images = exchange.numbered_images
    return [Dropped(exchange.turn, exchange.turn_id, None, exchange.text_tokens)] * text + [
        Dropped(exchange.turn, exchange.turn_id, images[number].image_id, exchange.image_tokens[number - exchange.first_image])
        for number in numbers
    ]


def _turn(prompt: Prompt, index: int, exchange: Exchange) -> TurnCost:
    window, rules = prompt.fitted.window, prompt.rules
    visible = shown(exchange, index, window, rules)
    images = []
    for place, (number, part) in enumerate(exchange.numbered_images.items()):
        sent = prompt.engine_request.renditions.get(part) if number in visible else None
        images.append(
            ImageCost(
                number,
                part.image_id,
                sent.tokens if sent else exchange.image_tokens[place],
                number in visible,
                (rules.pins or {}).get(part.image_id),
                sent.detail if sent else None,
            )
        )
    return TurnCost(
        exchange.turn,
        exchange.turn_id,
        title_of(_asked(exchange.messages)),
        is_sent(exchange, index, window, rules),
        exchange.text_tokens,
        tuple(images),
    )


def _question(prompt: Prompt, scale: Scale) -> TurnCost:
    conversation = prompt.conversation
    images = []
    own = iter(prompt.attachments)
    for number, part in enumerate(conversation.question_images, conversation.first_image):
        image_id = next(own).named if part.image_id.startswith("new:") else part.image_id
        if sent := prompt.engine_request.renditions.get(part):
            images.append(ImageCost(number, image_id, sent.tokens, sent=True, detail=sent.detail))
        else:  # an image of an unanswered question, left out because the model takes no more images
            images.append(ImageCost(number, image_id, None, sent=False))
    words = scale.message(conversation.question_text)
    return TurnCost(None, None, title_of(_asked(conversation.question)), sent=True, text_tokens=words, images=tuple(images))


def _asked(messages: Sequence[Message]) -> tuple[Part, ...]:
    """Return the parts that the user gave."""
    return tuple(part for message in messages if message.role == "user" for part in message.parts)


def _larger(prompt: Prompt, engine: Engine) -> int | None:
    fitted = prompt.fitted
    now = fitted.limit or ASSUMED_CONTEXT
    needed = num_ctx_needed(fitted.count.total + fitted.room) if fitted.count else 0
    size = bucket(max(now + 1, needed))
    size = min(size, prompt.model.context_length or size)
    return size if now < size >= needed and not engine.ignored_options(Options(num_ctx=size)) else None
