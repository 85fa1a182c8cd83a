"""A session as a value: its turns, their defaults, and the state of its last prompt (pure; `memory.py` stores sessions)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from llava_gateway.chat import JSON, ChatRequest, Detail, Message, Policy
from llava_gateway.context.prompt import Conversation
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Window
from llava_gateway.context.words import glossary_note, language_of
from llava_gateway.engines.base import EngineName
from llava_gateway.errors import TurnNotFound
from llava_gateway.images.info import ImageInfo
from llava_gateway.parts import Part, TextPart
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.turn import PART_OVERHEAD_BYTES, Turn, now, title_of


def new_id() -> str:
    """Return 128 random bits in hex."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class SessionDefaults:
    """The defaults for the turns of a session.

    Attributes:
        system: the system prompt of every turn; "" for none.
        policy: what happens when the session no longer fits the model's context; None: the policy of the settings.
        glossary: lines about names and terms, sent to the model after the system prompt.
        preset, options, detail, format: for turns that don't set them, spelled as in a request.
    """

    system: str = ""
    policy: Policy | None = None
    glossary: tuple[str, ...] = ()
    preset: str | None = None
    options: JSON = field(default_factory=dict)
    detail: Detail | None = None
    format: Literal["json"] | JSON | None = None

    @property
    def head(self) -> tuple[Message, ...]:
        """The message before all turns: the system prompt and the glossary. Empty if there are neither."""
        glossary = glossary_note(self.glossary) if self.glossary else ""
        words = "\n\n".join(filter(None, (self.system, glossary)))
        return (Message("system", (TextPart(words),)),) if words else ()

    @property
    def bytes(self) -> int:
        texts = (self.system, json.dumps([self.options, self.format]), *self.glossary)
        return sum(len(text.encode()) for text in texts)

    def under(self, request: ChatRequest) -> SessionDefaults:
        """Return the defaults with the system prompt, policy and glossary of the request."""
        return replace(
            self,
            system=self.system if request.system is None else request.system,
            policy=self.policy if request.policy is None else request.policy,
            glossary=self.glossary if request.glossary is None else request.glossary,
        )


@dataclass(frozen=True, slots=True)
class PromptState:
    """The state of the last prompt on the current path. It starts anew on another path.

    Attributes:
        window: which turns were sent to the model.
        tokens: the conversation up to here, as the engine counted it; None if it did not count, or if something has changed since.
        summary, summary_of: the model's summary, made when the window began at exchange `summary_of`; -1 if there is none.
    """

    window: Window = Window()
    tokens: int | None = None
    summary: str = ""
    summary_of: int = -1


