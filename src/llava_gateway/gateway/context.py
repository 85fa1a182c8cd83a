"""Fits a conversation into a model's context: counts tokens if needed, then drops turns, grows the context or refuses, by policy.

`context/window.py` decides what may be dropped and in which steps. This module asks the engine, and keeps what each model taught us.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from llava_gateway.answers import Dropped
from llava_gateway.chat import EngineRequest, Message, Rendition, TokenCount, Usage
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
from llava_gateway.parts import ReasoningPart, ToolCallPart, ToolResultPart
from llava_gateway.settings import Settings

Build: TypeAlias = Callable[[tuple[Message, ...], Options], Awaitable[EngineRequest]]
"""Builds the engine request from messages and runner options, with the bytes of all images."""

FAR = 500_000
"""Characters of a prompt. Shorter prompts are counted within a moment."""
FAR_BEYOND = 16
"""Characters per token of the context above which a prompt can't fit."""
SPEED_STEADINESS = 0.5
"""The weight of the old speed when a new one is measured."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The whole conversation before anything is dropped.

    Attributes:
        window: the window of the last request. With it the prompt begins as it did then.
        before: tokens of the previous turn, answer included, if this prompt only continues that turn; else None.
        summary: replaces the text that must be dropped now; "" for none.
    """

    conversation: Conversation
    rules: Rules
    window: Window = Window()
    before: int | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation that fits, as it goes to the engine.

    Attributes:
        count: the prompt's token count; None if it fits so clearly that nothing was counted.
        limit: the context in tokens; None if the engine does not report it.
        room: tokens of the context that are reserved for the answer.
        dropped: everything that is left out, oldest first.
        over: tokens too many; 0 if it fits.
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
    """What a model's answers taught about it.

    Attributes:
        scale: how its vocabulary differs from the usual one.
        num_ctx: the size to which its context has grown, in tokens.
        growth: the warning that the context has grown, until an answer has reported it; None if there is nothing to report.
        limit: the context that the engine gives the model without a num_ctx, in tokens.
        ms_per_token: milliseconds to read one token of a prompt with images, including the work of the vision encoder.
    """

    scale: Scale = Scale()
    num_ctx: int | None = None
    growth: Note | None = None
    limit: int | None = None
    ms_per_token: float | None = None


