"""A conversation as a value: a turn is added by making a new one (pure; `memory.py` keeps them)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from llava_gateway.chat import FinishReason, ImagePart, Message, Options, Part, Sent, TextPart, Timings, Usage
from llava_gateway.engines.base import EngineName

TurnStatus: TypeAlias = Literal["complete", "cancelled", "incomplete"]
"""complete: the engine finished; cancelled: the client left; incomplete: engine or server failed. What came of the answer is kept."""

TITLE_MAX_CHARS = 60
PART_OVERHEAD_BYTES = 256
"""What a turn costs in memory beside its text, roughly; budgets need no more."""


def new_id() -> str:
    """128 random bits, hex."""
    return secrets.token_hex(16)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what came of it. `answer` is "" where nothing came; `sent` is what went to the model of each picture, in order."""

    parts: tuple[Part, ...]
    answer: str = ""
    status: TurnStatus = "complete"
    model: str = ""
    finish_reason: FinishReason | None = None
    error_code: str | None = None
    sent: tuple[Sent, ...] = ()
    options: Options = Options()
    usage: Usage = Usage()
    timings: Timings = Timings()
    warnings: tuple[str, ...] = ()
    created_at: datetime = field(default_factory=now)

    @property
    def prompt(self) -> str:
        return Message("user", self.parts).asked

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return Message("user", self.parts).images

    @property
    def bytes(self) -> int:
        return len(self.answer.encode()) + len(self.prompt.encode()) + PART_OVERHEAD_BYTES * (len(self.parts) + 1)


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation with one model. `model` is "" until the first turn chose one."""

    id: str = field(default_factory=new_id)
    title: str = ""
    system: str = ""
    model: str = ""
    engine: EngineName | None = None
    turns: tuple[Turn, ...] = ()
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    def messages(self, parts: tuple[Part, ...]) -> tuple[Message, ...]:
        """What the model is told when `parts` are asked next: system prompt, turns, then the question.

        The parts of a turn that got no answer go into the next question: nothing that the person gave is lost, and roles alternate.
        """
        told: list[Message] = [Message("system", (TextPart(self.system),))] if self.system else []
        unanswered: tuple[Part, ...] = ()
        for turn in self.turns:
            if not turn.answer:
                unanswered += turn.parts
                continue
            told += [Message("user", unanswered + turn.parts), Message("assistant", (TextPart(turn.answer),))]
            unanswered = ()
        return (*told, Message("user", unanswered + parts))

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Every picture of the session once, in order of appearance."""
        return tuple(dict.fromkeys(part.image_id for turn in self.turns for part in turn.images))

    @property
    def text_bytes(self) -> int:
        return sum(turn.bytes for turn in self.turns) + len(self.title.encode()) + len(self.system.encode()) + PART_OVERHEAD_BYTES

    def with_turn(self, turn: Turn) -> Session:
        """The session with one more turn; its first gives the title where there is none."""
        return replace(self, turns=(*self.turns, turn), title=self.title or title_of(turn.parts), updated_at=now())

    def forked(self, at: int) -> Session:
        """A new session with the first `at` turns. Raises IndexError when there are fewer."""
        if not 0 <= at <= len(self.turns):
            raise IndexError(at)
        return replace(self, id=new_id(), turns=self.turns[:at], created_at=now(), updated_at=now())


def title_of(parts: tuple[Part, ...]) -> str:
    """The first words of a question, cut at a word where that is possible."""
    text = " ".join(part.text for part in parts if isinstance(part, TextPart)).split()
    title = " ".join(text)
    if not title:
        return "Picture" if any(isinstance(part, ImagePart) for part in parts) else ""
    if len(title) <= TITLE_MAX_CHARS:
        return title
    cut = title[:TITLE_MAX_CHARS]
    head, space, _ = cut.rpartition(" ")
    return f"{head if space and len(head) > TITLE_MAX_CHARS // 2 else cut}…"
