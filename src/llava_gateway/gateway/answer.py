"""Collects one answer while it is being generated, and says how long each wait for its next event may take."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from llava_gateway.answers import Answer, AnsweredImage, ContextReport, Sent
from llava_gateway.chat import (
    ChatRequest,
    EngineRequest,
    Finish,
    Loading,
    Logprob,
    PromptProgress,
    ReasoningDelta,
    TextDelta,
    Timings,
    ToolCall,
    Usage,
)
from llava_gateway.engines.base import ModelInfo
from llava_gateway.gateway.attachments import Attachment
from llava_gateway.gateway.continuation import joint
from llava_gateway.gateway.interrupt import Interrupt
from llava_gateway.gateway.prompt import Prompt
from llava_gateway.notes import Note, note
from llava_gateway.parts import ImagePart, Part
from llava_gateway.sessions.session import new_id
from llava_gateway.sessions.turn import Turn, TurnStatus
from llava_gateway.settings import Settings

Delta: TypeAlias = PromptProgress | TextDelta | ReasoningDelta | ToolCall


@dataclass(slots=True)
class Answering:
    """The state of one answer that is being generated.

    Attributes:
        request: the client's request.
        prompt: the model that answers, and the request to its engine.
        started: when the request came in, in monotonic seconds.
        continued: the turn whose answer goes on; None for a new question.
    """

    request: ChatRequest
    prompt: Prompt
    started: float
    continued: Turn | None = None
    id: str = field(default_factory=lambda: f"answer_{new_id()}")
    interrupt: Interrupt = field(default_factory=Interrupt)
    warnings: list[Note] = field(default_factory=list)
    prepared_at: float = field(default_factory=time.monotonic)
    admitted_at: float | None = None
    first_token_at: float | None = None
    loading: bool = False
    accepted: bool = False
    _joint: str | None = None
    """What goes before the next words of a model that was asked for the rest of its answer; None once there are such words."""
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _tool_calls: list[ToolCall] = field(default_factory=list)
    _logprobs: list[Logprob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.warnings += self.prompt.warnings
        if self.continued is not None:
            self._text.append(self.continued.answer)
            self._joint = None if self.engine_request.prefill else joint(self.continued.answer)

    @property
    def model(self) -> ModelInfo:
        return self.prompt.model

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return self.prompt.attachments

    @property
    def engine_request(self) -> EngineRequest:
        return self.prompt.engine_request

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def has_new_content(self) -> bool:
        """Whether there is anything to keep: a new question, or new words of an answer that goes on."""
        return self.continued is None or self.text != self.continued.answer

    @property
    def has_prefill(self) -> bool:
        """Whether the client wrote the beginning of the answer itself."""
        return self.continued is None and bool(self.engine_request.prefill)

    def replace_prompt(self, prompt: Prompt) -> None:
        """Replace the prompt with a smaller one, after the engine rejected the first."""
        self.warnings += [warning for warning in prompt.warnings if warning not in self.warnings]
        self.prompt = prompt

    def note_loading(self, event: Loading) -> None:
        """Note that the engine must load the model first. Warns a client that set a runner option, with the time of the last load."""
        self.loading = True
        if self.request.options.runner.given():
            reason = event.reason or note("model_not_loaded", model=event.model)
            took = {} if event.last_load_ms is None else {"last_load_ms": event.last_load_ms}
            self.warnings.append(Note("model_reload", {"reason": reason.code, **reason.values, **took}))

    def add(self, event: Delta) -> Delta | None:
        """Record an event. Returns the event to forward, or None if nothing of it remains.

        LLaVA's templates make answers begin with a space. Removes that space, unless the client wrote the beginning of the answer.
        """
        if isinstance(event, TextDelta):
            self._logprobs += event.logprobs
            if self._joint is not None:
                words = event.text.lstrip()
                if not words:
                    return None
                event, self._joint = replace(event, text=self._joint + words), None
            if not any(self._text) and not self.engine_request.prefill:
                event = replace(event, text=event.text.lstrip())
                if not (event.text or event.logprobs):
                    return None
            self._text.append(event.text)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolCall):
            self._tool_calls.append(event)
        else:
            return event
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        return event

    def limit(self, settings: Settings, *, reports_progress: bool) -> float:
        """Return how many seconds the next event may take."""
        if self.first_token_at is not None:
            left = self.first_token_at + settings.answer_timeout - time.monotonic()
            return max(0.0, min(settings.token_gap_timeout, left))
        silence = settings.progress_timeout if reports_progress else settings.first_token_timeout
        return silence + (settings.load_timeout if self.loading and not self.accepted else 0)

    def timings(self, engine: Timings) -> Timings:
        """Return the engine's timings together with ours, in milliseconds."""
        admitted = self.admitted_at or time.monotonic()
        return replace(
            engine,
            prepare_ms=_ms(self.started, self.prepared_at),
            queue_ms=_ms(self.prepared_at, admitted),
            first_token_ms=None if self.first_token_at is None else _ms(self.started, self.first_token_at),
            total_ms=_ms(self.started, time.monotonic()),
        )

    async def parts(self) -> tuple[Part, ...]:
        """Return the parts of the question with their final image ids, once all its images are stored. Raises ImageError."""
        if self.continued is not None:
            return self.continued.parts
        ids = iter([await each.image.stored() for each in self.attachments])
        parts = (part for message in self.prompt.question for part in message.parts)
        return tuple(ImagePart(next(ids), part.sight) if isinstance(part, ImagePart) else part for part in parts)

    def cut(self, finish: Finish) -> tuple[Note, ...]:
        """Return warnings about an answer that was cut off: the context was full, or its JSON is incomplete."""
        if finish.reason != "length":
            return ()
        limit, usage = self.prompt.fitted.limit, finish.usage
        used = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        full = (note("context_full", limit=limit),) if limit is not None and used >= limit - 1 else ()
        return full if self.request.format is None or _is_json(self.text) else (*full, note("format_cut"))

    def turn(self, parts: tuple[Part, ...], status: TurnStatus, finish: Finish | None = None, error_code: str | None = None) -> Turn:
        """Return the turn that the session keeps."""
        end = finish or Finish("stop")
        made = Turn(
            parts=parts,
            answer=self.text,
            status=status,
            model=self.model.name,
            finish_reason=finish.reason if finish else None,
            error_code=error_code,
            sent=tuple(Sent.of(each.rendition) for each in self.attachments),
            files=tuple(each.file for each in self.attachments),
            options=self.request.options,
            usage=end.usage,
            timings=self.timings(end.timings),
            warnings=tuple(self.warnings),
        )
        return self.continued.continued_by(made) if self.continued else made

    def whole(self, finish: Finish, parts: tuple[Part, ...], turn_id: int | None) -> Answer:
        """Return the complete answer that `finish` ended. `turn_id` is the id of its turn in the session."""
        ids = [part.image_id for part in parts if isinstance(part, ImagePart)]
        before = self.continued
        return Answer(
            id=self.id,
            model=self.model.name,
            engine=self.model.engine,
            session_id=self.request.session_id,
            text=self.text,
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._tool_calls),
            logprobs=tuple(self._logprobs),
            stop=finish.stop,
            finish_reason=finish.reason,
            images=tuple(
                AnsweredImage(
                    id=image_id,
                    width=each.file.width,
                    height=each.file.height,
                    sent=Sent.of(each.rendition),
                    changes=each.file.changes,
                )
                for image_id, each in zip(ids, self.attachments, strict=True)
            ),
            usage=finish.usage if before is None else before.usage.plus(finish.usage),
            timings=self.timings(finish.timings) if before is None else before.timings.plus(self.timings(finish.timings)),
            context=self._context(finish.usage),
            turn_id=turn_id,
            warnings=tuple(self.warnings),
        )

    def _context(self, usage: Usage) -> ContextReport:
        fitted, request = self.prompt.fitted, self.engine_request
        images = [rendition.tokens for rendition in request.shown]
        return ContextReport(
            used=None if usage.prompt_tokens is None else usage.prompt_tokens + (usage.completion_tokens or 0),
            limit=fitted.limit,
            images=None if None in images else sum(tokens or 0 for tokens in images),
            dropped=fitted.dropped,
            warnings=fitted.warnings,
        )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
