"""Errors and warnings of a gateway in the words of the command line: flags instead of fields and routes.

Sentences are written anew from the reason and the values. Those with a reason that only a newer gateway knows are printed unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llava_gateway.cli.console import Failure
from llava_gateway.error_sentences import ERRORS, hint_of, message_of, ways_to_fit
from llava_gateway.errors import GatewayError
from llava_gateway.notes import SENTENCES, Sentence, format_sentence
from llava_gateway.options import OPTION_LIMITS

_FLAGS = (
    *("model", "preset", "system", "format", "policy", "detail", "region", "background", "image_size", "max_image_tokens", "ocr_text"),
    *("pages", "frames", "text_layer", "stop", "keep_alive", *OPTION_LIMITS),
)
_FIELDS = {
    **{name: f"--{name.replace('_', '-')}" for name in _FLAGS},
    "prompt": "The question",
    "images": "The images",
    "image": "The image",
    "session_id": "--session",
    "title": "The title",
    "q": "The words",
    "file": "The file",
}
"""The flag for a field of a request."""

_LISTED = "`llava-gateway models` lists the models."
_REGION = "--region takes left, top, width and height in fractions of the upright image: 0.5,0,0.5,0.5 is its top right quarter."
_EXPORTED = "Give a file that `llava-gateway sessions export` wrote as json or zip, unchanged."
_FORMAT = "--format takes json, or a file with a JSON schema (draft 2020-12, or another that its $schema names)."
_HELP = "Each command explains its flags with --help."
_VERSION = "The gateway may not have the version that `llava-gateway --version` prints."

_HINTS: dict[str, Sentence] = {
    "invalid_api_key": "Give the key with --api-key or LLAVA_GATEWAY_API_KEY.",
    "model_not_found": f"{_LISTED} `ollama pull llava:7b` downloads a larger one.",
    "model_lacks_vision": f"Choose one that can see with --model. {_LISTED}",
    "model_cannot_chat": f"Choose another one with --model. {_LISTED}",
    "model_lacks_thinking": "Choose another one with --model.",
    "session_model_gone": f"Install it again, or name another one with --model. {_LISTED}",
    "session_not_found": "`llava-gateway sessions` lists the sessions. A gateway with --no-keep loses them when it stops.",
    "session_not_restored": "`llava-gateway sessions list --deleted` lists those that can be restored.",
    "turn_not_last": "Only the last answer can be continued.",
    "turn_not_found": "`llava-gateway sessions show ID` prints the turns.",
    "invalid_archive": _EXPORTED,
    "archive_not_zip": "Give the zip file that it comes from.",
    "invalid_region": _REGION,
    "region_without_image": "Give the image before the question.",
    "region_of_several": "Ask about one image at a time with --region.",
    "size_wrong": "--image-size takes two whole numbers of pixels, such as 672x672.",
    "invalid_format": _FORMAT,
    "format_not_followed": "Give --format a simpler JSON schema, or json.",
    "stop_wrong": "The answer ends before the first text given with --stop.",
    "nothing_asked": "Give a question, an image, or both.",
    "needs_model": "Give --model NAME too.",
    "image_file_not_found": "Give the image file again.",
    "piece_beyond": _HELP,
    "file_base64": "Decode it first: base64 -d image.txt > image.png",
    "request_too_large": "Give fewer or smaller images.",
    "overloaded": "Ask again in a moment.",
    "local_only": "Run `llava-gateway models` there, without --url.",
    "not_found": _VERSION,
    "unknown_route": _VERSION,
    "unsupported_media_type": _VERSION,
    "invalid_encoding": "Check the encoding of the terminal (LANG), or pipe the text in as UTF-8.",
    "image_aspect": "Give it in several parts, or raise image_max_aspect in the settings.",
    "prompt_too_long": lambda values: _suggestions(values),
    "context_length_exceeded": lambda values: _suggestions(values),
    "invalid_modelfile": "It must begin with a line such as `FROM llava:7b`.",
    "invalid_base64_image": "Give the image file itself.",
    "empty_image_file": "Check the file: it may not have been written completely.",
}
"""Hints by the error's reason or else its code, where a person needs another hint than a program."""
_OF_PROGRAMS = frozenset(
    {
        *("method_not_allowed", "unknown_route", "unknown_route_of_api", "headers_too_large", "request_timeout", "query_not_utf8"),
        *("unknown_field_images", "unknown_field_session", "unknown_field_format", "unknown_field_file", "unknown_field_prompt"),
        *("unknown_option_images", "unknown_option_session", "unknown_option_format", "unknown_option_prompt", "no_option"),
        *("body_not_json", "body_not_json_or_form", "body_urlencoded", "body_not_image_form", "body_not_archive"),
        *("invalid_body_boundary", "on_disconnect_without_session"),
        *("invalid_body_type", "file_for_text", "text_for_image", "text_for_archive", "form_without_image", "form_of_two_images"),
        *("invalid_json", "json_not_utf8", "json_utf16", "options_not_json", "image_is_link", "image_both", "image_neither"),
        *("image_none", "image_id_wrong", "unsupported_media_type", "not_found", "invalid_request", "invalid_option", "unknown_field"),
        *("model_lacks_tools", "tool_calls_last", "model_exists", "invalid_encoding", "conflicting_fields", "invalid_base64_image"),
        *("file_unknown", "image_not_named", "body_not_file_form", "form_without_file", "form_of_two_files", "blob_missing"),
        *("model_of_other_engine",),
    }
)
"""Reasons whose hints are about requests of programs. These commands don't cause most of them, or have a flag for the cause."""

