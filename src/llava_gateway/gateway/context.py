"""Fits a conversation into a model's context: has it counted where that matters, and drops, grows or refuses as the policy says.

What may go and in which steps is decided in `context/window.py`; here the engine is asked, and what was learned of each model is kept.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from llava_gateway.answers import Dropped
from llava_gateway.chat import EngineRequest, Message, ReasoningPart, TokenCount, ToolCallPart, ToolResultPart, Usage
from llava_gateway.context import tokens
from llava_gateway.context.prompt import Conversation
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import (
    ASSUMED_CONTEXT,
    DoesNotFit,
    Exchange,
    Rules,
    Window,
    answer_room,
    bucket,
    choose,
    cost,
    furthest,
    is_sent,
    num_ctx_needed,
    shown,
)
from llava_gateway.engines.base import Engine, ModelInfo, ModelKey
from llava_gateway.errors import ContextLengthExceeded
from llava_gateway.notes import Note, note
from llava_gateway.options import Options
from llava_gateway.settings import Settings

Build: TypeAlias = Callable[[tuple[Message, ...], Options], Awaitable[EngineRequest]]
"""Makes the engine's request of messages and runner options, with the bytes of all images."""

FAR = 500_000
"""Characters of a prompt; shorter ones are counted in a moment."""
FAR_BEYOND = 16
"""Characters for each token of the context, with which a prompt surely does not fit."""
SPEED_STEADINESS = 0.5
"""How much of an old speed is kept when a new one is measured."""


@dataclass(frozen=True, slots=True)
class Draft:
    """All there is to send, before anything is dropped.

    Attributes:
        window: what was sent last time; with it the prompt begins as it did then.
        before: tokens of the turn before this one, answer included, where this prompt only goes on from that; else None.
        summary: what takes the place of the text that must be dropped now; "" for nothing.
    """

    conversation: Conversation
    rules: Rules
    window: Window = Window()
    before: int | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation as it goes to the engine.

    Attributes:
        count: the prompt's tokens; None where it was plain without counting that they fit.
        limit: tokens of context; None where the engine doesn't tell.
        room: tokens of it that are kept for the answer.
        dropped: all that is left out, oldest first.
        over: tokens too many; 0 where it fits.
    """

    engine_request: EngineRequest
    window: Window
    count: TokenCount | None
    limit: int | None
    room: int
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[Note, ...] = ()
    over: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What was learned of a model from its answers.

    Attributes:
        scale: of its vocabulary. num_ctx: what its context has grown to.
        limit: tokens of the context that the engine gives it where nobody asks for one.
        growth: the warning that it has grown, until an answer has carried it; None: there is none.
        ms_per_token: how long it takes to read one token of a prompt with images, its eye's work included.
    """

    scale: Scale = Scale()
    num_ctx: int | None = None
    growth: Note | None = None
    limit: int | None = None
    ms_per_token: float | None = None


