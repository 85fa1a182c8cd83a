"""Field names of other APIs, their clients and tutorials: which ones are accepted for ours, and hints for the others.

A name is accepted if it can mean only one of our fields; `docs/api.md` lists them.
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
    "n_threads": "num_thread",
    "repetition_penalty": "repeat_penalty",
    "stop_sequences": "stop",
}
"""Their name and our name. Both may stand inside `options` or beside it."""
FIELDS: Mapping[str, str] = {"question": "prompt", "query": "prompt", "system_prompt": "system"}
"""Their name and our name, only beside `options`."""
OPTION_NAMES = frozenset({*OPTION_LIMITS, "stop"})
LINKS = ("image_url", "image_urls")
IMAGES = ("images", "image", "image_id", *LINKS)
"""JSON fields that contain images: `image` takes one or several as `images` does, `image_id` one id or several, `image_urls` addresses."""
IMAGE_FILES = frozenset({"image", "images", "file", "files", "photo", "photos"})
"""Form fields whose files are images. `images[]` is how PHP writes a list."""

MEANINGS: Mapping[str, str] = {
    **dict.fromkeys(("content", "text", "message", "input", "inputs", "instruction", "user_prompt"), "prompt"),
    **dict.fromkeys(("url", "urls", "image_path", "path", "image_base64", "image_data", "base64", "data"), "images"),
    **dict.fromkeys(IMAGE_FILES - {*IMAGES}, "images"),
    **dict.fromkeys(("messages", "history", "context", "conversation_id", "chat_id", "session"), "session"),
    **dict.fromkeys(("response_format", "json_schema", "schema"), "format"),
}
"""Names that could mean something else here than in the API they come from, and the field of ours that the hint names."""
_LONGEST_NAME = 64
_MOST_NAMED = 100
"""How many items of a list get their names in the client's words."""

AnyError = TypeVar("AnyError", bound=GatewayError)


def is_for_images(name: str) -> bool:
    return name.removesuffix("[]") in IMAGE_FILES


def our_name(name: str) -> str:
    """Return our name of a field or an option; the name itself if it is not an alias."""
    return OPTIONS.get(name) or FIELDS.get(name, name)


def to_our_names(given: Any) -> tuple[Any, dict[str, str]]:
    """Rename the fields of a question to our names. Returns (body, the names that the client used, by our name).

    Raises ConflictingFields if two fields give different values for the same thing.
    """
    if not isinstance(given, dict) or not isinstance(given.get("options", {}), dict):
        return given, {}
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    called: dict[str, str] = {}
    for name, value in given.items():
        if name in OPTIONS or name in OPTION_NAMES:
            put(options, OPTIONS.get(name, name), value, name, "options.", called)
        elif name not in ("options", *IMAGES):
            put(fields, FIELDS.get(name, name), value, name, "", called)
    for name, value in given.get("options", {}).items():
        put(options, OPTIONS.get(name, name), value, f"options.{name}", "options.", called)
    if options or "options" in given:
        fields["options"] = options
    return fields | _images(given, called), called


def put(target: dict[str, Any], name: str, value: Any, theirs: str, within: str, called: dict[str, str]) -> None:
    """Store a value under our name. A null beside another value is ignored."""
    before = target.get(name)
    if before is not None and value is not None and before != value:
        other = called.get(within + name, name)
        raise ConflictingFields("fields_differ", values={"one": other, "other": theirs[:_LONGEST_NAME]}, param=theirs[:_LONGEST_NAME])
    if before is None:
        target[name] = value
        if theirs.removeprefix(within) != name:
            called[within + name] = theirs


def _images(given: Mapping[str, Any], called: dict[str, str]) -> dict[str, Any]:
    """Return the images of a JSON body. Only one field may contain them: the order of images from two fields would be unclear."""
    found = [name for name in IMAGES if given.get(name) not in (None, [])]
    if len(found) > 1:
        raise ConflictingFields("images_twice", values={"one": found[0], "other": found[1]}, param=found[1])
    if not found or found == ["images"]:
        return {"images": given["images"]} if "images" in given else {}
    name = found[0]
    several = given[name] if isinstance(given[name], list) else [given[name]]
    kind = "image_url" if name in LINKS else "image_id"
    if several is not given[name]:
        called |= {f"images[0].{kind}": name, "images[0]": name}
    elif name in LINKS:
        called |= {f"images[{index}].{kind}": f"{name}[{index}]" for index in range(min(len(several), _MOST_NAMED))}
    return {"images": several if name == "image" else [{kind: one} for one in several]}


def to_client_names(error: AnyError, called: Mapping[str, str]) -> AnyError:
    """Return the error with the field names that the client used; its hint still uses ours."""
    for name, theirs in called.items():
        if error.param is not None and (error.param == name or error.param.startswith(f"{name}.")):
            error.param = theirs + error.param.removeprefix(name)
            break
    return error


def unknown_field(name: str, known: frozenset[str]) -> InvalidRequest:
    """Return the error for an unknown field, with a hint that names the field probably meant."""
    shown = name[:_LONGEST_NAME]
    if meaning := MEANINGS.get(name):
        return InvalidRequest(f"unknown_field_{meaning}", code="unknown_field", param=shown)
    if spelt := _similar_name(shown, known):
        return InvalidRequest("unknown_field_spelling", values={"known": spelt}, code="unknown_field", param=shown)
    return InvalidRequest("no_field", code="unknown_field", param=shown)


def _similar_name(name: str, known: frozenset[str]) -> str | None:
    """Return the known name that differs only in spelling, such as max_tokens for maxTokens."""
    letters = {_letters(one): one for one in (*FIELDS, *OPTIONS, *OPTION_NAMES, *known)}
    return letters.get(_letters(name))


def _letters(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
