"""Computes the window of a conversation that a client sends as a whole: the window that a session with the same history would have.

It replays every earlier request of the history. If a prompt did not fit, the window moves as it did then. So the window depends on
the history alone, and the engine finds the prompt in its prefix cache. The result for a history is kept for a while: that history is
the beginning of the next one, and only what follows must be replayed.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from llava_gateway.chat import EngineRequest, Message
from llava_gateway.context.prompt import TYPICAL_IMAGE, Conversation
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Rules, Window, answer_room, furthest
from llava_gateway.engines.base import Engine, ModelInfo
from llava_gateway.gateway.context import Build, ContextFitter, Draft, Fitted, density, moved, surely_fits
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart
from llava_gateway.settings import Settings

KEPT = 8192
"""The number of windows kept. One takes about as much memory as a short message."""
MOST_REFUSED = 4
"""After this many questions that do not even fit alone, the history must come from another model, and the replay stops."""

Over: TypeAlias = Callable[["Ask", Window], Awaitable[tuple[int, float]]]
"""Returns how many tokens the prompt of an ask has too many with a window (negative: free), and the density of its words."""


@dataclass(frozen=True, slots=True)
class Ask:
    """An earlier request of the history, or the current one.

    Attributes:
        turn, ends: its prompt held the exchanges before `turn`, and the first `ends` messages of that exchange (or of the question).
        size: estimated tokens of everything up to there.
        key: equal for histories that are cut alike. Their images may differ if they cost the same.
    """

    turn: int
    ends: int
    size: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay: the window of a session's last request, and the key of the current ask (None: don't keep the result)."""

    window: Window
    key: bytes | None = None


class Replay:
    """Replays histories.

    Args:
        settings: answer_room.
        fitter: counts tokens, and knows each model's context.
    """

    def __init__(self, settings: Settings, fitter: ContextFitter) -> None:
        self._settings = settings
        self._fitter = fitter
        self._kept: dict[bytes, Window] = {}

    async def window(self, draft: Draft, build: Build, engine: Engine, model: ModelInfo, wanted: Options) -> Replayed:
        """Return the window of a history. Raises what `build` raises."""
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
            await asyncio.sleep(0)  # an engine that can't count never yields to the event loop
            asked = await build(conversation.upto(ask.turn, ask.ends).messages(window, rules), runner)
            count = await self._fitter.count(asked, engine, model.key, limit=limit)
            return count.total + room - limit, density(asked, count.text)

        begin, window = self._begin(asks, draft.window)
        window = await self._moved(conversation, rules, asks, begin, window, over, limit - room)
        return Replayed(window, now.key)

    def keep(self, replayed: Replayed, fitted: Fitted) -> None:
        """Keep the window with which a question was finally sent."""
        if replayed.key is not None and not fitted.over:
            self._keep(replayed.key, fitted.window)

    def _begin(self, asks: list[Ask], window: Window) -> tuple[int, Window]:
        """Return the index of the first ask that must be replayed, and the window before it."""
        for place in range(len(asks) - 1, -1, -1):
            if known := self._kept.get(asks[place].key):
                return place + 1, known
        return 0, window

    async def _moved(
        self, conversation: Conversation, rules: Rules, asks: list[Ask], begin: int, window: Window, over: Over, context: int
    ) -> Window:
        """Return the window after replaying all asks from `begin` on."""
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
            if excess[0] > 0:  # this ask was rejected, so the window did not move
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
    """Return the index of the first ask from `begin` on whose prompt is too long, or the number of asks if all fit.

    While the window stays, prompts only grow. So the search starts where the sizes suggest and moves in growing steps: it counts few
    prompts, and none that is much too long.
    """
    fits, exceeds = begin - 1, len(asks)
    probe, step = begin, 1
    while exceeds - fits > 1:
        too_many, _ = await over(asks[probe], window)
        if too_many > 0:
            exceeds, probe, step = probe, probe - step, 2 * step
        elif fits < begin:  # the first ask shows how much room is left
            fits, probe = probe, bisect_left(asks, asks[probe].size - too_many, key=lambda ask: ask.size)
        else:
            fits, probe, step = probe, probe + step, 2 * step
        if not fits < probe < exceeds:
            probe = (fits + exceeds) // 2
    return exceeds


def _asks(conversation: Conversation, request: EngineRequest, alike: str) -> Iterator[Ask]:
    """Yield every request of the history, the current one last.

    Args:
        alike: what decides about windows besides the messages.
    """
    digest, size = hashlib.sha256(alike.encode()), 0
    asked = tuple(request.renditions[part].tokens or TYPICAL_IMAGE for part in conversation.question_images)
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
            size += Scale().message(message.prompt_text) + sum(images)
    yield Ask(len(conversation.exchanges), len(conversation.question), size, digest.digest())
