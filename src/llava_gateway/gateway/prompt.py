"""Makes a question ready for the engine: which model, which images in which form, which part of the conversation.

`gateway.py` walks; what happens here spends nothing of the engine, so `count_tokens` and `read_ahead` share it with `ask`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llava_gateway.chat import ChatRequest, EngineRequest, ImagePart, Message, Rendition, TextPart
from llava_gateway.context.prompt import Conversation, anchors
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Rules, Window, cost
from llava_gateway.engines.base import ModelInfo, same_name
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import ContextLengthExceeded, ModelLacksVision
from llava_gateway.gateway.attachments import Attachment, Attachments, Hold, Question
from llava_gateway.gateway.context import Build, ContextFitter, Draft, Fitted
from llava_gateway.gateway.replay import Replay
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import Note, Value, note
from llava_gateway.options import Options
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the engine will get it.

    Attributes:
        question: its messages that are new, with our notes; its images go by `new:` names, since their ids may not be known yet.
        attachments: the question's own images, in order, with what is sent of each.
        draft: all there was to send, before anything was dropped.
        fitted: the engine's request, and how the conversation was made to fit.
        warnings: what the person should know.
        beyond: numbers of images that are left out because this model takes no more.
    """

    model: ModelInfo
    question: tuple[Message, ...]
    attachments: tuple[Attachment, ...]
    draft: Draft
    fitted: Fitted
    warnings: tuple[Note, ...]
    beyond: frozenset[int] = frozenset()

    @property
    def window(self) -> Window:
        """What a session keeps for its next turn."""
        return replace(self.fitted.window, gone=self.fitted.window.gone - self.beyond)

    @property
    def engine_request(self) -> EngineRequest:
        return self.fitted.engine_request

    @property
    def conversation(self) -> Conversation:
        return self.draft.conversation

    @property
    def rules(self) -> Rules:
        return self.draft.rules


