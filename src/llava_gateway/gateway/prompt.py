"""Builds the prompt of a question: the renditions of its images, and the part of the conversation that fits.

Nothing here makes the engine work, so `count_tokens` and `read_ahead` share it with `ask`. `gateway.py` is the walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llava_gateway.chat import ChatRequest, EngineRequest, Message, Rendition
from llava_gateway.context.prompt import Conversation, anchors
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Rules, Window, cost
from llava_gateway.engines.base import ModelInfo, same_name
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import ContextLengthExceeded, ModelLacksVision
from llava_gateway.gateway.attachments import Attachment, Attachments, Question
from llava_gateway.gateway.context import Build, ContextFitter, Draft, Fitted
from llava_gateway.gateway.holding import Hold
from llava_gateway.gateway.links import Files, Links
from llava_gateway.gateway.pages import has_open_documents
from llava_gateway.gateway.replay import Replay
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import Note, Value, note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

_SHARES = (1.0, 0.7)
_LAST_SHARE = 0.4
"""How much of the room the pages of a document may fill, in the first attempt and after each that did not fit: until the engine counts,
the tokens of words are an estimate."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the engine will get it.

    Attributes:
        question: its new messages, with our notes. Their images have `new:` names, since the final ids may not be known yet.
        attachments: the question's own images, in order, with what is sent of each.
        draft: the whole conversation, before anything was dropped.
        fitted: the engine request, and how the conversation was made to fit.
        warnings: notes for the user.
        beyond: numbers of images that are left out because the model takes no more.
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
        """The window that a session keeps for its next turn."""
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


@dataclass(frozen=True, slots=True)
class _Before:
    """What a question follows. It does not depend on how many pages of the question's documents are shown.

    Attributes:
        options: those of the request over those pinned for the model.
        history: the conversation so far.
        asked: the new messages.
        tokens: of everything that is always sent together with these.
    """

    options: Options
    rules: Rules
    history: Conversation
    asked: tuple[Message, ...]
    tokens: int


