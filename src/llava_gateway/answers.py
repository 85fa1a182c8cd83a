"""What a client gets: the events of an answer, and the whole of it with a report of its images and of the context."""

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
    """What of an image went to the model: `pieces` files, the largest of them `width` x `height` pixels."""

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
    """An image of the question: its id, its upright size, what was sent and what was changed on the way."""

    id: str
    width: int
    height: int
    sent: Sent
    changes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something the model is not told any more: the text of a turn, or an image of it (`image_id`). `turn` is its place in the branch."""

    turn: int
    turn_id: int
    image_id: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class ContextReport:
    """How full the model's context is.

    Attributes:
        used: tokens of prompt and answer as the engine counted them.
        limit: tokens there are; None where the engine doesn't tell.
        images: tokens of it that images take, None where that is not known.
        dropped: what the model is not told any more, oldest first.
        warnings: what has just been dropped or changed.
    """

    used: int | None = None
    limit: int | None = None
    images: int | None = None
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, as the last event of a stream and the body of a plain request carry it.

    Attributes:
        turn_id: of its turn in the session.
        stop: the text of `options.stop` that ended it; None where none did, or the engine does not tell which.
        logprobs: of its tokens, where they were asked for.
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
    """Waiting for a slot; position 1 is next."""

    position: int


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer, with all of it."""

    answer: Answer


AnswerEvent: TypeAlias = Queued | Loading | PromptProgress | TextDelta | ReasoningDelta | ToolCall | Done
"""What a client gets of an answer, in order; `Done` is the last. What goes wrong is raised."""
