"""Define what a client gets: the events of an answer, and the whole answer with reports on its images and the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from llava_gateway.chat import (
    FinishReason,
    Label,
    Loading,
    Logprob,
    PromptProgress,
    ReasoningDelta,
    Rendition,
    TextDelta,
    Timings,
    ToolCall,
    Usage,
)
from llava_gateway.notes import Note


@dataclass(frozen=True, slots=True)
class Sent:
    """The rendition of an image that was sent to the model: `pieces` files, the largest of `width` x `height` pixels."""

    width: int
    height: int
    format: str
    tokens: int | None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    pieces: int = 1

    @classmethod
    def of(cls, rendition: Rendition) -> Sent:
        first = max(rendition.pieces, key=lambda piece: piece.width * piece.height)
        return cls(first.width, first.height, first.format, rendition.tokens, rendition.label, rendition.detail, len(rendition.pieces))


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """An image of the question: its id, its upright size in pixels, the rendition that was sent, and the changes made."""

    id: str
    width: int
    height: int
    sent: Sent
    changes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that is no longer sent to the model: the text of a turn, or one of its images.

    Attributes:
        turn: position of the turn in the branch.
        turn_id: id of the turn.
        image_id: id of the image; None for the text.
        tokens: tokens that are no longer sent.
    """

    turn: int
    turn_id: int
    image_id: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class ContextReport:
    """The use of the model's context.

    Attributes:
        used: tokens of prompt and answer by the engine's count; None if unknown.
        limit: context length in tokens; None if the engine doesn't report it.
        images: tokens of the images in the prompt; None if unknown.
        dropped: texts and images that are no longer sent, oldest first.
        warnings: notes on what was dropped or changed for this answer.
    """

    used: int | None = None
    limit: int | None = None
    images: int | None = None
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the last event of a stream, and the body of a response that is not streamed.

    Attributes:
        turn_id: id of its turn in the session; None without a session.
        stop: the text of `options.stop` that ended it; None if none did or the engine doesn't report which.
        logprobs: log probabilities of its tokens, if the request asked for them.
    """

    id: str
    model: str
    engine: str
    session_id: str | None
    text: str
    finish_reason: FinishReason
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    stop: str | None = None
    images: tuple[AnsweredImage, ...] = ()
    usage: Usage = Usage()
    timings: Timings = Timings()
    context: ContextReport = ContextReport()
    turn_id: int | None = None
    warnings: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits for a slot; position 1 is next."""

    position: int


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer, with the whole answer."""

    answer: Answer


AnswerEvent: TypeAlias = Queued | Loading | PromptProgress | TextDelta | ReasoningDelta | ToolCall | Done
"""The events of an answer that a client gets, in order; `Done` is the last. Errors are raised."""
