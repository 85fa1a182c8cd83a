"""Names that other APIs, their clients and tutorials use for the fields of a question: those that are taken, and what is said of others.

A name is taken where it can mean only one of our fields; `docs/api.md` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from llava_gateway.errors import ConflictingFields, GatewayError, InvalidRequest
from llava_gateway.options import OPTION_LIMITS

OPTIONS: Mapping[str, str] = {
    "max_tokens": "num_predict",
    "max_new_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "max_output_tokens": "num_predict",
    "n_predict": "num_predict",
    "n_ctx": "num_ctx",
    "n_gpu_layers": "num_gpu",
    "repetition_penalty": "repeat_penalty",
    "stop_sequences": "stop",
}
"""Theirs and ours. Each of both may stand inside `options` or beside it."""
FIELDS: Mapping[str, str] = {"question": "prompt", "query": "prompt", "system_prompt": "system"}
"""Theirs and ours, beside `options`."""
OPTION_NAMES = frozenset({*OPTION_LIMITS, "stop"})
IMAGES = ("images", "image", "image_id")
"""Fields of JSON that have images: `image` one or several as in `images`, `image_id` one id or several."""
IMAGE_FILES = frozenset({"image", "images", "file", "files", "photo", "photos"})
"""Fields of a form whose files are images; PHP's spelling of a list, `images[]`, is known too."""

MEANINGS: Mapping[str, str] = {
    **dict.fromkeys(("content", "text", "message", "input", "inputs", "instruction", "user_prompt"), "prompt"),
    **dict.fromkeys(
        ("image_url", "image_urls", "url", "urls", "image_path", "path", "image_base64", "image_data", "base64", "data"), "images"
    ),
    **dict.fromkeys(IMAGE_FILES - {*IMAGES}, "images"),
    **dict.fromkeys(("messages", "history", "context", "conversation_id", "chat_id", "session"), "session"),
    **dict.fromkeys(("response_format", "json_schema", "schema"), "format"),
}
"""Names that could mean something else here than where they come from, and which of our fields the one who sends them is told of."""
_LONGEST_NAME = 64

Told = TypeVar("Told", bound=GatewayError)


def is_for_images(name: str) -> bool:
    return name.removesuffix("[]") in IMAGE_FILES


def ours(name: str) -> str:
    """Our name of a field or an option, if it is known by this one."""
    return OPTIONS.get(name) or FIELDS.get(name, name)


def in_our_names(given: Any) -> tuple[Any, dict[str, str]]:
    """The body of a question with its fields where we have them; beside it, by our name, what those were called that were renamed.

    Raises ConflictingFields where one thing is said twice, and differently.
    """
    if not isinstance(given, dict) or not isinstance(given.get("options", {}), dict):
        return given, {}
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    called: dict[str, str] = {}
    for name, value in given.items():
        if name in OPTIONS or name in OPTION_NAMES:
            _put(options, OPTIONS.get(name, name), value, name, "options.", called)
        elif name not in ("options", *IMAGES):
            _put(fields, FIELDS.get(name, name), value, name, "", called)
    for name, value in given.get("options", {}).items():
        _put(options, OPTIONS.get(name, name), value, f"options.{name}", "options.", called)
    if options or "options" in given:
        fields["options"] = options
    return fields | _images(given, called), called


def _put(target: dict[str, Any], name: str, value: Any, theirs: str, within: str, called: dict[str, str]) -> None:
    """One value under our name; null says nothing beside another one."""
    before = target.get(name)
    if before is not None and value is not None and before != value:
        other = called.get(within + name, name)
        raise ConflictingFields("fields_differ", values={"one": other, "other": theirs[:_LONGEST_NAME]}, param=theirs[:_LONGEST_NAME])
    if before is None:
        target[name] = value
        if theirs.removeprefix(within) != name:
            called[within + name] = theirs


def _images(given: Mapping[str, Any], called: dict[str, str]) -> dict[str, Any]:
    """The images of JSON, which one field has: in what order those of two were meant can't be told."""
    found = [name for name in IMAGES if given.get(name) not in (None, [])]
    if len(found) > 1:
        raise ConflictingFields("images_twice", values={"one": found[0], "other": found[1]}, param=found[1])
    if not found or found == ["images"]:
        return {"images": given["images"]} if "images" in given else {}
    name = found[0]
    several = given[name] if isinstance(given[name], list) else [given[name]]
    if several is not given[name]:
        called |= {"images[0].image_id": name, "images[0]": name}
    return {"images": [{"image_id": one} for one in several] if name == "image_id" else several}


def in_their_words(error: Told, called: Mapping[str, str]) -> Told:
    """The error with the names that the one who asked uses; its hint still tells ours."""
    for name, theirs in called.items():
        if error.param is not None and (error.param == name or error.param.startswith(f"{name}.")):
            error.param = theirs + error.param.removeprefix(name)
            break
    return error


def unknown_field(name: str, known: frozenset[str]) -> InvalidRequest:
    """The refusal of a field of a question, with a hint which one may be meant."""
    shown = name[:_LONGEST_NAME]
    if meaning := MEANINGS.get(name):
        return InvalidRequest(f"unknown_field_{meaning}", code="unknown_field", param=shown)
    if spelt := _spelt(shown, known):
        return InvalidRequest("unknown_field_spelling", values={"known": spelt}, code="unknown_field", param=shown)
    return InvalidRequest("no_field", code="unknown_field", param=shown)


def _spelt(name: str, known: frozenset[str]) -> str | None:
    """The one of our names that this one differs from only in how it is written, such as maxTokens."""
    letters = {_letters(one): one for one in (*FIELDS, *OPTIONS, *OPTION_NAMES, *known)}
    return letters.get(_letters(name))


def _letters(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