class ContextFitter:
    """Args:
    settings: answer_room, num_ctx_max.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[ModelKey, _Known] = {}

    def scale(self, model: ModelKey) -> Scale:
        """How a model's vocabulary differs from the usual one."""
        return self._of(model).scale

    def ms_per_token(self, model: ModelKey) -> float | None:
        """Milliseconds a model takes to read a token of a prompt with new images; None before it was measured."""
        return self._of(model).ms_per_token

    def measured(self, model: ModelKey, read: int, prompt_ms: float | None) -> None:
        """Takes note that `read` tokens of a prompt, new images among them, took `prompt_ms`."""
        known = self._of(model)
        if prompt_ms and read > 0:
            now = prompt_ms / read
            before = now if known.ms_per_token is None else known.ms_per_token
            self._known[model] = replace(known, ms_per_token=before * SPEED_STEADINESS + now * (1 - SPEED_STEADINESS))

    def grown(self, model: ModelKey) -> Options:
        """The num_ctx that a model's context has grown to, if it has."""
        return Options(num_ctx=self._of(model).num_ctx)

    def told(self, model: ModelKey, warnings: Sequence[Note]) -> None:
        """Takes note of what was said with an answer: that the context has grown is said once, and not by who only reads ahead."""
        known = self._of(model)
        if known.growth in warnings:
            self._known[model] = replace(known, growth=None)

    async def limit(self, engine: Engine, request: EngineRequest) -> int | None:
        """Tokens of context that a request will have; None where that was never told. Ollama tells it of loaded models only, so what it
        told last is remembered; where it has become another, `refused` learns of that."""
        model = engine.name, request.model
        limit = await engine.context_length(request)
        if request.options.num_ctx is not None:
            return limit
        if limit is not None:
            self._known[model] = replace(self._of(model), limit=limit)
        return limit or self._of(model).limit

    def refused(self, model: ModelKey, request: EngineRequest, n_ctx: int | None) -> None:
        """Takes note that the engine found a prompt too long for its context of `n_ctx` tokens (None: it did not say)."""
        if request.options.num_ctx is None:
            self._known[model] = replace(self._of(model), limit=n_ctx)

    def largest(self, engine: Engine, model: ModelInfo, wanted: Options, limit: int) -> int:
        """What the context may grow to before anything must be dropped."""
        most = min(self._settings.num_ctx_max or 0, model.context_length or self._settings.num_ctx_max or 0)
        grows = wanted.num_ctx is None and most > limit and not engine.ignored_options(Options(num_ctx=most))
        return most if grows else limit

    async def fit(
        self,
        draft: Draft,
        build: Build,
        engine: Engine,
        model: ModelInfo,
        *,
        wanted: Options = Options(),
        exactly: bool = False,
        uncounted: int = 0,
    ) -> Fitted:
        """The request with which the conversation fits, as much of it as can be sent.

        Args:
            wanted: the person's own options: a num_ctx that was asked for is not grown.
            exactly: count in any case, and where it does not fit say by how much (`over`) instead of raising.
            uncounted: tokens that the engine found in the prompt beyond those that are counted here.

        Raises ContextLengthExceeded.
        """
        conversation, rules, window = draft.conversation, draft.rules, draft.window
        first = self.grown(model.key)
        request = await build(conversation.messages(window, rules), first)
        limit = await self.limit(engine, request)
        room = answer_room(request.options.num_predict, self._settings.answer_room, limit or ASSUMED_CONTEXT)
        known = self._of(model.key)
        growth = (known.growth,) if known.growth and wanted.num_ctx is None else ()
        said = (*_adjusted(engine, wanted, limit), *growth)
        plain = Fitted(request, window, None, limit, room, dropped(conversation, window, rules), said)
        if not (exactly or uncounted) and (limit is None or surely_fits(request, conversation, draft.before, limit - room)):
            return plain

        async def counted(fitted: Fitted, window: Window, runner: Options) -> Fitted:
            request = await build(conversation.messages(window, rules), runner)
            count = await self.count(request, engine, model.key, limit=fitted.limit or ASSUMED_CONTEXT)
            over = count.total + uncounted + fitted.room - (fitted.limit or ASSUMED_CONTEXT)
            gone = dropped(conversation, window, rules)
            return replace(fitted, engine_request=request, window=window, count=count, dropped=gone, over=max(0, over))

        runner, fitted = first, await counted(plain, window, first)
        notes: dict[str, Note] = {}
        while fitted.over:
            if num_ctx := self._larger(engine, model, wanted, fitted):
                runner, notes["grown"] = Options(num_ctx=num_ctx), _grown(plain, num_ctx)
                room = answer_room(request.options.num_predict, self._settings.answer_room, num_ctx)
                fitted = await counted(replace(fitted, limit=num_ctx, room=room), fitted.window, runner)
            elif fitted.limit is None:
                break  # only assumed: the engine itself will say if it is too much
            else:
                further = moved(
                    conversation.exchanges,
                    fitted.window,
                    rules,
                    over=fitted.over,
                    density=density(fitted.engine_request, (fitted.count.text if fitted.count else 0) + uncounted),
                    context=fitted.limit - fitted.room,
                )
                cut = await counted(fitted, replace(further, summary=draft.summary or further.summary), runner)
                if cut.over and further == furthest(conversation.exchanges, further, rules):
                    if not exactly:
                        raise _too_long(fitted, conversation, rules, model)
                    fitted = replace(fitted, over=cut.over)
                    break
                fitted = cut
                notes["trimmed"] = _trimmed(conversation, fitted.window, rules, summarised=bool(draft.summary))
        if runner.num_ctx and runner != first and not exactly:  # who only counts changes nothing
            known = self._of(model.key)
            self._known[model.key] = replace(known, num_ctx=max(runner.num_ctx, known.num_ctx or 0), growth=notes["grown"])
        return replace(fitted, warnings=(*plain.warnings, *notes.values()))

    async def count(self, request: EngineRequest, engine: Engine, model: ModelKey, *, limit: int | None = None) -> TokenCount:
        """The prompt's tokens, counted by the engine where it can, else reckoned. One that is far beyond the `limit` is reckoned in any
        case: everybody would wait while it is written for the engine."""
        if limit and sum(len(message.text) for message in request.messages) > max(FAR, FAR_BEYOND * limit):
            return self._reckon(request, model)
        return await engine.count(request) or self._reckon(request, model)

    def learn(self, request: EngineRequest, model: ModelKey, usage: Usage) -> None:
        """Takes note of what the engine counted for a prompt whose images' cost is known."""
        reckoned = self._reckon(request, model)
        if usage.prompt_tokens and all(rendition.tokens for rendition in request.shown):
            text = usage.prompt_tokens - sum(reckoned.images)
            self._known[model] = replace(self._of(model), scale=self.scale(model).learned(reckoned.system + reckoned.text, text))

    def _of(self, model: ModelKey) -> _Known:
        return self._known.get(model) or _Known()

    def _reckon(self, request: EngineRequest, model: ModelKey) -> TokenCount:
        scale = self.scale(model)
        system = sum(scale.message(message.text) for message in request.messages if message.role == "system")
        text = _words(request, scale)
        images = tuple(rendition.tokens or 0 for rendition in request.shown)
        return TokenCount(system, text, images, "measured" if scale.seen else "estimated")

    def _larger(self, engine: Engine, model: ModelInfo, wanted: Options, fitted: Fitted) -> int | None:
        """The num_ctx to grow to; None where the settings, the person or the engine don't let it grow, or it would not help."""
        now = fitted.limit or ASSUMED_CONTEXT
        needed = now + fitted.over
        most = self._settings.num_ctx_max or 0
        size = min(bucket(needed), most, model.context_length or most)
        helps = wanted.num_ctx is None and now < needed <= size
        return size if helps and not engine.ignored_options(Options(num_ctx=size)) else None


