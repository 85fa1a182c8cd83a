"""The window of a conversation that a client sends as a whole: where a session with the same history would have it.

Each time that the model was asked is asked once more in thought, and where the prompt did not fit, the window moves as it did then. So it
depends on the history alone, and the engine finds the prompt in its cache. What was found for a history is kept for a while: it is the
beginning of the next one, and only what came since must be looked at.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from llava_gateway.chat import EngineRequest, ImagePart, Message, TextPart
from llava_gateway.context.prompt import TYPICAL_IMAGE, Conversation
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Rules, Window, answer_room, furthest
from llava_gateway.engines.base import Engine, ModelInfo
from llava_gateway.gateway.context import Build, ContextFitter, Draft, Fitted, density, moved, surely_fits
from llava_gateway.options import Options
from llava_gateway.settings import Settings

KEPT = 8192
"""Windows that are kept; one takes about as many bytes as a short message."""
MOST_REFUSED = 4
"""Questions that fit with nothing beside them, after which the history is of another model and not looked at any further."""

Over: TypeAlias = Callable[["Ask", Window], Awaitable[tuple[int, float]]]
"""Tokens that the prompt of an ask, with a window, has too many; and the density of its words."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A time at which the model was asked.

    Attributes:
        turn, ends: it had the exchanges before `turn`, and of that one (or of the question) the first `ends` messages.
        size: about the tokens of all that there was then.
        key: names it, equal for histories that are cut alike: their images may differ as long as they cost the same.
    """

    turn: int
    ends: int
    size: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    """`window` is what a session would have sent last; `key` names what is asked now, None where nothing is to be kept of it."""

    window: Window
    key: bytes | None = None


class Replay:
    """Args:
    settings: answer_room. fitter: counts, and knows the context of each model.
    """

    def __init__(self, settings: Settings, fitter: ContextFitter) -> None:
        self._settings = settings
        self._fitter = fitter
        self._kept: dict[bytes, Window] = {}

    async def window(self, draft: Draft, build: Build, engine: Engine, model: ModelInfo, wanted: Options) -> Replayed:
        """Where the window of a history is. Raises what `build` does."""
        conversation, rules = draft.conversation, draft.rules
        if rules.policy == "strict" or not conversation.exchanges:
            return Replayed(draft.window)
        runner = self._fitter.grown(model.key)
        request = await build(conversation.messages(draft.window, rules), runner)
        known = await self._fitter.limit(engine, request)
        if known is None:
            return Replayed(draft.window)
        limit = self._fitter.largest(engine, model, wanted, known)
        room = answer_room(request.options.num_predict, self._settings.answer_room, limit)
        if surely_fits(request, conversation, None, limit - room):
            return Replayed(draft.window)
        alike = model.key, limit, room, rules, draft.window, request.tools, request.think
        *asks, now = _asks(conversation, request, repr(alike))

        async def over(ask: Ask, window: Window) -> tuple[int, float]:
            await asyncio.sleep(0)  # an engine that counts nothing gives way nowhere
            asked = await build(conversation.upto(ask.turn, ask.ends).messages(window, rules), runner)
            count = await self._fitter.count(asked, engine, model.key, limit=limit)
            return count.total + room - limit, density(asked, count.text)

        begin, window = self._begin(asks, draft.window)
        window = await self._moved(conversation, rules, asks, begin, window, over, limit - room)
        return Replayed(window, now.key)

    def keep(self, replayed: Replayed, fitted: Fitted) -> None:
        """Takes note of the window with which a question was sent in the end."""
        if replayed.key is not None and not fitted.over:
            self._keep(replayed.key, fitted.window)

    def _begin(self, asks: list[Ask], window: Window) -> tuple[int, Window]:
        """The first ask that must be looked at, and the window until then."""
        for place in range(len(asks) - 1, -1, -1):
            if known := self._kept.get(asks[place].key):
                return place + 1, known
        return 0, window

    async def _moved(
        self, conversation: Conversation, rules: Rules, asks: list[Ask], begin: int, window: Window, over: Over, context: int
    ) -> Window:
        """The window after all asks from `begin` on."""
        refused = 0
        while begin < len(asks):
            at = await _first_over(asks, begin, window, over)
            for ask in asks[begin:at]:
                self._keep(ask.key, window)
            if at == len(asks) or refused == MOST_REFUSED:
                break
            earlier, further = conversation.exchanges[: asks[at].turn], window
            while (excess := await over(asks[at], further))[0] > 0 and further != furthest(earlier, further, rules):
                further = moved(earlier, further, rules, over=excess[0], density=excess[1], context=context)
            if excess[0] > 0:  # then this one was refused, and nothing moved
                refused += 1
            else:
                window = further
            self._keep(asks[at].key, window)
            begin = at + 1
        return window

    def _keep(self, key: bytes, window: Window) -> None:
        self._kept.pop(key, None)
        self._kept[key] = window
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]


async def _first_over(asks: list[Ask], begin: int, window: Window, over: Over) -> int:
    """The first ask from `begin` on whose prompt is too long; as many as there are for none.

    While the window stays, a prompt only grows. So the ask is looked for near where the sizes say that it is, in growing steps: few prompts
    are counted, and none that is much too long.
    """
    fits, exceeds = begin - 1, len(asks)
    probe, step = begin, 1
    while exceeds - fits > 1:
        too_many, _ = await over(asks[probe], window)
        if too_many > 0:
            exceeds, probe, step = probe, probe - step, 2 * step
        elif fits < begin:  # the first: there was so much room left
            fits, probe = probe, bisect_left(asks, asks[probe].size - too_many, key=lambda ask: ask.size)
        else:
            fits, probe, step = probe, probe + step, 2 * step
        if not fits < probe < exceeds:
            probe = (fits + exceeds) // 2
    return exceeds


def _asks(conversation: Conversation, request: EngineRequest, alike: str) -> Iterator[Ask]:
    """Every time that the model was asked, the last of them now.

    Args:
        alike: what decides about windows beside the messages.
    """
    digest, size = hashlib.sha256(alike.encode()), 0
    asked = tuple(request.renditions[part].tokens or TYPICAL_IMAGE for part in conversation.asked_images)
    turns: list[tuple[tuple[int, ...], tuple[Message, ...]]] = [((), conversation.head)]
    turns += [(exchange.image_tokens, exchange.messages) for exchange in conversation.exchanges]
    turns.append((asked, conversation.question))
    for turn, (tokens, messages) in enumerate(turns, -1):
        costs = iter(tokens)
        for place, message in enumerate(messages):
            if message.role == "assistant" and place:
                yield Ask(turn, place, size, digest.digest())
            images = [next(costs, TYPICAL_IMAGE) for _ in message.images]
            said = [part for part in message.parts if not (isinstance(part, ImagePart) or (isinstance(part, TextPart) and part.note))]
            digest.update(repr((message.role, images, said)).encode())
            size += Scale().message(message.written) + sum(images)
    yield Ask(len(conversation.exchanges), len(conversation.question), size, digest.digest())
