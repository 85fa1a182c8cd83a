"""One turn of a session as a value: a question and its answer (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from llava_gateway.answers import Sent
from llava_gateway.chat import FinishReason, Message, Timings, Usage
from llava_gateway.images.info import ImageInfo
from llava_gateway.notes import Note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part

TurnStatus: TypeAlias = Literal["complete", "cancelled", "incomplete"]
"""complete: the engine finished; cancelled: the client left; incomplete: engine or server failed. A partial answer is kept."""

TITLE_MAX_CHARS = 60
FIRST = 0
"""The parent of the first turn of a conversation."""
_OF_THE_END = ("context_full", "format_cut")
"""Warnings about how an answer ended, which no longer hold once it goes on."""
PART_OVERHEAD_BYTES = 256
"""What a turn costs in memory besides its text, roughly; budgets need no better figure."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    Attributes:
        bytes: what the turn takes in memory, roughly; stored, because a session adds it up over all its turns.
        answer: "" if there is none. sent: what was sent to the model of each image, in order.
        files: facts about the file of each image, in order. The same pixels may have come in another file before.
        id: counts the turns of the session from 1, in the order they were asked. parent: the turn that it follows, or FIRST.
    """

    parts: tuple[Part, ...]
    answer: str = ""
    status: TurnStatus = "complete"
    model: str = ""
    finish_reason: FinishReason | None = None
    error_code: str | None = None
    sent: tuple[Sent, ...] = ()
    files: tuple[ImageInfo, ...] = ()
    options: Options = Options()
    usage: Usage = Usage()
    timings: Timings = Timings()
    warnings: tuple[Note, ...] = ()
    created_at: datetime = field(default_factory=now)
    id: int = 0
    parent: int = FIRST
    bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", self._bytes())

    @property
    def prompt(self) -> str:
        return Message("user", self.parts).text_without_notes

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return Message("user", self.parts).images

    @property
    def is_cut(self) -> bool:
        """Whether the answer ended before its end: it was stopped, broke off, or reached the most tokens allowed."""
        return self.status != "complete" or self.finish_reason == "length"

    def continued_by(self, rest: Turn) -> Turn:
        """Return this turn as `rest` ended it, whose answer has all words. Tokens and times are sums over all parts."""
        settled = tuple(warning for warning in self.warnings if warning.code not in _OF_THE_END)
        return replace(
            rest,
            id=self.id,
            parent=self.parent,
            parts=self.parts,
            sent=self.sent,
            files=self.files,
            created_at=self.created_at,
            usage=self.usage.plus(rest.usage),
            timings=self.timings.plus(rest.timings),
            warnings=tuple(dict.fromkeys((*settled, *rest.warnings))),
        )

    def _bytes(self) -> int:
        texts = (self.answer, Message("user", self.parts).text)
        values = len(self.parts) + len(self.sent) + len(self.files) + 1
        kept = sum(warning.size for warning in self.warnings) + sum(file.bytes for file in self.files)
        return sum(len(text.encode()) for text in texts) + kept + PART_OVERHEAD_BYTES * values


def title_of(parts: Sequence[Part]) -> str:
    """Return the first words of a question, cut between words if possible."""
    text = Message("user", tuple(parts)).text_without_notes.split()
    title = " ".join(text)
    if not title:
        return "Picture" if any(isinstance(part, ImagePart) for part in parts) else ""
    if len(title) <= TITLE_MAX_CHARS:
        return title
    cut = title[:TITLE_MAX_CHARS]
    head, space, _ = cut.rpartition(" ")
    return f"{head if space and len(head) > TITLE_MAX_CHARS // 2 else cut}…"
