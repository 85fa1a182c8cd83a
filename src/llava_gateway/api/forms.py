"""Request bodies: JSON read whole within its limit, multipart read part by part with files spooled to disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from llava_gateway.api.aliases import in_our_names, in_their_words, is_for_images, ours, unknown_field
from llava_gateway.api.bodies import AskBody, BodyT, ImageRef, SightBody, parse_body
from llava_gateway.api.charset import as_utf8, charset_of
from llava_gateway.api.defaults import in_session
from llava_gateway.api.documents import check_string, parse_json
from llava_gateway.api.multipart import read_form
from llava_gateway.api.native_json import chat_request
from llava_gateway.api.options import GLOSSARY_MAX_CHARS
from llava_gateway.api.threads import in_thread, off_loop
from llava_gateway.chat import JSON, ChatRequest, ImagePart, Upload
from llava_gateway.errors import (
    GatewayError,
    ImageFileTooLarge,
    InvalidEncoding,
    InvalidFormat,
    InvalidJSON,
    InvalidOption,
    InvalidRequest,
    SessionNotFound,
    UnsupportedBody,
)
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import note
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings

MAX_FIELDS = 64
MAX_FIELD_BYTES = 8 * 1024 * 1024
NUMBERS_MAX_CHARS = 256
"""Of a number, or of a list of up to four: what is longer is none, and is not looked at."""
TEXT_FIELDS = frozenset({"prompt", "model", "preset", "system", "session_id", "keep_alive", "detail", "policy", "ocr_text"})
NUMBER_FIELDS = frozenset({"num_visual_tokens", "max_image_tokens", "piece", "by", "after"})
LIST_FIELDS = frozenset({"image_size", "region"})
FIELDS = frozenset({*TEXT_FIELDS, *NUMBER_FIELDS, *LIST_FIELDS, *OPTION_LIMITS, "stop", "options", "glossary", "format", "stream"})
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
T = TypeVar("T")


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def has_body(request: Request) -> bool:
    """Some clients name a type for the body that they don't send."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def read_body(request: Request, kind: type[BodyT]) -> BodyT:
    """The JSON body as `kind`. Raises what `read_json` and `parse_body` do."""
    return await read_json(request, partial(parse_body, kind))


async def read_json(request: Request, read: Callable[[Any], T]) -> T:
    """What `read` makes of the JSON body. Raises UnsupportedBody, InvalidJSON, InvalidEncoding, BodyTooLarge."""
    if media_type(request) != "application/json":
        raise UnsupportedBody("body_not_json")
    raw, charset = await read_whole(request), charset_of(request.headers["content-type"])
    return await off_loop(len(raw), lambda: read(parse_json(as_utf8(raw, charset))))


async def read_whole(request: Request) -> bytes:
    """The body. `request.body()` puts a large one together on the event loop."""
    parts = [part async for part in request.stream()]
    return await off_loop(sum(map(len, parts)), b"".join, parts)


