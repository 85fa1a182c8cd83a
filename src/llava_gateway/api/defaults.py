"""What a session says of all its turns: checked when it is set, and put into a question that says nothing of it itself."""

from __future__ import annotations

from typing import Any

from llava_gateway.api.bodies import AskBody, DefaultsBody
from llava_gateway.api.native_json import glossary_of, parse_keep_alive, parse_options, preset_values
from llava_gateway.api.sight import with_sight
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings


def defaults_of(body: DefaultsBody, session: Session, settings: Settings) -> dict[str, Any]:
    """The session's fields that the body changes. Raises InvalidOption and what else a question with them would."""
    given = {name: getattr(body, name) for name in DefaultsBody.model_fields if name in body.model_fields_set}
    if "options" in given:
        given["options"] = {name: value for name, value in (body.options or {}).items() if value is not None}
    changed = {"options": session.options, "preset": session.preset, **given}
    parse_options(changed["options"], changed["preset"], settings)
    parse_keep_alive(changed["options"].get("keep_alive"))
    with_sight(AskBody(options=changed["options"]), ())
    if "preset" in given and body.preset != session.preset:
        # Its glossary comes and goes with it; lines of the person's own stay where the new preset has none.
        own, before = glossary_of(None, body.preset, settings), glossary_of(None, session.preset, settings)
        if own is not None or session.glossary == before:
            given["glossary"] = own or ()
    return given


def in_session(body: AskBody, session: Session, settings: Settings) -> AskBody:
    """The question with what its session says where it says nothing itself; what it gives as null it does without."""
    said = body.model_fields_set
    # What a question names a preset for is not undone by the session's own options.
    replaced = {*preset_values(body.preset, settings), *(name for name in said if getattr(body, name) is not None)}
    kept = {name: value for name, value in session.options.items() if name not in replaced}
    unsaid = {name: getattr(session, name) for name in ("preset", "detail", "format") if name not in said}
    return body.model_copy(update={"options": {**kept, **body.options}, **unsaid})