def surely_fits(request: EngineRequest, conversation: Conversation, before: int | None, allowed: int) -> bool:
    """Whether the prompt has at most `allowed` tokens, however the model's vocabulary is: then nobody need count.

    Where the engine counted the turn before, only the question is new; else every byte may be a token.
    """
    images = [rendition.tokens for rendition in request.shown]
    if any(image is None for image in images) or _needs_a_template(request):
        return False
    slack = 4 * tokens.MESSAGE_TOKENS
    if before is not None:
        new = sum(request.renditions[part].tokens or 0 for part in request.messages[-1].images)
        return before + tokens.bound(conversation.asked_text) + new + slack * (1 + 2 * len(conversation.asked_images)) <= allowed
    text = sum(tokens.bound(message.text) + slack for message in request.messages)
    return text + sum(image or 0 for image in images) <= allowed


def _needs_a_template(request: EngineRequest) -> bool:
    """Whether there is something of which only the model's template knows how it is written: tools, their calls and results, thoughts."""
    kinds = ToolCallPart | ToolResultPart | ReasoningPart
    return bool(request.tools) or any(isinstance(part, kinds) for message in request.messages for part in message.parts)


def dropped(conversation: Conversation, window: Window, rules: Rules) -> tuple[Dropped, ...]:
    """What the window leaves out."""
    found: list[Dropped] = []
    for index, exchange in enumerate(conversation.exchanges):
        if not is_sent(exchange, index, window, rules):
            found.append(Dropped(exchange.turn, exchange.turn_id, None, exchange.text_tokens))
        visible = shown(exchange, index, window, rules)
        for place, (number, part) in enumerate(exchange.numbered_images.items()):
            if number not in visible:
                found.append(Dropped(exchange.turn, exchange.turn_id, part.image_id, exchange.image_tokens[place]))
    return tuple(found)