_WARNINGS: dict[str, Sentence] = {
    "sight_ignored": lambda values: f"Ignored {' and '.join(_flags(values['fields']))}: the question has no image.",
    "sight_ignored_on_sheet": lambda values: (
        f"Ignored {' and '.join(_flags(values['fields']))}: images on one sheet can't have settings of their own."
    ),
    "detail_auto_context": "Used {tokens} tokens instead of {full}. More would take too much of the {limit} tokens of context.",
    "detail_auto_slow": (
        "Used {tokens} tokens instead of {full}. Reading {largest} tokens would take about {seconds} s. --detail high sends more."
    ),
    "detail_auto_unmeasured": "Used {tokens} tokens instead of {full}. The speed of this model is not known yet. --detail high sends more.",
    "long_image": (
        "This image of {width}x{height} pixels is so long that the model can't read text less than about {text} pixels high."
        " --detail high sends it in {parts} parts, in which it can read text {parts_text} pixels high."
    ),
    "long_image_parts": (
        "Sent this image of {width}x{height} pixels in {parts} parts. Text less than about {text} pixels high is still too small."
        " A larger --num-ctx allows more parts. Or choose a part with --region."
    ),
    "long_image_whole": (
        "This image of {width}x{height} pixels is so long that the model can't read text less than about {text} pixels high."
        " Choose a part of it with --region."
    ),
    "pages_used": "Used {shown:page|pages} of {count}: {pages}. --pages chooses others.",
    "frames_used": "Used {shown:frame|frames} of {count}, counted from 0: {pages}. --frames chooses others.",
    "selection_ignored": lambda values: f"Ignored {_flag(values['field'])} for a file in the format {values['format']}.",
    "image_cost_unknown": lambda values: f"Ignored {_flag(values['field'])}: the token count of this model's images is not known.",
    "option_ignored": lambda values: f"Ignored {_flag(values['option'])}: this engine or this model does not support it.",
    "context_full": "The answer was cut off: all {limit} tokens of context are used. Give a larger --num-ctx, or start a new chat.",
    "num_ctx_adjusted": "--num-ctx is {num_ctx} instead of {wanted}.",
}
"""Warnings that mention fields."""


def failure_from_body(body: Mapping[str, Any]) -> Failure:
    """Convert the error in a gateway's response. Raises KeyError, TypeError if there is none."""
    error = body["error"]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in error["values"].items()}
    message, hint = _message_and_hint(error["code"], error["reason"], values, error["param"] or "")
    return Failure(message or error["message"], hint or error["hint"], param=error["param"] or "")


def failure_from_error(error: GatewayError) -> Failure:
    """Convert an error of our own process."""
    message, hint = _message_and_hint(error.code, error.reason, error.values, error.param or "")
    return Failure(message or error.message, hint or error.hint)


def _message_and_hint(code: str, reason: str, values: Mapping[str, Any], param: str) -> tuple[str, str]:
    """Return (message, hint); "" for each that only the gateway can word."""
    if param:
        values = {"field": _flag(param), **values}
    return message_of(reason, values) if reason in ERRORS else "", _hint(code, reason, values)


def _hint(code: str, reason: str, values: Mapping[str, Any]) -> str:
    """Return the hint; "" to use the gateway's own."""
    if reason in _HINTS:
        return format_sentence(_HINTS[reason], values)
    if reason not in _OF_PROGRAMS and (own := hint_of(reason, values)):
        return own
    if code in _HINTS:
        return format_sentence(_HINTS[code], values)
    return _HELP if {code, reason} & _OF_PROGRAMS else ""


def warning_text(warning: Mapping[str, Any]) -> str:
    """Return the sentence of a warning."""
    code = warning["code"]
    if code not in _WARNINGS or code not in SENTENCES:
        return str(warning["message"])
    return format_sentence(_WARNINGS[code], warning["values"])


def _flag(field: str) -> str:
    """Return the flag for a field: for 'options.top_k' and 'images[0].region' by their last part."""
    name = re.sub(r"\[\d+\]$", "", field.rpartition(".")[2])
    return _FIELDS.get(name, name)


def _flags(fields: Any) -> list[str]:
    return [_flag(field) for field in ([fields] if isinstance(fields, str) else fields)]


def _suggestions(values: Mapping[str, Any]) -> str:
    words = {
        "num_ctx": f"--num-ctx {values.get('num_ctx')} (loads the model again)",
        "pin_images": "--policy pin_images, which drops old text and keeps images",
        "detail_low": "--detail low for large images",
        "new_session": "a new chat",
    }
    return ways_to_fit(values.get("ways", ()), words)