class PromptBuilder:
    """Builds prompts.

    Args:
        settings: limits and pins.
        pool: the engines.
        images: the image store.
        links: fetches images from addresses.
        telemetry: counts images.
    """

    def __init__(self, settings: Settings, pool: EnginePool, images: ImageStore, links: Links, telemetry: Telemetry) -> None:
        self.settings = settings
        self.pool = pool
        self.images = images
        self.fitter = ContextFitter(settings)
        self.replay = Replay(settings, self.fitter)
        self.links = links
        self.attachments = Attachments(settings, pool, images, telemetry, self.fitter)

    async def build(self, request: ChatRequest, session: Session, model: ModelInfo, hold: Hold, *, exactly: bool = False) -> Prompt:
        """Build the prompt, with fewer pages of its documents if those that seemed to fit don't.

        Args:
            session: `under(request)`; an empty one if the request holds the whole conversation.
            exactly: count the tokens in any case, and don't raise if they are too many.

        Raises errors in the request: ImageError, ModelLacksVision, InvalidRequest, ContextLengthExceeded, StorageFull, ...
        """
        self._check_vision(request, session, model)
        async with self.links.files(hold) as files:
            before = await self._before(request, session, model, files)

            def can_shrink() -> bool:
                return files.has_open_documents or has_open_documents(request.messages)

            for share in _SHARES:
                try:
                    built = await self._built(request, session, model, before, files, exactly=exactly, share=share)
                except ContextLengthExceeded:
                    if not can_shrink():
                        raise
                else:
                    if not built.fitted.over or not can_shrink():
                        return built
            return await self._built(request, session, model, before, files, exactly=exactly, share=_LAST_SHARE)

    async def _before(self, request: ChatRequest, session: Session, model: ModelInfo, files: Files) -> _Before:
        options = request.options.over(self.fitter.grown(model.key).over(self.pins(model.name)))
        rules = self._rules(request, session)
        history, asked, tokens = await self._history(request, session, model, options, rules, files)
        return _Before(options, rules, history, asked, tokens)

    async def _built(
        self, request: ChatRequest, session: Session, model: ModelInfo, before: _Before, files: Files, *, exactly: bool, share: float
    ) -> Prompt:
        """Build the prompt: prepare the images, and fit the conversation into the context.

        Args:
            share: how much of the room the pages of documents may fill.
        """
        rules, history, asked, last = before.rules, before.history, before.asked, session.prompt_state
        in_session = request.session_id is not None
        first = len(request.messages) - len(asked) if len(request.messages) > 1 else None
        question = await self.attachments.question(
            asked, model, before.options, files, in_session=in_session, beside=before.tokens, first=first, share=share
        )
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
        build = self._builder(request, model, question.renditions, files.hold)
        if request.session_id is None and not session.turns:
            fitted = await self._fit_whole(draft, build, model, request.options, exactly=exactly)
        else:
            fitted = await self.fitter.fit(draft, build, self.pool.engine(model.engine), model, wanted=request.options, exactly=exactly)
        left_out = sum(number >= conversation.first_image for number in beyond)
        missing = (note("image_left_out", model=model.name, count=left_out),) if left_out else ()
        if not model.vision and (unseen := conversation.first_image - 1 + len(conversation.question_images)):
            missing = (note("images_unseen", model=model.name, count=unseen),)
        warnings = tuple(dict.fromkeys((*request.warnings, *question.warnings, *missing, *fitted.warnings)))
        return Prompt(model, question.messages, question.attachments, draft, fitted, warnings, beyond)

    async def fit_again(self, request: ChatRequest, prompt: Prompt, refusal: ContextLengthExceeded, hold: Hold) -> Prompt:
        """Shorten a prompt that the engine rejected as too long. The context of a model that was not loaded is known only then.

        Raises ContextLengthExceeded; `refusal` itself if nothing more can be left out.
        """
        asked, model = prompt.engine_request, prompt.model
        engine = self.pool.engine(model.engine)
        n_ctx, found = (value if isinstance(value := refusal.values.get(name), int) else None for name in ("n_ctx", "n_prompt_tokens"))
        self.fitter.record_rejection(model.key, asked, n_ctx)
        count = prompt.fitted.count or await self.fitter.count(asked, engine, model.key)
        uncounted = max(0, (found or 0) - count.total)
        if uncounted and any(rendition.tokens is None for rendition in asked.shown):
            self.attachments.learn_cost(asked.shown, model, uncounted + sum(count.images), "estimated")
            uncounted = 0
        question = Question(prompt.question, prompt.attachments, ())
        build = self._builder(request, model, question.renditions, hold)
        if request.session_id is None:  # the context is known only now, so the window of the earlier requests must be computed again
            fitted = await self._fit_whole(prompt.draft, build, model, request.options, uncounted=uncounted)
        else:
            fitted = await self.fitter.fit(prompt.draft, build, engine, model, wanted=request.options, uncounted=uncounted)
        if fitted.window == prompt.fitted.window and fitted.engine_request.options == asked.options:
            raise refusal
        attachments = tuple(replace(each, rendition=self.attachments.priced(each.rendition, model)) for each in prompt.attachments)
        warnings = tuple(dict.fromkeys((*prompt.warnings, *fitted.warnings)))
        return replace(prompt, attachments=attachments, fitted=fitted, warnings=warnings)

    async def tokens(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt: the engine's own count if it can count, else an estimate."""
        engine = self.pool.engine(prompt.model.engine)
        count = prompt.fitted.count or await self.fitter.count(prompt.engine_request, engine, prompt.model.key)
        return count.total

    async def _fit_whole(
        self, draft: Draft, build: Build, model: ModelInfo, wanted: Options, *, exactly: bool = False, uncounted: int = 0
    ) -> Fitted:
        """Fit a conversation that the client sent as a whole. Its window follows from the history alone. Raises ContextLengthExceeded."""
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
        self, request: ChatRequest, session: Session, model: ModelInfo, options: Options, rules: Rules, files: Files
    ) -> tuple[Conversation, tuple[Message, ...], int]:
        """Return the conversation so far, the new messages, and the tokens of everything that is always sent together with these.

        For a session the conversation is its turns. Otherwise it is the part of the request before the last message by the user.
        Messages between that one and the last message by the assistant (tool calls and their results) were part of earlier requests
        too.
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
        known = await self.attachments.history((*head, *request.messages[:new]), model, options, files, rules.policy, first=-len(head))
        begin += len(head)
        history = Conversation.of((*known.messages[:begin], Message("user", ())), known.costs.get, scale)
        return replace(history, question=known.messages[begin:]), request.messages[new:], known.beside

    def _beyond(self, conversation: Conversation, own: int, model: ModelInfo) -> frozenset[int]:
        """Return the numbers of earlier images, unanswered questions included, for which the model has no room beside the question's
        own: of all images, if it can't see. Traces with their descriptions take their places."""
        most = self.attachments.profile(model).max_images if model.vision else 0
        if most is None:
            return frozenset()
        first_own = conversation.first_image + len(conversation.question_images) - own
        return frozenset(range(1, first_own - max(0, most - own)))

    def _check_vision(self, request: ChatRequest, session: Session, model: ModelInfo) -> None:
        """Reject images of the question if the model can't see, and the session's if the client or the settings want that.

        Otherwise it answers from what was said about the session's images. Nothing has been sent by then.
        """
        strict = self.settings.strict_vision if request.strict_vision is None else request.strict_vision
        known = request.session_id is not None and not request.has_images and not strict
        if model.vision or known or not (session.image_ids or request.has_images):
            return
        values: dict[str, Value] = {"model": model.name, "installed": self.pool.state.seeing}
        raise ModelLacksVision("model_lacks_vision_named", values=values).at("model")

    def _builder(self, request: ChatRequest, model: ModelInfo, new: Mapping[ImagePart, Rendition], hold: Hold) -> Build:
        """Return the function that builds engine requests, with the bytes of the question's own images (`new`) and of those stored
        earlier."""

        async def build(messages: tuple[Message, ...], runner: Options) -> EngineRequest:
            renditions = {
                part: self.attachments.priced(rendition, model) for part, rendition in new.items()
            }  # the cost may be known by now
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
                names_stop=request.names_stop,
            )

        return build

    def pins(self, model: str) -> Options:
        """Return the runner options that the settings pin for a model."""
        for name, pins in self.settings.models.items():
            if same_name(name, model):
                return Options(**pins.model_dump())
        return Options()