def density(request: EngineRequest, text_tokens: int) -> float:
    """How many times the tokens of a prompt's words are what their size says; 1 where they are fewer. Chinese takes twice as many in the
    vocabulary of LLaMA."""
    size = _words(request, Scale())
    return max(1.0, text_tokens / size) if size else 1.0


def moved(exchanges: Sequence[Exchange], window: Window, rules: Rules, *, over: int, density: float, context: int) -> Window:
    """The window with which it fits, as far as the sizes of the exchanges tell; at last the one with which as little is sent as can be.

    Args:
        over: tokens too many with `window`. context: tokens that the conversation may take in all.
    """
    budget = cost(exchanges, window, rules) - math.ceil(over / density)
    try:
        return choose(exchanges, window, rules, budget=budget, context=int(context / density))
    except DoesNotFit:
        return furthest(exchanges, window, rules)


def _words(request: EngineRequest, scale: Scale) -> int:
    """About the tokens of all but the system prompt and the images."""
    said = (message.written for message in request.messages if message.role != "system")
    tools = (f"{tool.name}{tool.description}{tool.parameters}" for tool in request.tools)
    return sum(map(scale.message, (*said, *tools)))


def _too_long(fitted: Fitted, conversation: Conversation, rules: Rules, model: ModelInfo) -> ContextLengthExceeded:
    """Says only what would help."""
    limit, room = fitted.limit or ASSUMED_CONTEXT, fitted.room
    total = limit - room + fitted.over
    needed = num_ctx_needed(total + room)
    images = sum(fitted.count.images) if fitted.count else 0
    ways = []
    if needed <= (model.context_length or needed):
        ways.append("num_ctx")
    if rules.policy == "strict" and conversation.exchanges:
        ways.append("pin_images")
    if images > fitted.over:
        ways.append("detail_low")
    if conversation.exchanges and fitted.count and _alone(fitted.count, conversation) <= limit - room:
        ways.append("new_session")
    values = {"n_prompt_tokens": total, "n_ctx": limit, "num_ctx_needed": needed, "room": room}
    num_ctx = min(bucket(needed), model.context_length or bucket(needed))
    return ContextLengthExceeded("prompt_too_long", values={**values, "ways": tuple(ways), "num_ctx": num_ctx})


def _alone(count: TokenCount, conversation: Conversation) -> int:
    """About what the question takes without what was said before it: of the text its share by length, and its own images."""
    asked = len(conversation.asked_text)
    before = sum(len(message.text) for exchange in conversation.exchanges for message in exchange.messages)
    own = count.images[len(count.images) - len(conversation.asked_images) :]
    return count.system + count.text * asked // (before + asked or 1) + sum(own)


def _adjusted(engine: Engine, wanted: Options, limit: int | None) -> tuple[Note, ...]:
    """What is said where a num_ctx that was asked for became another: models have a largest, and Ollama's that see a smallest one."""
    if wanted.num_ctx is None or limit is None or limit == wanted.num_ctx or engine.ignored_options(Options(num_ctx=wanted.num_ctx)):
        return ()
    return (note("num_ctx_adjusted", num_ctx=limit, wanted=wanted.num_ctx),)


def _grown(fitted: Fitted, num_ctx: int) -> Note:
    return note("num_ctx_grown", old=fitted.limit or ASSUMED_CONTEXT, new=num_ctx)


def _trimmed(conversation: Conversation, window: Window, rules: Rules, *, summarised: bool) -> Note:
    """What has just been dropped."""
    gone = dropped(conversation, window, rules)
    turns = sum(item.image_id is None for item in gone)
    return note("context_trimmed", turns=turns, images=len(gone) - turns, summarised=int(summarised))
