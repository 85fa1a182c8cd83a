"""What requests for chat completions and for responses have in common: options, tools, formats, and our own fields beside OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from pydantic import ConfigDict

from llava_gateway.api.aliases import OPTION_NAMES, OPTIONS, put, to_client_names
from llava_gateway.api.bodies import AskBody, Body, FileBody, SightBody, parse_body
from llava_gateway.api.defaults import in_session
from llava_gateway.api.dialects import EFFORTS
from llava_gateway.api.options import glossary_of, parse_keep_alive, parse_options
from llava_gateway.api.schemas import parse_format
from llava_gateway.chat import JSON, ChatRequest, Message, Think
from llava_gateway.errors import GatewayError, InvalidOption, InvalidRequest
from llava_gateway.notes import Note, note
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings

ABOUT_IMAGES = (*SightBody.model_fields, *FileBody.model_fields)
"""Fields about all images of a request."""
OURS = frozenset(
    {*ABOUT_IMAGES, "session_id", "keep_alive", "policy", "preset", "glossary", "strict_vision", "on_disconnect"},
)
"""Fields of our own API that these APIs take too."""
WITHOUT_EFFECT = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("prompt_cache_options", "parallel_tool_calls", "stream_options", "modalities", "include"),
    }
)
"""Fields that change nothing in an answer by a model on this machine."""
OPENAI_EFFORTS: Mapping[str, Think] = {"none": False, "minimal": "low", **EFFORTS}


Format: TypeAlias = Literal["json"] | JSON
_MOST_NAMED = 16
"""How many fields without effect a warning names."""


class OpenBody(Body):
    """A part of a request in which other fields may stand: OpenAI's clients send new ones with each version."""

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())


@dataclass(frozen=True, slots=True)
class Common:
    """The fields that both APIs have.

    Attributes:
        beside: those of our own API, with the options and the format.
        called: the client's names of options, for errors.
        warnings: about fields that have no effect.
    """

    beside: AskBody
    called: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Note, ...] = ()


def read_common(given: Mapping[str, Any], known: AbstractSet[str], answer_format: Format | None) -> Common:
    """Read the common fields of a request.

    Args:
        given: the request.
        known: the fields that are read elsewhere.
        answer_format: the format of the answer, which is one of these.

    Raises InvalidRequest, ConflictingFields.
    """
    options, called = _options(given)
    fields = {name: given[name] for name in OURS if given.get(name) is not None and name not in known}
    fields |= {"options": options} if options else {}
    beside = parse_body(AskBody, fields)
    if answer_format is not None:
        beside = beside.model_copy(update={"format": answer_format})
    ignored = tuple(name[:64] for name, value in given.items() if not _has_place(name, known) and _says_something(value))
    warnings = (note("fields_ignored", fields=ignored[:_MOST_NAMED]),) if ignored else ()
    return Common(beside, called, warnings)


def _has_place(name: str, known: AbstractSet[str]) -> bool:
    return name in known or name in OURS or name in WITHOUT_EFFECT or name in OPTION_NAMES or name in OPTIONS or name == "options"


def _says_something(value: Any) -> bool:
    """Return whether a value is more than what clients send for a field that is not set."""
    return value not in (None, False, "", [], {})


def _options(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Collect the options, which may stand beside the other fields or inside `options`. Returns (options, the client's names of them)."""
    inside = given.get("options") or {}
    if not isinstance(inside, dict):
        raise InvalidOption("options_wrong", param="options")
    options: dict[str, Any] = {}
    called: dict[str, str] = {}
    for within, fields in (("", given), ("options.", inside)):
        for name, value in fields.items():
            ours = OPTIONS.get(name, name)
            if value is not None and value != [] and (within or ours in OPTION_NAMES):
                put(options, ours, value, f"{within}{name}", "options.", called)
                called.setdefault(f"options.{ours}", f"{within}{name}")
    return options, called


def chat_request(common: Common, messages: tuple[Message, ...], settings: Settings, session: Session | None, **rest: Any) -> ChatRequest:
    """Build the request for the gateway; `rest` are further fields of it. With a session, its defaults are filled in.

    Raises InvalidOption, InvalidRequest.
    """
    beside = common.beside if session is None else in_session(common.beside, session, settings)
    try:
        options = parse_options(beside.options, beside.preset or settings.preset, settings)
    except GatewayError as error:
        raise to_client_names(error, common.called) from None
    if beside.on_disconnect == "continue" and session is None:
        raise InvalidRequest("on_disconnect_without_session", param="on_disconnect")
    new_preset = common.beside.preset or (None if session else settings.preset)
    request = ChatRequest(
        messages,
        options=options,
        format=beside.format,
        keep_alive=parse_keep_alive(beside.keep_alive if beside.keep_alive is not None else beside.options.get("keep_alive")),
        session_id=common.beside.session_id,
        policy=beside.policy,
        glossary=glossary_of(common.beside.glossary, new_preset, settings),
        annotate=session is not None,
        strict_vision=beside.strict_vision,
        warnings=common.warnings,
        **rest,
    )
    unseen = () if request.has_images else tuple(name for name in ABOUT_IMAGES if getattr(common.beside, name) is not None)
    return replace(request, warnings=(*request.warnings, note("sight_ignored", fields=unseen))) if unseen else request


def think_of(effort: Any, param: str) -> Think | None:
    """Return how hard a model should think; None leaves it to the model. Raises InvalidOption."""
    if effort is None or isinstance(effort, bool):
        return effort
    if isinstance(effort, str) and effort in OPENAI_EFFORTS:
        return OPENAI_EFFORTS[effort]
    raise InvalidOption("effort_wrong", values={"known": tuple(OPENAI_EFFORTS)}, param=param)


def format_of(value: Any, param: str, schema_at: str = "json_schema") -> tuple[Format | None, str]:
    """Read the format of an answer. Returns (the format, None for text; the field that it came in).

    Args:
        schema_at: the field in which a schema and its name are; "" if they are beside the type.

    Raises InvalidFormat, InvalidRequest.
    """
    if value is None:
        return None, param
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "text":
            return None, param
        case "json_object":
            return "json", param
        case "json_schema":
            within = f"{param}.{schema_at}" if schema_at else param
            holder = value.get(schema_at) if schema_at else value
            schema = holder.get("schema") if isinstance(holder, dict) else None
            if not isinstance(schema, dict):
                raise InvalidRequest("format_without_schema", code="invalid_format", status=400, param=f"{within}.schema")
            return parse_format(schema, field=f"{within}.schema"), f"{within}.schema"
    known = ("text", "json_object", "json_schema")
    raise InvalidRequest("format_unknown", values={"known": known}, code="invalid_format", status=400, param=f"{param}.type")