def _last_question(messages: Sequence[Message]) -> int:
    """Return the index where the last question begins: the first message of the last run of user messages; 0 if there are none."""
    last = max((place for place, message in enumerate(messages) if message.role == "user"), default=0)
    while last and messages[last].role == messages[last - 1].role == "user":
        last -= 1
    return last


def _newest(messages: Sequence[Message], begin: int) -> int:
    """Return the index where the new messages begin: after the last assistant message since `begin`, which is where the question
    begins.

    The beginning of an answer at the very end does not count as an assistant message.
    """
    end = len(messages)
    while end > begin and messages[end - 1].role == "assistant":
        end -= 1
    return next((place for place in range(end, begin, -1) if messages[place - 1].role == "assistant"), begin)


def _asking(history: Conversation, question: tuple[Message, ...]) -> Conversation:
    """Add the question to the conversation.

    Unanswered turns of a session go before the question, in the same message, so that nothing is lost and roles alternate. The tool
    calls that the question is about go before it too.
    """
    if not history.question or question[0].role != "user":
        return replace(history, question=(*history.question, *question))
    return replace(history, question=(*history.with_question(*question[0].parts).question, *question[1:]))


def _beside(history: Conversation, window: Window, rules: Rules, scale: Scale) -> int:
    """Estimate the tokens that are always sent together with a question: the instructions, and the parts of earlier turns that are
    never dropped for a new question."""
    if rules.policy != "strict":
        window = replace(window, start=len(history.exchanges))
    instructions = scale.message(history.instructions) if history.instructions else 0
    return instructions + cost(history.exchanges, window, rules)


def _reopened(conversation: Conversation, window: Window, rules: Rules, beyond: frozenset[int]) -> Window:
    """Return the window before anything more is dropped: without the images `beyond`, but with those that the user has pinned since
    they were dropped."""
    images = (item for exchange in conversation.exchanges for item in exchange.numbered_images.items())
    pinned = {number for number, part in images if (rules.pins or {}).get(part.image_id)}
    return replace(window, gone=window.gone - pinned | beyond)


def _with_notes(question: tuple[Message, ...], lines: tuple[TextPart, ...]) -> tuple[Message, ...]:
    """Insert our own lines before the last part of the question."""
    first, *rest = question
    return (replace(first, parts=(*first.parts[:-1], *lines, *first.parts[-1:])), *rest)