class ContextFitter:
    """Fits conversations into contexts, and remembers what was learned about each model.

    Args:
        settings: answer_room, num_ctx_max.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[ModelKey, _Known] = {}

    def scale(self, model: ModelKey) -> Scale:
        """Return how a model's vocabulary differs from the usual one."""
        return self._of(model).scale

    def ms_per_token(self, model: ModelKey) -> float | None:
        """Return the milliseconds in which a model reads one token of a prompt with new images; None before the first measurement."""
        return self._of(model).ms_per_token

    def record_speed(self, model: ModelKey, read: int, prompt_ms: float | None) -> None:
        """Record that the model read `read` tokens of a prompt with new images in `prompt_ms` milliseconds."""
        known = self._of(model)
        if prompt_ms and read > 0:
            now = prompt_ms / read
            before = now if known.ms_per_token is None else known.ms_per_token
            self._known[model] = replace(known, ms_per_token=before * SPEED_STEADINESS + now * (1 - SPEED_STEADINESS))

    def grown(self, model: ModelKey) -> Options:
        """Return the num_ctx to which a model's context has grown, if it has."""
        return Options(num_ctx=self._of(model).num_ctx)

    def forget_growth(self, model: ModelKey, warnings: Sequence[Note]) -> None:
        """Forget the warning that the context grew if an answer has carried it: it is reported only once, and never by read-ahead."""
        known = self._of(model)
        if known.growth in warnings:
            self._known[model] = replace(known, growth=None)

    async def limit(self, engine: Engine, request: EngineRequest) -> int | None:
        """Return the context in tokens that a request will have; None if the engine has never reported it.

        Ollama reports it only for loaded models, so the last value is remembered. If the context has changed since then, `record_rejection`
        corrects it.
        """
        model = engine.name, request.model
        limit = await engine.context_length(request)
        if request.options.num_ctx is not None:
            return limit
        if limit is not None:
            self._known[model] = replace(self._of(model), limit=limit)
        return limit or self._of(model).limit

    def record_rejection(self, model: ModelKey, request: EngineRequest, n_ctx: int | None) -> None:
        """Record that the engine rejected a prompt as too long for its context of `n_ctx` tokens (None: the engine did not say)."""
        if request.options.num_ctx is None:
            self._known[model] = replace(self._of(model), limit=n_ctx)

    def largest(self, engine: Engine, model: ModelInfo, wanted: Options, limit: int) -> int:
        """Return the size in tokens to which the context may grow before anything must be dropped."""
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
        """Return a request that fits, with as much of the conversation as possible.

        Args:
            wanted: the client's own options. A num_ctx given there is not grown.
            exactly: count in any case; if the prompt does not fit, report the excess in `over` instead of raising.
            uncounted: tokens that the engine found in the prompt beyond our own count.

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
                break  # the limit is only assumed: the engine itself will reject a prompt that is too long
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
        if runner.num_ctx and runner != first and not exactly:  # counting alone changes nothing
            known = self._of(model.key)
            self._known[model.key] = replace(known, num_ctx=max(runner.num_ctx, known.num_ctx or 0), growth=notes["grown"])
        return replace(fitted, warnings=(*plain.warnings, *notes.values()))

    async def count(self, request: EngineRequest, engine: Engine, model: ModelKey, *, limit: int | None = None) -> TokenCount:
        """Return the prompt's token count: the engine's own count if it can count, else an estimate.

        Estimates a prompt that is far longer than `limit` in any case: writing it for the engine would keep everyone waiting.
        """
        if limit and sum(len(message.text) for message in request.messages) > max(FAR, FAR_BEYOND * limit):
            return self._estimate(request, model)
        return await engine.count(request) or self._estimate(request, model)

    def learn(self, request: EngineRequest, model: ModelKey, usage: Usage) -> None:
        """Learn the vocabulary from the engine's count of a prompt whose images have known costs."""
        estimated = self._estimate(request, model)
        if usage.prompt_tokens and all(rendition.tokens for rendition in request.shown):
            text = usage.prompt_tokens - sum(estimated.images)
            self._known[model] = replace(self._of(model), scale=self.scale(model).learned(estimated.system + estimated.text, text))

    def _of(self, model: ModelKey) -> _Known:
        return self._known.get(model) or _Known()

    def _estimate(self, request: EngineRequest, model: ModelKey) -> TokenCount:
        scale = self.scale(model)
        system = sum(scale.message(message.text) for message in request.messages if message.role == "system")
        text = _words(request, scale)
        images = tuple(rendition.tokens or 0 for rendition in request.shown)
        return TokenCount(system, text, images, "measured" if scale.seen else "estimated")

    def _larger(self, engine: Engine, model: ModelInfo, wanted: Options, fitted: Fitted) -> int | None:
        """Return the num_ctx to grow to. None if the settings, the client or the engine forbid growth, or if it would not help."""
        now = fitted.limit or ASSUMED_CONTEXT
        needed = now + fitted.over
        most = self._settings.num_ctx_max or 0
        size = min(bucket(needed), most, model.context_length or most)
        helps = wanted.num_ctx is None and now < needed <= size
        return size if helps and not engine.ignored_options(Options(num_ctx=size)) else None


def surely_fits(request: EngineRequest, conversation: Conversation, before: int | None, allowed: int) -> bool:
    """Return whether the prompt has at most `allowed` tokens in any vocabulary. Then nothing needs to be counted.

    If the engine counted the previous turn, only the question is new. Otherwise every byte may be a token.
    """
    if any(rendition.tokens is None for rendition in request.shown) or _needs_a_template(request):
        return False
    slack = 4 * tokens.MESSAGE_TOKENS
    if before is not None:
        new = sum(_image_bound(request.renditions[part]) for part in request.messages[-1].images)
        return before + tokens.bound(conversation.question_text) + new + slack * (1 + 2 * len(conversation.question_images)) <= allowed
    text = sum(tokens.bound(message.text) + slack for message in request.messages)
    return text + sum(map(_image_bound, request.shown)) <= allowed


