"""A session as a value: its turns, what they are asked with, and what the model was told (pure; `memory.py` keeps them)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from llava_gateway.chat import JSON, ChatRequest, Detail, Message, Part, Policy, TextPart
from llava_gateway.context.prompt import Conversation
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Window
from llava_gateway.context.words import glossary_note, language_of
from llava_gateway.engines.base import EngineName
from llava_gateway.errors import TurnNotFound
from llava_gateway.images.info import ImageInfo
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.turn import PART_OVERHEAD_BYTES, Turn, now, title_of


def new_id() -> str:
    """128 random bits, hex."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class SessionDefaults:
    """What the turns of a session are asked with.

    Attributes:
        system: the system prompt of every turn; "" for none.
        policy: what happens when the session no longer fits the model's context; None: as the settings say.
        glossary: lines about names and terms that the model is told after the system prompt.
        preset, options, detail, format: for turns that say nothing themselves, as in a question.
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
        """The message before all turns: the system prompt, and the glossary; none where there are neither."""
        glossary = glossary_note(self.glossary) if self.glossary else ""
        words = "\n\n".join(filter(None, (self.system, glossary)))
        return (Message("system", (TextPart(words),)),) if words else ()

    @property
    def bytes(self) -> int:
        texts = (self.system, json.dumps([self.options, self.format]), *self.glossary)
        return sum(len(text.encode()) for text in texts)

    def under(self, request: ChatRequest) -> SessionDefaults:
        """The defaults with the system prompt, policy and glossary that the request brings."""
        return replace(
            self,
            system=self.system if request.system is None else request.system,
            policy=self.policy if request.policy is None else request.policy,
            glossary=self.glossary if request.glossary is None else request.glossary,
        )


@dataclass(frozen=True, slots=True)
class PromptState:
    """What is known of the last prompt of the current path; it begins anew on another one.

    Attributes:
        window: which of the turns the model was told.
        tokens: of the conversation up to here, as the engine counted it; None where it did not, or something was changed since.
        summary, summary_of: what the model made of it, when the window began at exchange `summary_of`; -1 for never.
    """

    window: Window = Window()
    tokens: int | None = None
    summary: str = ""
    summary_of: int = -1


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation with one model. `model` is "" until the first turn chose one."""

    id: str = field(default_factory=new_id)
    title: str = ""
    model: str = ""
    engine: EngineName | None = None
    branches: Branches = field(default_factory=Branches)
    defaults: SessionDefaults = field(default_factory=SessionDefaults)
    prompt_state: PromptState = field(default_factory=PromptState)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The path that the model is told, in order."""
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
        """What the session takes in memory without its images, roughly."""
        return len(self.title.encode()) + self.defaults.bytes + self.branches.bytes + PART_OVERHEAD_BYTES

    def conversation(self, parts: tuple[Part, ...], scale: Scale = Scale()) -> Conversation:
        """All that could be sent when `parts` are asked next, after the parts of turns that got no answer.

        Args:
            scale: by which the texts' tokens are reckoned.
        """
        exchanges, unanswered = self.branches.exchanges(scale)
        asked = unanswered + parts
        question = (Message("user", asked),) if asked else ()
        language = language_of(self.defaults.system)
        return Conversation(self.defaults.head, exchanges, question, language).with_sights(self.branches.seen)

    def under(self, request: ChatRequest) -> Session:
        """The session as the request is asked in it: at the turn it follows, with the system prompt, glossary and policy that it brings.

        Raises TurnNotFound.
        """
        try:
            session = self if request.after is None else self.after(request.after)
        except TurnNotFound as error:
            raise error.at("turn") from None
        defaults = session.defaults.under(request)
        return session if defaults == session.defaults else replace(session, defaults=defaults).uncounted()

    def same_beside(self, other: Session) -> bool:
        """Whether all that stands beside the turns in the prompt is the same in both: then the same turns are the same prompt."""
        return _beside(self) == _beside(other)

    def uncounted(self) -> Session:
        """The session without its token count."""
        return replace(self, prompt_state=replace(self.prompt_state, tokens=None))

    def with_summary(self, summary: str, summary_of: int) -> Session:
        """The session with what the model made of it, when the window began at exchange `summary_of`."""
        return replace(self, prompt_state=replace(self.prompt_state, summary=summary, summary_of=summary_of))

    def with_turn(self, turn: Turn) -> Session:
        """The session with one more turn at its end; the first of all gives the title where there is none."""
        return replace(self, branches=self.branches.with_turn(turn), title=self.title or title_of(turn.parts), updated_at=now())

    def after(self, turn_id: int) -> Session:
        """The session as it was when this turn was its last; FIRST: when it had none. Raises TurnNotFound."""
        return self._along(self.branches.after(turn_id))

    def on_branch(self, turn_id: int) -> Session:
        """The session with the path through this turn, on to where that branch was left. Raises TurnNotFound."""
        return self._along(self.branches.on_branch(turn_id))

    def with_images(self, ids: Mapping[str, str], files: Mapping[str, ImageInfo]) -> Session:
        """The session with other ids for its images, each by the one it has, and with `files` where a turn does not tell its own."""
        return replace(self, branches=self.branches.with_images(ids, files))

    def forked(self, at: int) -> Session:
        """A new session with the first `at` turns of the path. Raises IndexError when there are fewer."""
        prompt_state = self.prompt_state if at == len(self.turns) else PromptState()
        return replace(self, id=new_id(), branches=self.branches.first(at), prompt_state=prompt_state, created_at=now(), updated_at=now())

    def _along(self, branches: Branches) -> Session:
        """What was told along another path is forgotten with it."""
        return self if branches is self.branches else replace(self, branches=branches, prompt_state=PromptState())


def _beside(session: Session) -> tuple[object, ...]:
    defaults, branches = session.defaults, session.branches
    return defaults.system, defaults.glossary, defaults.policy, branches.pins, branches.sights
