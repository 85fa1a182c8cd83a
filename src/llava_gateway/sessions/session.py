"""A conversation as a value: a turn is added by making a new one (pure; `memory.py` keeps them).

A turn that is asked in another one's place makes a branch: both follow the same turn, one of them is told. So the turns are a tree, and a
session has one path through it (`turns`), with all others beside it (`aside`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from llava_gateway.answers import Sent
from llava_gateway.chat import JSON, ChatRequest, Detail, FinishReason, ImagePart, Message, Part, Policy, Sight, TextPart, Timings, Usage
from llava_gateway.context.prompt import TYPICAL_IMAGE, Conversation
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Exchange, Window
from llava_gateway.context.words import glossary_note, language_of
from llava_gateway.engines.base import EngineName
from llava_gateway.errors import TurnNotFound
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


def new_id() -> str:
    """128 random bits, hex."""
    return secrets.token_hex(16)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and what came of it.

    Attributes:
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

    @property
    def bytes(self) -> int:
        texts = (self.answer, Message("user", self.parts).text)
        values = len(self.parts) + len(self.sent) + len(self.files) + 1
        kept = sum(warning.size for warning in self.warnings) + sum(file.bytes for file in self.files)
        return sum(len(text.encode()) for text in texts) + kept + PART_OVERHEAD_BYTES * values


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation with one model. `model` is "" until the first turn chose one.

    Attributes:
        turns: the path that the model is told, in order.
        aside: all other turns; those of the path that was left last stand last.
        policy: what happens when it no longer fits the model's context; None: as the settings say.
        glossary: lines about names and terms that the model is told after the system prompt.
        preset, options, detail, format: what its turns are asked with where they say nothing themselves, as in a question.
        pins: by image id, whether a person pinned an image (True) or let it go (False).
        sights: by image id, how much of an image is to be seen from now on, where that was changed; each turn keeps its region.
        window: which of the turns the model was told last.
        tokens: of the conversation up to here, as the engine counted it; None where it did not, or something was changed since.
        summary, summary_of: what the model made of it, when the window began at exchange `summary_of`; -1 for never.
    """

    id: str = field(default_factory=new_id)
    title: str = ""
    system: str = ""
    model: str = ""
    engine: EngineName | None = None
    turns: tuple[Turn, ...] = ()
    aside: tuple[Turn, ...] = ()
    policy: Policy | None = None
    glossary: tuple[str, ...] = ()
    preset: str | None = None
    options: JSON = field(default_factory=dict)
    detail: Detail | None = None
    format: Literal["json"] | JSON | None = None
    pins: Mapping[str, bool] = field(default_factory=dict)
    sights: Mapping[str, Sight] = field(default_factory=dict)
    window: Window = Window()
    tokens: int | None = None
    summary: str = ""
    summary_of: int = -1
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    @property
    def head(self) -> tuple[Message, ...]:
        """The message before all turns: the system prompt, and the glossary; none where there are neither."""
        glossary = glossary_note(self.glossary) if self.glossary else ""
        words = "\n\n".join(filter(None, (self.system, glossary)))
        return (Message("system", (TextPart(words),)),) if words else ()

    def conversation(self, parts: tuple[Part, ...], scale: Scale = Scale()) -> Conversation:
        """All that could be sent when `parts` are asked next.

        The parts of a turn that got no answer go into the next question: nothing that the person gave is lost, and roles alternate.

        Args:
            scale: by which the texts' tokens are reckoned.
        """
        exchanges: list[Exchange] = []
        unanswered: tuple[Turn, ...] = ()
        first_image = 1
        for index, turn in enumerate(self.turns):
            unanswered += (turn,)
            if turn.answer:
                exchanges.append(self._exchange(index, unanswered, first_image, scale))
                first_image += len(exchanges[-1].images)
                unanswered = ()
        left = tuple(part for turn in unanswered for part in turn.parts) + parts
        question = (Message("user", left),) if left else ()
        return Conversation(self.head, tuple(exchanges), question, language_of(self.system)).with_sights(self.seen)

    def _exchange(self, index: int, turns: tuple[Turn, ...], first_image: int, scale: Scale) -> Exchange:
        """The last of the turns was answered, those before it were not."""
        asked = Message("user", tuple(part for turn in turns for part in turn.parts))
        answer = turns[-1].answer
        tokens, size = (one.message(asked.text) + one.message(answer) for one in (scale, Scale()))
        costs = {part: sent.tokens for turn in turns for part, sent in zip(turn.images, turn.sent, strict=False)}
        images = tuple(costs.get(part) or TYPICAL_IMAGE for part in asked.images)
        messages = (asked, Message("assistant", (TextPart(answer),)))
        return Exchange(index, messages, tokens, images, first_image, turns[-1].id, size)

    def seen(self, part: ImagePart) -> ImagePart:
        """The image with the sight that was chosen for it since: how much is shown may change, what is looked at stays."""
        if part.image_id not in self.sights:
            return part
        return replace(part, sight=replace(self.sights[part.image_id], region=part.sight.region))

    def under(self, request: ChatRequest) -> Session:
        """The session as the request is asked in it: at the turn it follows, with the system prompt, glossary and policy that it brings.

        Raises TurnNotFound.
        """
        try:
            session = self if request.after is None else self.after(request.after)
        except TurnNotFound as error:
            error.param = "after"
            raise
        given = {name: getattr(request, name) for name in ("system", "glossary", "policy")}
        changes = {name: value for name, value in given.items() if value is not None and value != getattr(session, name)}
        return replace(session, tokens=None, **changes) if changes else session

    @property
    def every_turn(self) -> tuple[Turn, ...]:
        """Of all branches, in the order they were asked."""
        return tuple(sorted((*self.aside, *self.turns), key=lambda turn: turn.id))

    @property
    def siblings(self) -> Mapping[int, tuple[int, ...]]:
        """By the turn that they follow (or FIRST), the ids of all turns that follow it, in the order they were asked."""
        found: dict[int, tuple[int, ...]] = {}
        for turn in self.every_turn:
            found[turn.parent] = (*found.get(turn.parent, ()), turn.id)
        return found

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Every image of the path once, in order of appearance."""
        return _images_of(self.turns)

    @property
    def every_image_id(self) -> tuple[str, ...]:
        """Every image of every branch once."""
        return _images_of(self.every_turn)

    @property
    def turn_count(self) -> int:
        """Of all branches."""
        return len(self.turns) + len(self.aside)

    @property
    def text_bytes(self) -> int:
        beside = (self.title, self.system, json.dumps([self.options, self.format]), *self.glossary)
        text = sum(len(text.encode()) for text in beside) + PART_OVERHEAD_BYTES
        return text + sum(turn.bytes for turns in (self.turns, self.aside) for turn in turns)

    def with_turn(self, turn: Turn) -> Session:
        """The session with one more turn at its end; the first of all gives the title where there is none."""
        last = max((known.id for turns in (self.turns, self.aside) for known in turns), default=0)
        added = replace(turn, id=last + 1, parent=self.turns[-1].id if self.turns else FIRST)
        return replace(self, turns=(*self.turns, added), title=self.title or title_of(turn.parts), updated_at=now())

    def after(self, turn_id: int) -> Session:
        """The session as it was when this turn was its last; FIRST: when it had none. Raises TurnNotFound."""
        return self._along(self._path_to(turn_id))

    def on_branch(self, turn_id: int) -> Session:
        """The session with the path through this turn, on to where that branch was left. Raises TurnNotFound."""
        if turn_id == FIRST:
            raise TurnNotFound
        if any(turn.id == turn_id for turn in self.turns):
            return self
        path = list(self._path_to(turn_id))
        left_last = {turn.parent: turn for turn in self.aside}
        while path[-1].id in left_last:
            path.append(left_last[path[-1].id])
        return self._along(tuple(path))

    def _path_to(self, turn_id: int) -> tuple[Turn, ...]:
        by_id = {turn.id: turn for turns in (self.aside, self.turns) for turn in turns}
        path: list[Turn] = []
        while turn_id != FIRST:
            if turn_id not in by_id:
                raise TurnNotFound
            path.append(by_id[turn_id])
            turn_id = path[-1].parent
        return tuple(reversed(path))

    def _along(self, path: tuple[Turn, ...]) -> Session:
        """The session with this path; what was told along another one is forgotten with it."""
        if path == self.turns:
            return self
        sent = {turn.id for turn in path}
        aside = tuple(turn for turns in (self.aside, self.turns) for turn in turns if turn.id not in sent)
        return replace(self, turns=path, aside=aside, **_NOTHING_TOLD)

    def with_images(self, ids: Mapping[str, str], files: Mapping[str, ImageInfo]) -> Session:
        """The session with other ids for its images, each by the one it has, and with `files` where a turn does not tell its own."""

        def renamed(turn: Turn) -> Turn:
            parts = (ImagePart(ids[part.image_id], part.sight) if isinstance(part, ImagePart) else part for part in turn.parts)
            return replace(turn, parts=tuple(parts), files=turn.files or tuple(files[part.image_id] for part in turn.images))

        return replace(
            self,
            turns=tuple(map(renamed, self.turns)),
            aside=tuple(map(renamed, self.aside)),
            pins={ids[image_id]: pinned for image_id, pinned in self.pins.items()},
            sights={ids[image_id]: sight for image_id, sight in self.sights.items()},
        )

    def forked(self, at: int) -> Session:
        """A new session with the first `at` turns of the path. Raises IndexError when there are fewer."""
        if not 0 <= at <= len(self.turns):
            raise IndexError(at)
        kept = replace(self, id=new_id(), turns=self.turns[:at], aside=(), created_at=now(), updated_at=now())
        shown = set(kept.every_image_id)
        kept = replace(
            kept,
            pins={image_id: pinned for image_id, pinned in self.pins.items() if image_id in shown},
            sights={image_id: sight for image_id, sight in self.sights.items() if image_id in shown},
        )
        return kept if at == len(self.turns) else replace(kept, **_NOTHING_TOLD)


def _images_of(turns: tuple[Turn, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.image_id for turn in turns for part in turn.images))


_NOTHING_TOLD: Mapping[str, Any] = {"window": Window(), "tokens": None, "summary": "", "summary_of": -1}


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
