"""Sessions as values: puts the three parts of a session together from a test's arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llava_gateway.chat import Policy
from llava_gateway.context.window import Window
from llava_gateway.engines.base import EngineName
from llava_gateway.parts import Sight
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.session import PromptState, Session, SessionDefaults
from llava_gateway.sessions.turn import Turn


def a_session(
    *,
    title: str = "",
    model: str = "",
    engine: EngineName | None = None,
    turns: tuple[Turn, ...] = (),
    pins: Mapping[str, bool] | None = None,
    sights: Mapping[str, Sight] | None = None,
    system: str = "",
    policy: Policy | None = None,
    glossary: tuple[str, ...] = (),
    window: Window = Window(),
    tokens: int | None = None,
    summary: str = "",
    summary_of: int = -1,
) -> Session:
    branches = Branches(turns, pins=pins or {}, sights=sights or {})
    defaults = SessionDefaults(system, policy, glossary)
    prompt_state = PromptState(window, tokens, summary, summary_of)
    return Session(title=title, model=model, engine=engine, branches=branches, defaults=defaults, prompt_state=prompt_state)


def changing(**changes: Any) -> Callable[[Session], Session]:
    """Return a function that changes these fields, whichever part of a session they are in."""

    def change(session: Session) -> Session:
        left, parts = dict(changes), {}
        for name in ("branches", "defaults", "prompt_state"):
            part = getattr(session, name)
            parts[name] = replace(part, **{field: left.pop(field) for field in part.__dataclass_fields__ if field in left})
        return replace(session, **parts, **left)

    return change