@dataclass(frozen=True, slots=True)
class Summary:
    """A session without its turns, for lists. `turn_count` counts the turns of the current branch."""

    id: str
    title: str
    model: str
    engine: EngineName | None
    created_at: datetime
    updated_at: datetime
    turn_count: int
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation with one model.

    Attributes:
        model: "" until the first turn has chosen one.
        temporary: whether it is never written to disk.
    """

    id: str = field(default_factory=new_id)
    title: str = ""
    model: str = ""
    engine: EngineName | None = None
    branches: Branches = field(default_factory=Branches)
    defaults: SessionDefaults = field(default_factory=SessionDefaults)
    prompt_state: PromptState = field(default_factory=PromptState)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    temporary: bool = False

    @property
    def summary(self) -> Summary:
        return Summary(
            self.id, self.title, self.model, self.engine, self.created_at, self.updated_at, len(self.branches.turns), self.temporary
        )

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The path that is sent to the model, in order."""
        return self.branches.turns

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Every image of the path once, in order of appearance."""
        return self.branches.image_ids

    @property
    def every_image_id(self) -> tuple[str, ...]:
        """Every image of every branch once."""
        return self.branches.every_image_id

    @property
    def text_bytes(self) -> int:
        """What the session takes in memory without its images, in bytes, roughly."""
        return len(self.title.encode()) + self.defaults.bytes + self.branches.bytes + PART_OVERHEAD_BYTES

    def conversation(self, parts: tuple[Part, ...], scale: Scale = Scale()) -> Conversation:
        """Return everything that could be sent if `parts` are asked next, after the parts of unanswered turns.

        Args:
            scale: the model's vocabulary, for estimates of the texts' tokens.
        """
        exchanges, unanswered = self.branches.exchanges(scale)
        asked = unanswered + parts
        question = (Message("user", asked),) if asked else ()
        language = language_of(self.defaults.system)
        return Conversation(self.defaults.head, exchanges, question, language).with_sights(self.branches.seen)

    def under(self, request: ChatRequest) -> Session:
        """Return the session for a request: at the turn that the request follows, with the request's system prompt, glossary and
        policy.

        Raises TurnNotFound.
        """
        try:
            session = self if request.after is None else self.after(request.after)
        except TurnNotFound as error:
            raise error.at("turn") from None
        defaults = session.defaults.under(request)
        return session if defaults == session.defaults else replace(session, defaults=defaults).uncounted()

    def same_beside(self, other: Session) -> bool:
        """Return whether both prompts agree in everything besides the turns. Then the same turns make the same prompt."""
        return _beside(self) == _beside(other)

    def uncounted(self) -> Session:
        """Return the session without its token count."""
        return replace(self, prompt_state=replace(self.prompt_state, tokens=None))

    def with_summary(self, summary: str, summary_of: int) -> Session:
        """Return the session with the model's summary, made when the window began at exchange `summary_of`."""
        return replace(self, prompt_state=replace(self.prompt_state, summary=summary, summary_of=summary_of))

    def with_turn(self, turn: Turn) -> Session:
        """Return the session with one more turn at its end, or with another value of its last turn. The first turn gives the title if there
        is none."""
        return replace(self, branches=self.branches.with_turn(turn), title=self.title or title_of(turn.parts), updated_at=now())

    def titled(self) -> Session:
        """Return the session with the title that its first turn gives."""
        first = next(iter(self.branches.every_turn), None)
        return replace(self, title=title_of(first.parts)) if first else self

    def after(self, turn_id: int) -> Session:
        """Return the session as it was when this turn was its last (FIRST: when it had none). Raises TurnNotFound."""
        return self._along(self.branches.after(turn_id))

    def before_last(self) -> Session:
        """Return the session as it was before its last turn was asked, with the window that this turn was asked with."""
        return replace(self.after(self.turns[-1].parent), prompt_state=replace(self.prompt_state, tokens=None))

    def on_branch(self, turn_id: int) -> Session:
        """Return the session with the path through this turn, up to where that branch was left. Raises TurnNotFound."""
        return self._along(self.branches.on_branch(turn_id))

    def with_images(self, ids: Mapping[str, str], files: Mapping[str, ImageInfo]) -> Session:
        """Return the session with each image id replaced by `ids[id]`, and with `files` for turns that have no facts about their files."""
        return replace(self, branches=self.branches.with_images(ids, files))

    def without_images(self, ids: Collection[str]) -> Session:
        """Return the session without these images, for images that are lost."""
        return replace(self, branches=self.branches.without_images(ids), prompt_state=PromptState())

    def forked(self, at: int) -> Session:
        """Return a new session with the first `at` turns of the path. Raises IndexError if there are fewer turns."""
        prompt_state = self.prompt_state if at == len(self.turns) else PromptState()
        return replace(self, id=new_id(), branches=self.branches.first(at), prompt_state=prompt_state, created_at=now(), updated_at=now())

    def _along(self, branches: Branches) -> Session:
        """Return the session on another path. Its prompt state is forgotten, because it belongs to the old path."""
        return self if branches is self.branches else replace(self, branches=branches, prompt_state=PromptState())


def _beside(session: Session) -> tuple[object, ...]:
    defaults, branches = session.defaults, session.branches
    return defaults.system, defaults.glossary, defaults.policy, branches.pins, branches.sights