class PromptBuilder:
    """Args:
    settings: limits and pins. pool: the engines. images: the one ingest and store. telemetry: counts images.
    """

    def __init__(self, settings: Settings, pool: EnginePool, images: ImageStore, telemetry: Telemetry) -> None:
        self.settings = settings
        self.pool = pool
        self.images = images
        self.fitter = ContextFitter(settings)
        self.replay = Replay(settings, self.fitter)
        self.attachments = Attachments(settings, pool, images, telemetry, self.fitter)

    async def build(self, request: ChatRequest, session: Session, model: ModelInfo, hold: Hold, *, exactly: bool = False) -> Prompt:
        """Everything up to the engine: the images, the conversation, what of it fits.

        Args:
            session: `under(request)`; an empty one where the request has the whole conversation.
            exactly: count the tokens in any case, and don't raise where they are too many.

        Raises what is wrong with the request: ImageError, ModelLacksVision, InvalidRequest, ContextLengthExceeded, StorageFull, ...
        """
        self._check_vision(request, session, model)
        options = request.options.over(self.fitter.grown(model.key).over(self.pins(model.name)))
        rules, last = self._rules(request, session), session.prompt_state
        history, asked, beside = await self._history(request, session, model, options, rules, hold)
        in_session = request.session_id is not None
        first = len(request.messages) - len(asked) if len(request.messages) > 1 else None
        question = await self.attachments.question(asked, model, options, hold, in_session=in_session, beside=beside, first=first)
        conversation = _asking(history, question.messages)
        beyond = self._beyond(conversation, len(question.attachments), model) - last.window.gone
        window = _reopened(conversation, last.window, rules, beyond)
        lines = anchors(conversation, window, rules, self.settings.reanchor_tokens) if question.messages[0].role == "user" else ()
        if lines:
            question = replace(question, messages=_with_notes(question.messages, lines))
            conversation = _asking(history, question.messages)
        same_words = model.key == (session.engine, session.model) and not lines
        draft = Draft(
            conversation,
            rules,
            window,
            before=last.tokens if same_words and len(question.messages) == 1 else None,
            summary=last.summary if rules.policy == "summarise" and last.summary_of == last.window.start else "",
        )
        build = self._builder(request, model, question.renditions, hold)
        if request.session_id is None and not session.turns:
            fitted = await self._fit_whole(draft, build, model, request.options, exactly=exactly)
        else:
            fitted = await self.fitter.fit(draft, build, self.pool.engine(model.engine), model, wanted=request.options, exactly=exactly)
        left_out = sum(number >= conversation.first_image for number in beyond)
        missing = (note("image_left_out", model=model.name, count=left_out),) if left_out else ()
        warnings = (*request.warnings, *question.warnings, *missing, *fitted.warnings)
        return Prompt(model, question.messages, question.attachments, draft, fitted, warnings, beyond)

    async def fitted_anew(self, request: ChatRequest, prompt: Prompt, refusal: ContextLengthExceeded, hold: Hold) -> Prompt:
        """The question for an engine that found it too long: only then is the context of a model known that was not loaded before.

        Raises ContextLengthExceeded, `refusal` itself where nothing more can be left out.
        """
        asked, model = prompt.engine_request, prompt.model
        engine = self.pool.engine(model.engine)
        n_ctx, found = (value if isinstance(value := refusal.values.get(name), int) else None for name in ("n_ctx", "n_prompt_tokens"))
        self.fitter.refused(model.key, asked, n_ctx)
        count = prompt.fitted.count or await self.fitter.count(asked, engine, model.key)
        uncounted = max(0, (found or 0) - count.total)
        if uncounted and any(rendition.tokens is None for rendition in asked.shown):
            self.attachments.learn_cost(asked.shown, model, uncounted + sum(count.images), "estimated")
            uncounted = 0
        question = Question(prompt.question, prompt.attachments, ())
        build = self._builder(request, model, question.renditions, hold)
        if request.session_id is None:  # its context is known only now, so what was sent before must be looked at again
            fitted = await self._fit_whole(prompt.draft, build, model, request.options, uncounted=uncounted)
        else:
            fitted = await self.fitter.fit(prompt.draft, build, engine, model, wanted=request.options, uncounted=uncounted)
        if fitted.window == prompt.fitted.window and fitted.engine_request.options == asked.options:
            raise refusal
        attachments = tuple(replace(each, rendition=self.attachments.priced(each.rendition, model)) for each in prompt.attachments)
        warnings = tuple(dict.fromkeys((*prompt.warnings, *fitted.warnings)))
        return replace(prompt, attachments=attachments, fitted=fitted, warnings=warnings)

    async def _fit_whole(
        self, draft: Draft, build: Build, model: ModelInfo, wanted: Options, *, exactly: bool = False, uncounted: int = 0
    ) -> Fitted:
        """How a conversation fits that the client sent as a whole: its window follows from it. Raises ContextLengthExceeded."""
        engine = self.pool.engine(model.engine)
        replayed = await self.replay.window(draft, build, engine, model, wanted)
        draft = replace(draft, window=replayed.window)
        fitted = await self.fitter.fit(draft, build, engine, model, wanted=wanted, exactly=exactly, uncounted=uncounted)
        self.replay.keep(replayed, fitted)
        return fitted

    def _rules(self, request: ChatRequest, session: Session) -> Rules:
        policy = session.defaults.policy or self.settings.policy or ("pin_images" if request.session_id else "strict")
        return Rules(policy, session.branches.pins, request.annotate)

    async def _history(
        self, request: ChatRequest, session: Session, model: ModelInfo, options: Options, rules: Rules, hold: Hold
    ) -> tuple[Conversation, tuple[Message, ...], int]:
        """The conversation so far, built once; the messages that are new; and the tokens of what is sent beside these in any case.

        Of a session its turns are the conversation, else what stands in the request before the last message by the user. What came after
        that one was asked before too, up to the last message by the assistant: calls of tools and their results.
        """
        scale = self.fitter.scale(model.key)
        if request.session_id is not None or len(request.messages) == 1:
            conversation = session.conversation((), scale)
            if any(sight.undecided for sight in session.branches.sights.values()):
                sent = _beside(replace(conversation, exchanges=()), session.prompt_state.window, rules, scale)
                sights = await self.attachments.decided(session.branches.sights, model, options, beside=sent, images=len(session.image_ids))
                conversation = conversation.with_sights(replace(session.branches, sights=sights).seen)
            has_images = any(message.attachments for message in request.messages)
            beside = _beside(conversation, session.prompt_state.window, rules, scale) if has_images else 0
            return conversation, request.messages, beside
        begin = _last_question(request.messages)
        new = _newest(request.messages, begin)
        head = session.defaults.head
        known = await self.attachments.history((*head, *request.messages[:new]), model, options, hold, rules.policy, first=-len(head))
        begin += len(head)
        history = Conversation.of((*known.messages[:begin], Message("user", ())), known.costs.get, scale)
        return replace(history, question=known.messages[begin:]), request.messages[new:], known.beside

    def _beyond(self, conversation: Conversation, own: int, model: ModelInfo) -> frozenset[int]:
        """The numbers of earlier images, those of unanswered questions among them, that a model which takes only so many can't have beside
        the question's own."""
        most = self.attachments.profile(model).max_images
        if most is None:
            return frozenset()
        first_own = conversation.first_image + len(conversation.asked_images) - own
        return frozenset(range(1, first_own - max(0, most - own)))

    def _check_vision(self, request: ChatRequest, session: Session, model: ModelInfo) -> None:
        """Refuses images, new ones or the session's, before anything is sent to a model that can't see."""
        if model.vision or not (session.image_ids or request.has_images):
            return
        values: dict[str, Value] = {"model": model.name, "installed": self.pool.state.seeing}
        raise ModelLacksVision("model_lacks_vision_named", values=values).at("model")

    def _builder(self, request: ChatRequest, model: ModelInfo, new: Mapping[ImagePart, Rendition], hold: Hold) -> Build:
        """What makes the engine's request of messages: with the bytes of the question's own images (`new`), and of those stored before."""

        async def build(messages: tuple[Message, ...], runner: Options) -> EngineRequest:
            renditions = {
                part: self.attachments.priced(rendition, model) for part, rendition in new.items()
            }  # its cost may be known by now
            for part in dict.fromkeys(part for message in messages for part in message.images):
                if part not in renditions:
                    image = hold(self.images.get(part.image_id))
                    renditions[part] = await self.attachments.rendition(image, model, part.sight)
            return EngineRequest(
                model=model.name,
                messages=messages,
                options=request.options.over(runner.over(self.pins(model.name))),
                format=request.format,
                keep_alive=self.settings.keep_alive if request.keep_alive is None else request.keep_alive,
                renditions=renditions,
                tools=request.tools,
                tool_choice=request.tool_choice,
                think=request.think,
                logprobs=request.logprobs,
            )

        return build

    def pins(self, model: str) -> Options:
        """The runner options that the settings pin for a model."""
        for name, pins in self.settings.models.items():
            if same_name(name, model):
                return Options(num_ctx=pins.num_ctx, num_gpu=pins.num_gpu)
        return Options()