def _image_bound(rendition: Rendition) -> int:
    """Return the most tokens that an image of known cost takes with the labels between its pieces."""
    return (rendition.tokens or 0) + sum(tokens.bound(label) + 1 for label in rendition.labels)


def _needs_a_template(request: EngineRequest) -> bool:
    """Return whether only the model's template knows how a part is written: tools, their calls and results, thoughts."""
    kinds = ToolCallPart | ToolResultPart | ReasoningPart
    return bool(request.tools) or any(isinstance(part, kinds) for message in request.messages for part in message.parts)


def dropped(conversation: Conversation, window: Window, rules: Rules) -> tuple[Dropped, ...]:
    """List what the window leaves out, oldest first."""
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
    """Return the prompt's text tokens divided by the estimate from its size, at least 1. Chinese text has a density of about 2 in the
    vocabulary of LLaMA."""
    size = _words(request, Scale())
    return max(1.0, text_tokens / size) if size else 1.0


def moved(exchanges: Sequence[Exchange], window: Window, rules: Rules, *, over: int, density: float, context: int) -> Window:
    """Return the window that fits according to the sizes of the exchanges. If none fits, returns the window that sends the least.

    Args:
        over: tokens too many with `window`.
        context: tokens that the whole conversation may take.
    """
    budget = cost(exchanges, window, rules) - math.ceil(over / density)
    try:
        return choose(exchanges, window, rules, budget=budget, context=int(context / density))
    except DoesNotFit:
        return furthest(exchanges, window, rules)


def _words(request: EngineRequest, scale: Scale) -> int:
    """Estimate the tokens of everything except the system prompt and the images."""
    said = (message.prompt_text for message in request.messages if message.role != "system")
    labels = sum(scale.estimate(" ".join(rendition.labels)) for rendition in request.shown if rendition.labels)
    tools = (f"{tool.name}{tool.description}{tool.parameters}" for tool in request.tools)
    return labels + sum(map(scale.message, (*said, *tools)))


def _too_long(fitted: Fitted, conversation: Conversation, rules: Rules, model: ModelInfo) -> ContextLengthExceeded:
    """Build the error, which suggests only what would help."""
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
    """Estimate the tokens of the question without the conversation before it: its share of the text by length, plus its own images."""
    asked = len(conversation.question_text)
    before = sum(len(message.text) for exchange in conversation.exchanges for message in exchange.messages)
    own = count.images[len(count.images) - len(conversation.question_images) :]
    return count.system + count.text * asked // (before + asked or 1) + sum(own)


def _adjusted(engine: Engine, wanted: Options, limit: int | None) -> tuple[Note, ...]:
    """Return a note if the engine changed the requested num_ctx. Models have a largest one, and Ollama's vision models a smallest one."""
    if wanted.num_ctx is None or limit is None or limit == wanted.num_ctx or engine.ignored_options(Options(num_ctx=wanted.num_ctx)):
        return ()
    return (note("num_ctx_adjusted", num_ctx=limit, wanted=wanted.num_ctx),)


def _grown(fitted: Fitted, num_ctx: int) -> Note:
    return note("num_ctx_grown", old=fitted.limit or ASSUMED_CONTEXT, new=num_ctx)


def _trimmed(conversation: Conversation, window: Window, rules: Rules, *, summarised: bool) -> Note:
    """Return the note that says what was just dropped."""
    gone = dropped(conversation, window, rules)
    turns = sum(item.image_id is None for item in gone)
    return note("context_trimmed", turns=turns, images=len(gone) - turns, summarised=int(summarised))
