"""Turns and sessions as JSON documents, and back (pure). An export and the journal on disk use the same form.

Only our own documents are read here; `api/archive_body.py` checks the exports that a client sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime

from llava_gateway.answers import Sent
from llava_gateway.chat import JSON, Timings, Usage
from llava_gateway.context.window import Window
from llava_gateway.images.info import ImageInfo
from llava_gateway.notes import Note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part, Sight, TextPart
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.session import PromptState, Session, SessionDefaults, Summary
from llava_gateway.sessions.turn import FIRST, Turn

_PLAIN = ("id", "answer", "status", "model", "finish_reason", "error_code")


def turn_json(turn: Turn) -> JSON:
    """Convert a turn to JSON; its images by their ids."""
    plain: JSON = {name: getattr(turn, name) for name in _PLAIN}
    return plain | {
        "after": turn.parent or None,
        "parts": [_part_json(part) for part in turn.parts],
        "sent": [asdict(sent) for sent in turn.sent],
        "files": [file.to_json() for file in turn.files],
        "warnings": [warning.to_json() for warning in turn.warnings],
        "options": turn.options.given(),
        "usage": asdict(turn.usage),
        "timings": asdict(turn.timings),
        "created_at": turn.created_at.isoformat(),
    }


def turn_of(document: JSON) -> Turn:
    """Build the turn from `turn_json`. Raises KeyError, TypeError, ValueError for anything else."""
    options: JSON = {name: tuple(value) if isinstance(value, list) else value for name, value in document["options"].items()}
    plain = {name: document[name] for name in _PLAIN}
    return Turn(
        parts=tuple(map(_part_of, document["parts"])),
        sent=tuple(Sent(**sent) for sent in document["sent"]),
        files=tuple(map(ImageInfo.from_json, document["files"])),
        options=Options(**options),
        usage=Usage(**document["usage"]),
        timings=Timings(**document["timings"]),
        warnings=tuple(map(Note.from_json, document["warnings"])),
        created_at=datetime.fromisoformat(document["created_at"]),
        parent=document["after"] or FIRST,
        **plain,
    )


def defaults_json(session: Session) -> JSON:
    """Convert what the user chose for a session to JSON: the defaults, the pins and the sights."""
    branches = session.branches
    sights = {image_id: sight.to_json() for image_id, sight in branches.sights.items()}
    return {**asdict(session.defaults), "pins": dict(branches.pins), "sights": sights}


def state_json(session: Session) -> JSON:
    """Convert everything of a session that changes with a turn, except the turns, to JSON: the branches by the ids of their turns, the
    defaults, and the state of the last prompt."""
    branches, prompt = session.branches, session.prompt_state
    window = {**asdict(prompt.window), "gone": sorted(prompt.window.gone)}
    path_end = branches.turns[-1].id if branches.turns else FIRST
    return {
        **defaults_json(session),
        "prompt_state": {**asdict(prompt), "window": window},
        "path_end": path_end,
        "aside": [turn.id for turn in branches.aside],
    }


def session_with(summary: Summary, state: JSON, turns: Iterable[Turn]) -> Session:
    """Build the session from its summary, its `state_json` and its turns. Raises KeyError, TypeError, ValueError, TurnNotFound."""
    by_id = {turn.id: turn for turn in turns}
    aside = [by_id.pop(turn_id) for turn_id in state["aside"]]
    branches = Branches(
        aside=(*aside, *by_id.values()),
        pins=state["pins"],
        sights={image_id: Sight.from_json(sight) for image_id, sight in state["sights"].items()},
    ).after(state["path_end"])
    prompt = state["prompt_state"]
    window = Window(**{**prompt["window"], "gone": frozenset(prompt["window"]["gone"])})
    return Session(
        id=summary.id,
        title=summary.title,
        model=summary.model,
        engine=summary.engine,
        branches=branches,
        defaults=defaults_of(state),
        prompt_state=PromptState(**{**prompt, "window": window}),
        created_at=summary.created_at,
        updated_at=summary.updated_at,
    )


def rebuilt(summary: Summary | None, state: JSON, turns: Iterable[Turn]) -> Session:
    """Build a session from what is left of it: its summary, its turns, or both. A turn whose parent is lost follows the one before it, and
    the last turn ends the current branch."""
    known = sorted(turns, key=lambda turn: turn.id)
    session = Session() if summary is None else Session(id=summary.id, title=summary.title, model=summary.model, engine=summary.engine)
    with suppress(KeyError, TypeError):
        session = replace(session, defaults=defaults_of(state))
    ids: list[int] = []
    whole: list[Turn] = []
    for turn in known:
        parent = turn.parent if turn.parent in (FIRST, *ids) else ids[-1] if ids else FIRST
        whole.append(replace(turn, parent=parent))
        ids.append(turn.id)
    if whole:
        branches = Branches(aside=tuple(whole)).after(ids[-1])
        model = session.model or whole[-1].model
        session = replace(session, branches=branches, model=model, created_at=whole[0].created_at, updated_at=whole[-1].created_at)
    return session if session.title else session.titled()


def defaults_of(state: JSON) -> SessionDefaults:
    """Build the defaults from `state_json`. Raises KeyError, TypeError for anything else."""
    return SessionDefaults(
        system=state["system"],
        policy=state["policy"],
        glossary=tuple(state["glossary"]),
        preset=state["preset"],
        options=state["options"],
        detail=state["detail"],
        format=state["format"],
    )


def _part_json(part: Part) -> JSON:
    match part:
        case TextPart():
            recalls = {} if part.recalls is None else {"recalls": part.recalls}
            return {"text": part.text, "note": part.note, **recalls}
        case ImagePart():
            return {"image": part.image_id, "sight": part.sight.to_json()}
    raise TypeError(f"a turn keeps no {type(part).__name__}")


def _part_of(document: JSON) -> Part:
    if "image" in document:
        return ImagePart(document["image"], Sight.from_json(document["sight"]))
    return TextPart(document["text"], document["note"], document.get("recalls"))