def _last_question(messages: Sequence[Message]) -> int:
    """Where the last question begins: at the first of the last messages by the user that follow each other; 0 where nobody asks."""
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    while last and messages[last].role == messages[last - 1].role == "user":
        last -= 1
    return last


def _newest(messages: Sequence[Message], begin: int) -> int:
    """Where in the question that begins there the messages begin that follow the last one by the assistant. The beginning of an answer
    at the very end is none of these."""
    end = len(messages)
    while end > begin and messages[end - 1].role == "assistant":
        end -= 1
    return next((place for place in range(end, begin, -1) if messages[place - 1].role == "assistant"), begin)


def _asking(history: Conversation, question: tuple[Message, ...]) -> Conversation:
    """The conversation with the question. What a session's earlier turns left unanswered goes before it, in the same message, so that
    nothing is lost and roles alternate; so do the calls of tools that the question is about."""
    if not history.question or question[0].role != "user":
        return replace(history, question=(*history.question, *question))
    return replace(history, question=(*history.asking(*question[0].parts).question, *question[1:]))


def _beside(history: Conversation, window: Window, rules: Rules, scale: Scale) -> int:
    """Tokens that are sent beside a question in any case: the instructions, and of the turns those that don't go for a new one."""
    if rules.policy != "strict":
        window = replace(window, start=len(history.exchanges))
    instructions = scale.message(history.instructions) if history.instructions else 0
    return instructions + cost(history.exchanges, window, rules)


def _reopened(conversation: Conversation, window: Window, rules: Rules, beyond: frozenset[int]) -> Window:
    """The window before anything more is dropped: without the images `beyond`, with those that were pinned since they went."""
    images = (item for exchange in conversation.exchanges for item in exchange.numbered_images.items())
    pinned = {number for number, part in images if (rules.pins or {}).get(part.image_id)}
    return replace(window, gone=window.gone - pinned | beyond)


def _with_notes(question: tuple[Message, ...], lines: tuple[TextPart, ...]) -> tuple[Message, ...]:
    """The question with lines of ours before its last words."""
    first, *rest = question
    return (replace(first, parts=(*first.parts[:-1], *lines, *first.parts[-1:])), *rest)
