"""One question of a session and what came of it, as a value (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from llava_gateway.answers import Sent
from llava_gateway.chat import FinishReason, ImagePart, Message, Part, Timings, Usage
from llava_gateway.images.info import ImageInfo
from llava_gateway.notes import Note
from llava_gateway.options import Options

TurnStatus: TypeAlias = Literal["complete", "cancelled", "incomplete"]
"""complete: the engine finished; cancelled: the client left; incomplete: engine or server failed. What came of the answer is kept."""

TITLE_MAX_CHARS = 60
FIRST = 0
"""What the first turn of a conversation follows."""
PART_OVERHEAD_BYTES = 256
"""What a turn costs in memory beside its text, roughly; budgets need no more."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what came of it.

    Attributes:
        bytes: what it takes in memory, roughly; kept, because a session adds it up for every turn of its own.
        answer: "" where nothing came. sent: what went to the model of each image, in order.
        files: what is known of the file that each image came as, in order; the same pixels may have come as another file before.
        id: counts the turns of the session from 1, in the order they were asked. parent: the turn it follows, or FIRST.
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
    def tokens(self) -> int | None:
        """Of the conversation up to the end of this turn; None where the engine didn't count."""
        prompt, answer = self.usage.prompt_tokens, self.usage.completion_tokens
        return None if prompt is None or answer is None else prompt + answer

    @property
    def prompt(self) -> str:
        return Message("user", self.parts).asked

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return Message("user", self.parts).images

    def _bytes(self) -> int:
        texts = (self.answer, Message("user", self.parts).text)
        values = len(self.parts) + len(self.sent) + len(self.files) + 1
        kept = sum(warning.size for warning in self.warnings) + sum(file.bytes for file in self.files)
        return sum(len(text.encode()) for text in texts) + kept + PART_OVERHEAD_BYTES * values


def title_of(parts: Sequence[Part]) -> str:
    """The first words of a question, cut at a word where that is possible."""
    text = Message("user", tuple(parts)).asked.split()
    title = " ".join(text)
    if not title:
        return "Picture" if any(isinstance(part, ImagePart) for part in parts) else ""
    if len(title) <= TITLE_MAX_CHARS:
        return title
    cut = title[:TITLE_MAX_CHARS]
    head, space, _ = cut.rpartition(" ")
    return f"{head if space and len(head) > TITLE_MAX_CHARS // 2 else cut}…"
