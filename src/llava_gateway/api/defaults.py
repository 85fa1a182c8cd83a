"""The defaults of a session for its turns: checked when they are set, and filled into questions that don't set a value."""

from __future__ import annotations

from dataclasses import replace

from llava_gateway.api.bodies import AskBody, DefaultsBody
from llava_gateway.api.options import glossary_of, parse_keep_alive, parse_options, preset_values
from llava_gateway.api.sight import with_sight
from llava_gateway.sessions.session import Session, SessionDefaults
from llava_gateway.settings import Settings


def changed_defaults(body: DefaultsBody, before: SessionDefaults, settings: Settings) -> SessionDefaults:
    """Apply the body's changes to the defaults. Raises InvalidOption, and any error that a question with these defaults would raise."""
    given = body.model_fields_set
    changed = replace(
        before,
        preset=body.preset if "preset" in given else before.preset,
        options=_without_nulls(body) if "options" in given else before.options,
        detail=body.detail if "detail" in given else before.detail,
        format=body.format if "format" in given else before.format,
    )
    parse_options(changed.options, changed.preset, settings)
    parse_keep_alive(changed.options.get("keep_alive"))
    with_sight(AskBody(options=changed.options), ())
    if changed.preset == before.preset:
        return changed
    # A preset's glossary comes and goes with it; the user's own lines stay if the new preset has none.
    own, others = glossary_of(None, changed.preset, settings), glossary_of(None, before.preset, settings)
    return replace(changed, glossary=own or ()) if own is not None or before.glossary == others else changed


def _without_nulls(body: DefaultsBody) -> dict[str, object]:
    return {name: value for name, value in (body.options or {}).items() if value is not None}


def in_session(body: AskBody, session: Session, settings: Settings) -> AskBody:
    """Fill the session's defaults into the question. A null in the question removes a default."""
    said, defaults = body.model_fields_set, session.defaults
    # The session's own options must not undo the preset that a question names.
    replaced = {*preset_values(body.preset, settings), *(name for name in said if getattr(body, name) is not None)}
    kept = {name: value for name, value in defaults.options.items() if name not in replaced}
    unsaid = {name: getattr(defaults, name) for name in ("preset", "detail", "format") if name not in said}
    return body.model_copy(update={"options": {**kept, **body.options}, **unsaid})