def read_query(request: Request, kind: type[BodyT]) -> BodyT:
    """The query of an address as `kind`; lists are written `672,672`. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    for name, value in _query(request):
        check_string(value)
        fields[name] = _numbers(value) if name in LIST_FIELDS else _number(value) if name in NUMBER_FIELDS else value
    return parse_body(kind, fields)


def _query(request: Request) -> list[tuple[str, str]]:
    """The fields of a query. Raises InvalidEncoding."""
    query: bytes = request.scope["query_string"]
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise InvalidEncoding("query_not_utf8") from None


async def read_question(
    request: Request,
    gateway: Gateway,
    session_id: str | None = None,
    *,
    unasked: str = "",
    image_id: str = "",
    query: tuple[str, ...] = (),
) -> ChatRequest:
    """The question in a JSON or multipart body; where there may be none (`unasked` stands for it), there need be no body.

    An image that the address names (`image_id`) comes before those of the body. Its query may have no fields but `query`.
    """
    _check_query(request, query)
    named_here = (ImagePart(image_id),) if image_id else ()
    return (await _read(request, gateway, session_id, unasked, named_here))[0]


async def read_ask(request: Request, gateway: Gateway, session_id: str | None = None) -> tuple[ChatRequest, bool | None]:
    """The question in a JSON or multipart body, and whether it asks for a stream."""
    _check_query(request, ())
    return await _read(request, gateway, session_id, "", ())


async def _read(
    request: Request, gateway: Gateway, session_id: str | None, unasked: str, named_here: tuple[ImagePart, ...]
) -> tuple[ChatRequest, bool | None]:
    settings = gateway.settings
    uploads: tuple[Upload | ImagePart, ...] = ()
    if media_type(request) == "multipart/form-data":
        async with read_form(request, max_files=settings.images_per_turn + 1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as form:
            uploads = await read_images(form, settings)
            size = sum(len(text) for _, text in form.multi_items() if isinstance(text, str))
            body, called = await off_loop(size, lambda: _ask_body(_fields(form)))
    elif unasked and not has_body(request):
        body, called = AskBody(), {}
    elif media_type(request) != "application/json":
        raise UnsupportedBody("body_not_json_or_form")
    else:
        body, called = await read_json(request, _ask_body)
    try:
        return await _asked(body, gateway, session_id, unasked, (*named_here, *uploads)), body.stream
    except GatewayError as error:
        raise in_their_words(error, called) from None


def _ask_body(given: Any) -> tuple[AskBody, dict[str, str]]:
    """The question, and what those of its fields were called that have another name here. Raises InvalidRequest, for an unknown field with
    a word on what may be meant."""
    renamed, called = in_our_names(given)
    try:
        for name in renamed if isinstance(renamed, dict) else ():
            if name not in AskBody.model_fields:
                raise unknown_field(name, frozenset(AskBody.model_fields))
        return parse_body(AskBody, renamed), called
    except GatewayError as error:
        raise in_their_words(error, called) from None


async def _asked(
    body: AskBody, gateway: Gateway, session_id: str | None, unasked: str, uploads: tuple[Upload | ImagePart, ...]
) -> ChatRequest:
    """The question with what its session says of it."""
    settings = gateway.settings
    named = session_id or body.session_id
    full = in_session(body, _session(gateway, named), settings) if named else body
    make = partial(chat_request, full, settings, uploads, session_id, unasked=unasked)
    request = await in_thread(make) if body.images else make()  # which may be images in base64
    if not named:
        return request
    if unseen := [] if request.has_images else [name for name in SightBody.model_fields if getattr(body, name) is not None]:
        request = replace(request, warnings=(note("sight_ignored", fields=tuple(unseen)),))
    # The session has the glossary of its preset, unless that was changed since.
    return replace(request, glossary=None) if body.glossary is None and body.preset is None else request


def _check_query(request: Request, known: tuple[str, ...]) -> None:
    """Raises InvalidRequest for what would have no effect where it stands."""
    for name in request.query_params:
        if name not in known:
            reason = "unknown_query_field_of_body" if ours(name) in FIELDS else "unknown_query_field"
            raise InvalidRequest(reason, code="unknown_field", param=name[:64])


def _session(gateway: Gateway, session_id: str) -> Session:
    try:
        return gateway.sessions.get(session_id)
    except SessionNotFound as error:
        error.param = "session_id"
        raise


async def read_images(form: FormData, settings: Settings) -> tuple[Upload | ImagePart, ...]:
    """Files named `image`, or as others name it, and ids named `image_id`, in the order they came. A file that was not chosen is none."""
    found: list[Upload | ImagePart] = []
    for name, value in form.multi_items():
        if name == "image_id" and value:
            found.append(_image_id(value))
        elif is_for_images(name) and not _is_empty(value):
            found.append(await _file(name, value, settings))
    return tuple(found)


async def read_image(request: Request, settings: Settings, *, beside: str) -> tuple[Upload, str]:
    """The one image of a form, and the text of the field `beside` it, "" where there is none."""
    if media_type(request) != "multipart/form-data":
        raise UnsupportedBody("body_not_image_form")
    async with read_form(request, max_files=2, max_fields=4) as form:
        files = [(name, value) for name, value in form.multi_items() if is_for_images(name) and not _is_empty(value)]
        if len(files) != 1:
            raise InvalidRequest("form_of_two_images" if files else "form_without_image", param="image")
        text = form.get(beside)
        return await _file(*files[0], settings), text if isinstance(text, str) else ""


def _is_empty(value: UploadFile | str) -> bool:
    """What a web page sends for a field that was left empty, or a file that was not chosen."""
    return not (value.filename or value.size) if isinstance(value, UploadFile) else not value


async def _file(name: str, file: UploadFile | str, settings: Settings) -> Upload:
    if not isinstance(file, UploadFile):
        raise InvalidRequest("text_for_image", param=name[:64])
    if (file.size or 0) > settings.image_max_bytes:
        values = {"bytes": file.size or 0, "most_bytes": settings.image_max_bytes}
        raise ImageFileTooLarge("image_bytes", values=values, param=name[:64])
    return Upload(await file.read())


def _image_id(value: UploadFile | str) -> ImagePart:
    if not isinstance(value, str):
        raise InvalidRequest("field_not_text", param="image_id")
    return ImagePart(parse_body(ImageRef, {"image_id": value}).image_id)


def _fields(form: FormData) -> dict[str, Any]:
    """What is not an image, as JSON would have it; a field that is empty says nothing. Options may be fields of their own or one JSON
    field `options`."""
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        kind = ours(name)
        if name == "image_id" or is_for_images(name):
            continue
        if _is_empty(value) and (kind in FIELDS or isinstance(value, UploadFile)):
            continue
        if isinstance(value, UploadFile):
            raise _no_place_for_a_file(name[:64])
        check_string(value)
        if kind == "stop":
            fields.setdefault(name, []).append(value)
        elif kind == "options":
            fields[name] = fields.get(name, {}) | _options(name, value)
        elif kind in OPTION_LIMITS or kind in NUMBER_FIELDS:
            fields[name] = _number(value)
        elif kind in LIST_FIELDS:
            fields[name] = _numbers(value)
        elif kind == "glossary":
            fields.setdefault(name, []).extend(value.splitlines() if len(value) <= GLOSSARY_MAX_CHARS else [value])  # which is refused
        elif kind == "format":
            fields[name] = value if value == "json" else _format(name, value)
        elif kind == "stream":
            fields[name] = _TRUTH.get(value.strip().lower(), value)
        elif kind in TEXT_FIELDS:
            fields[name] = value
        else:
            raise unknown_field(name, FIELDS)
    return fields


def _no_place_for_a_file(name: str) -> InvalidRequest:
    if ours(name) in FIELDS:
        return InvalidRequest("file_for_text", param=name)
    return InvalidRequest("unknown_field_file", code="unknown_field", param=name)


def _number(text: str) -> int | float | str:
    """A number where it is one; what is not is refused later, by the name of its option."""
    if len(text) > NUMBERS_MAX_CHARS:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _numbers(text: str) -> Any:
    """'672,672', '672x672' or '[672, 672]'; what is none of these is refused later, by the name of its field."""
    if len(text) > NUMBERS_MAX_CHARS:
        return text
    try:
        return parse_json(text.encode()) if text.lstrip().startswith("[") else [_number(word) for word in re.split("[,x×]", text)]
    except InvalidJSON:
        return text


def _options(name: str, text: str) -> JSON:
    """Raises InvalidOption."""
    try:
        return _object(name, text)
    except InvalidJSON as wrong:
        raise InvalidOption("options_not_json", values={"why": wrong.reason, **wrong.values}, param=name) from None


def _format(name: str, text: str) -> JSON:
    """Raises InvalidFormat."""
    try:
        return _object(name, text)
    except InvalidJSON as wrong:
        raise InvalidFormat.of(wrong, name) from None


def _object(name: str, text: str) -> JSON:
    """The JSON object in a form field. Raises InvalidJSON."""
    value = parse_json(text.encode(), name)
    if not isinstance(value, dict):
        raise InvalidJSON("json_not_object", values={"what": name})
    return value
