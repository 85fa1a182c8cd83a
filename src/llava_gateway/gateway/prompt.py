"""Makes a question ready for the engine: which model, which pictures in which form, which part of the conversation.

`gateway.py` walks; what happens here spends nothing of the engine, so `count_tokens` and `warm` share it with `ask`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from llava_gateway.chat import ChatRequest, EngineRequest, Finish, ImagePart, Message, Options, Part, Rendition
from llava_gateway.context.prompt import Conversation, anchors
from llava_gateway.context.window import Rules, Window, cost
from llava_gateway.engines.base import ModelInfo, ModelKey, same_name
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import ContextLengthExceeded, ModelLacksVision, ModelNotFound
from llava_gateway.gateway.attachments import Hold, Showing, Shown
from llava_gateway.gateway.context import Fitted, Fitter
from llava_gateway.images.store import PictureStore
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

SURE = 4
"""How many times the words of a prompt its pictures must take, so that their cost is learned where the words are only reckoned."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question as the engine will get it.

    Attributes:
        parts: the question's parts with our notes; its pictures go by `new:` names, since their ids may not be known yet.
        shown: the question's own pictures, in order, with what is sent of each.
        fitted: the engine's request, and how the conversation was made to fit.
        conversation: all there was to tell. rules: the policy that did it.
        warnings: what the person should know, each a code or "code: sentence".
        fit: `Fitter.fit` for this conversation, to make it fit anew with what was learned of the engine meanwhile.
        beyond: numbers of pictures that are left out because this model takes no more.
    """

    model: ModelInfo
    parts: tuple[Part, ...]
    shown: tuple[Shown, ...]
    fitted: Fitted
    conversation: Conversation
    rules: Rules
    warnings: tuple[str, ...]
    fit: Callable[..., Awaitable[Fitted]]
    beyond: frozenset[int] = frozenset()

    @property
    def window(self) -> Window:
        """What a session keeps for its next turn."""
        return replace(self.fitted.window, gone=self.fitted.window.gone - self.beyond)

    @property
    def engine_request(self) -> EngineRequest:
        return self.fitted.engine_request


class Preparer:
    """Args:
    settings: limits and pins. pool: the engines. pictures: the one ingest and store. telemetry: counts pictures.
    """

    def __init__(self, settings: Settings, pool: EnginePool, pictures: PictureStore, telemetry: Telemetry) -> None:
        self.settings = settings
        self.pool = pool
        self.pictures = pictures
        self.fitter = Fitter(settings)
        self.showing = Showing(settings, pool, pictures, telemetry, self.fitter)
        self._sighted: set[ModelKey] = set()  # models that were seen to see

    async def prepare(self, request: ChatRequest, session: Session, model: ModelInfo, hold: Hold, *, exactly: bool = False) -> Prepared:
        """Everything up to the engine.

        Args:
            session: `under(request)`.
            exactly: count the tokens in any case, and don't raise where they are too many.

        Raises what is wrong with the request: ImageError, ModelLacksVision, InvalidRequest, ContextLengthExceeded, StorageFull, ...
        """
        self._check_vision(request, session, model)
        options = request.options.over(self.fitter.grown(model.key).over(self.pins(model.name)))
        rules = Rules(session.policy or self.settings.policy or ("pin_images" if request.session_id else "strict"), session.pins)
        if any(sight.undecided for sight in session.sights.values()):
            told = self._beside(replace(session, turns=()), rules, model)
            sights = await self.showing.decided(session.sights, model, options, beside=told, pictures=len(session.image_ids))
            session = replace(session, sights=sights)
        beside = self._beside(session, rules, model) if request.pictures else 0
        question = await self.showing.question(request, model, options, hold, beside=beside)
        beyond = self._beyond(session, question.parts, model)
        parts, window, conversation = self._told(session, question.parts, beyond, rules, model)

        async def build(window: Window, runner: Options) -> EngineRequest:
            return await self._engine_request(request, conversation.messages(window, rules), model, question.renditions, runner, hold)

        fit = partial(
            self.fitter.fit,
            conversation,
            rules,
            window,
            build,
            self.pool.engine(model.engine),
            model,
            wanted=request.options,
            before=session.tokens if model.key == (session.engine, session.model) and parts == question.parts else None,
            summary=session.summary if rules.policy == "summarise" and session.summary_of == session.window.start else "",
            exactly=exactly,
        )
        fitted = await fit()
        left_out = sum(number >= conversation.first_picture for number in beyond)
        note = f"picture_left_out: {model.name} takes no more pictures at once, so {left_out} of questions without an answer can't be seen."
        warnings = (*request.warnings, *question.warnings, *((note,) if left_out else ()), *fitted.warnings)
        return Prepared(model, parts, question.shown, fitted, conversation, rules, warnings, fit, beyond)

    async def fitted_anew(self, prepared: Prepared, refusal: ContextLengthExceeded) -> Prepared:
        """The question for an engine that found it too long: only then is the context of a model known that was not loaded before.

        Raises ContextLengthExceeded, `refusal` itself where nothing more can be left out.
        """
        request, model = prepared.engine_request, prepared.model
        n_ctx, found = (value if isinstance(value := refusal.extra.get(name), int) else None for name in ("n_ctx", "n_prompt_tokens"))
        self.fitter.refused(model.key, request, n_ctx)
        count = prepared.fitted.count or await self.fitter.count(request, self.pool.engine(model.engine), model.key)
        uncounted = max(0, (found or 0) - count.total)
        if uncounted and any(rendition.tokens is None for rendition in request.shown):
            self.showing.learn_cost(request.shown, model, uncounted + sum(count.images), "estimated")
            uncounted = 0
        fitted = await prepared.fit(uncounted=uncounted)
        if fitted.window == prepared.fitted.window and fitted.engine_request.options == prepared.engine_request.options:
            raise refusal
        shown = tuple(replace(each, rendition=self.showing.priced(each.rendition, model)) for each in prepared.shown)
        return replace(prepared, shown=shown, fitted=fitted, warnings=tuple(dict.fromkeys((*prepared.warnings, *fitted.warnings))))

    def _beside(self, session: Session, rules: Rules, model: ModelInfo) -> int:
        """Tokens that are told beside a question in any case: the system prompt, and of the turns those that don't go for a new one."""
        scale = self.fitter.scale(model.key)
        conversation = session.conversation((), scale)
        exchanges, window = conversation.exchanges, session.window
        if rules.policy != "strict":
            window = replace(window, start=len(exchanges))
        system = scale.message(conversation.instructions) if conversation.instructions else 0
        return system + cost(exchanges, window, rules)

    def _beyond(self, session: Session, parts: tuple[Part, ...], model: ModelInfo) -> frozenset[int]:
        """The numbers of earlier pictures, those of unanswered questions among them, that a model which takes only so many can't have
        beside the question's own."""
        most = self.showing.profile(model).max_pictures
        if most is None:
            return frozenset()
        conversation, own = session.conversation(parts), len(Message("user", parts).images)
        first_own = conversation.first_picture + len(Message("user", conversation.question).images) - own
        return frozenset(range(1, first_own - max(0, most - own))) - session.window.gone

    def _told(
        self, session: Session, parts: tuple[Part, ...], beyond: frozenset[int], rules: Rules, model: ModelInfo
    ) -> tuple[tuple[Part, ...], Window, Conversation]:
        """The question's parts with the lines that call pictures back to mind, the window before anything is dropped, and all there is
        to tell."""
        scale = self.fitter.scale(model.key)
        conversation = session.conversation(parts, scale)
        pictures = (item for exchange in conversation.exchanges for item in exchange.pictures.items())
        pinned = {number for number, part in pictures if (rules.pins or {}).get(part.image_id)}  # since it went: it is to be told again
        window = replace(session.window, gone=session.window.gone - pinned | beyond)
        if lines := anchors(conversation, window, rules, self.settings.reanchor_tokens):
            parts = (*parts[:-1], *lines, *parts[-1:])
            window = replace(window, anchored=len(conversation.exchanges))
            conversation = session.conversation(parts, scale)
        return parts, window, conversation

    async def learn(self, prepared: Prepared, finish: Finish) -> tuple[str, ...]:
        """Takes note of what the engine counted and how long it took; a warning where it seems not to have seen the pictures."""
        request, model, usage = prepared.engine_request, prepared.model, finish.usage
        if usage.prompt_tokens is None:
            return ()
        renditions = request.shown
        read = usage.prompt_tokens - (usage.cached_tokens or 0)
        fresh = usage.cached_tokens is not None or not any((model.key, each.sight) in each.picture.read_by for each in prepared.shown)
        if prepared.shown and fresh and read >= sum(self._least(each.rendition) for each in prepared.shown):
            self.fitter.measured(model.key, read, finish.timings.prompt_ms)
        for each in prepared.shown:
            each.picture.read_by.add((model.key, each.sight))
        learnable = any(rendition.label != "exact" for rendition in renditions)
        if not renditions or (model.key in self._sighted and not learnable):
            self.fitter.learn(request, model.key, usage)
            return ()
        # By what was known before this answer: the vocabulary is not learned from a prompt whose pictures may have been passed over.
        count = prepared.fitted.count or await self.fitter.count(request, self.pool.engine(model.engine), model.key)
        words = count.system + count.text
        surplus = usage.prompt_tokens - words
        expected = sum(map(self._least, renditions))
        if not count.text_is_exact and words > expected:
            return ()  # what is only reckoned may be wrong by that much
        if 2 * surplus < expected:
            return (f"image_ignored: The prompt has {max(0, surplus)} tokens more than its text; a picture takes about {expected}.",)
        self._sighted.add(model.key)
        self.fitter.learn(request, model.key, usage)
        if learnable and (count.text_is_exact or SURE * words <= surplus):
            self.showing.learn_cost(renditions, model, surplus, "measured" if count.text_is_exact else "estimated")
        return ()

    @staticmethod
    def _least(rendition: Rendition) -> int:
        """Tokens that a picture takes at least, where its cost is not known: no model describes one with fewer."""
        return rendition.tokens or 32 * len(rendition.pieces)

    async def model(self, request: ChatRequest, session: Session) -> ModelInfo:
        """Who answers: the request's model, else the session's, else the default."""
        if not session.model or not (request.model is None or same_name(request.model, session.model)):
            return await self.pool.resolve(request.model)
        try:
            return await self.pool.resolve(session.model, engine=session.engine)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{session.model}, which this session talks with, is gone.",
                hint=f"Bring it back, or name another model in the request. {error.hint}",
                param="model",
            ) from None

    def _check_vision(self, request: ChatRequest, session: Session, model: ModelInfo) -> None:
        """Refuses pictures, new ones or the session's, before anything is sent to a model that can't see."""
        if model.vision or not (session.image_ids or request.pictures):
            return
        seeing = [other.name for other in self.pool.state.models if other.vision]
        hint = f"Installed with vision: {', '.join(seeing[:10])}." if seeing else "Get one with `ollama pull llava:7b`."
        raise ModelLacksVision(f"{model.name} can't see pictures.", hint=hint, param="model")

    async def _engine_request(
        self,
        request: ChatRequest,
        messages: tuple[Message, ...],
        model: ModelInfo,
        new: Mapping[ImagePart, Rendition],
        runner: Options,
        hold: Hold,
    ) -> EngineRequest:
        """The messages with the bytes of their pictures: the question's own (`new`), and those of the session."""
        renditions = {part: self.showing.priced(rendition, model) for part, rendition in new.items()}  # its cost may be known by now
        for part in dict.fromkeys(part for message in messages for part in message.images):
            if part not in renditions:
                picture = hold(self.pictures.get(part.image_id))
                renditions[part] = await self.showing.rendition(picture, model, part.sight)
        return EngineRequest(
            model=model.name,
            messages=messages,
            options=request.options.over(runner.over(self.pins(model.name))),
            format=request.format,
            keep_alive=self.settings.keep_alive if request.keep_alive is None else request.keep_alive,
            renditions=renditions,
        )

    def pins(self, model: str) -> Options:
        """The runner options that the settings pin for a model."""
        for name, pins in self.settings.models.items():
            if same_name(name, model):
                return Options(num_ctx=pins.num_ctx, num_gpu=pins.num_gpu)
        return Options()
