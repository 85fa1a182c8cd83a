"""Request bodies: JSON read whole within its limit, multipart read part by part with files spooled to disk."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from llava_gateway.api.aliases import IMAGE_FILES, LINKS, is_for_images, our_name, to_client_names, to_our_names, unknown_field
from llava_gateway.api.bodies import AskBody, BodyT, FileBody, ImageLink, ImageRef, SightBody, parse_body
from llava_gateway.api.defaults import in_session
from llava_gateway.api.documents import check_string, parse_json
from llava_gateway.api.json_body import has_body, media_type, read_json
from llava_gateway.api.multipart import read_form
from llava_gateway.api.native_json import chat_request
from llava_gateway.api.options import GLOSSARY_MAX_CHARS
from llava_gateway.api.pages import background, selection_of, selections
from llava_gateway.api.threads import in_thread, off_loop
from llava_gateway.chat import JSON, ChatRequest, OnDisconnect
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
from llava_gateway.images.check import check_bytes
from llava_gateway.images.pages import MOST_PAGES, PDF_JUNK
from llava_gateway.notes import note
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.parts import Attached, ImagePart, Link, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings

MAX_FIELDS = 64
MOST_FILES = MOST_PAGES + 1
"""Files of a form that are read. One more ends the reading of the form, so that nobody can open files without end."""
MAX_FIELD_BYTES = 8 * 1024 * 1024
AT_ONCE = 1024 * 1024
"""Bytes that are joined, or characters of base64 that are decoded, on the event loop: it takes a tenth of a millisecond, as long as
handing them to a thread. (A millisecond, if the base64 has line breaks.)
"""
FEW_IMAGES = 16
"""Images of a body that are decoded on the event loop."""
NUMBERS_MAX_CHARS = 256
"""Characters of a number or of a list of up to four numbers; a longer text is neither, and is not parsed."""
TEXT_FIELDS = frozenset(
    {
        *("prompt", "model", "preset", "system", "session_id", "keep_alive", "detail", "policy", "ocr_text", "on_disconnect"),
        *("text_layer", "background"),
    }
)
NUMBER_FIELDS = frozenset({"num_visual_tokens", "max_image_tokens", "piece", "by", "after"})
LIST_FIELDS = frozenset({"image_size", "region"})
PAGE_FIELDS = ("pages", "frames")
"""Fields that may be repeated: one for all files, or one for each file in order."""
TRUTH_FIELDS = frozenset({"stream", "strict_vision"})
FIELDS = frozenset(
    {*TEXT_FIELDS, *PAGE_FIELDS, *NUMBER_FIELDS, *LIST_FIELDS, *OPTION_LIMITS, "stop", "options", "glossary", "format", *TRUTH_FIELDS}
)
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def read_query(request: Request, kind: type[BodyT]) -> BodyT:
    """Parse the query of an address as `kind`; lists are written `672,672`. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    for name, value in _query(request):
        check_string(value)
        fields[name] = _numbers(value) if name in LIST_FIELDS else _number(value) if name in NUMBER_FIELDS else value
    return parse_body(kind, fields)


def _query(request: Request) -> list[tuple[str, str]]:
    """Read the fields of a query. Raises InvalidEncoding."""
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
    placeholder: str = "",
    image_id: str = "",
    query: tuple[str, ...] = (),
) -> ChatRequest:
    """Read the question in a JSON or multipart body. With a `placeholder`, the prompt and even the body may be missing: it replaces them.

    The image in the path (`image_id`) comes before those of the body. The query may have only the fields in `query`.
    """
    _check_query(request, query)
    named_here = (ImagePart(image_id),) if image_id else ()
    return (await _read(request, gateway, session_id, placeholder, named_here)).question


@dataclass(frozen=True, slots=True)
class AskRequest:
    """A question, and how its client wants the answer.

    Attributes:
        stream: whether the client asked for a stream; None if it did not say.
        on_disconnect: what happens to the answer when the client disconnects.
    """

    question: ChatRequest
    stream: bool | None
    on_disconnect: OnDisconnect


async def read_ask(request: Request, gateway: Gateway, session_id: str | None = None) -> AskRequest:
    """Read the question in a JSON or multipart body."""
    _check_query(request, ())
    return await _read(request, gateway, session_id, "", ())


async def _read(
    request: Request, gateway: Gateway, session_id: str | None, placeholder: str, named_here: tuple[ImagePart, ...]
) -> AskRequest:
    settings = gateway.settings
    uploads: tuple[Attached, ...] = ()
    if media_type(request) == "multipart/form-data":
        many = InvalidRequest(
            "images_of_form", values={"count": MOST_FILES + 1, "most": settings.images_per_turn}, code="too_many_images", param="images"
        )
        async with read_form(
            request,
            max_files=MOST_FILES,
            max_fields=MAX_FIELDS + settings.images_per_turn,
            max_part_size=MAX_FIELD_BYTES,
            too_many=many,
        ) as form:
            uploads = _with_own_pages(await read_images(form, settings), form)
            size = sum(len(text) for _, text in form.multi_items() if isinstance(text, str))
            body, called = await off_loop(size, lambda: _ask_body(_fields(form)))
    elif placeholder and not has_body(request):
        body, called = AskBody(), {}
    elif media_type(request) != "application/json":
        # We could read its fields, but another site's page can send it without a preflight, and it can't contain an image.
        urlencoded = media_type(request) == "application/x-www-form-urlencoded"
        raise UnsupportedBody("body_urlencoded" if urlencoded else "body_not_json_or_form")
    else:
        body, called = await read_json(request, _ask_body)
    try:
        question = await _with_session_defaults(body, gateway, session_id, placeholder, (*named_here, *uploads))
        if body.on_disconnect == "continue" and question.session_id is None:
            raise InvalidRequest("on_disconnect_without_session", param="on_disconnect")
        return AskRequest(question, body.stream, body.on_disconnect or settings.on_disconnect)
    except GatewayError as error:
        raise to_client_names(error, called) from None


def _ask_body(given: Any) -> tuple[AskBody, dict[str, str]]:
    """Parse the question. Returns (body, the client's names of renamed fields). Raises InvalidRequest; for an unknown field with a hint
    that names the one probably meant.
    """
    renamed, called = to_our_names(given)
    try:
        for name in renamed if isinstance(renamed, dict) else ():
            if name not in AskBody.model_fields:
                raise unknown_field(name, frozenset(AskBody.model_fields))
        return parse_body(AskBody, renamed), called
    except GatewayError as error:
        raise to_client_names(error, called) from None


async def _with_session_defaults(
    body: AskBody, gateway: Gateway, session_id: str | None, placeholder: str, uploads: tuple[Attached, ...]
) -> ChatRequest:
    """Return the question with its session's defaults."""
    settings = gateway.settings
    named = session_id or body.session_id
    full = in_session(body, _session(gateway, named), settings) if named else body
    make = partial(chat_request, full, settings, uploads, session_id, placeholder=placeholder)
    request = make() if _quickly_decoded(body.images) else await in_thread(make)
    fields = (*SightBody.model_fields, "pages", "frames", "background")
    if unseen := [] if request.has_images else [name for name in fields if getattr(body, name, None) is not None]:
        request = replace(request, warnings=(note("sight_ignored", fields=tuple(unseen)),))
    if not named:
        return request
    # The session already has the glossary of its preset, unless it was changed since.
    return replace(request, glossary=None) if body.glossary is None and body.preset is None else request


def _quickly_decoded(images: list[Any]) -> bool:
    """Return whether the images of a body can be decoded on the event loop: this takes less than a millisecond, and a thread costs as
    much.
    """
    texts = (image.get("data") if isinstance(image, dict) else image for image in images)
    return len(images) <= FEW_IMAGES and sum(len(text) for text in texts if isinstance(text, str)) <= AT_ONCE


def _check_query(request: Request, known: tuple[str, ...]) -> None:
    """Reject query fields that would have no effect there. Raises InvalidRequest."""
    for name in request.query_params:
        if name not in known:
            reason = "unknown_query_field_of_body" if our_name(name) in FIELDS else "unknown_query_field"
            raise InvalidRequest(reason, code="unknown_field", param=name[:64])


def _session(gateway: Gateway, session_id: str) -> Session:
    try:
        return gateway.sessions.get(session_id)
    except SessionNotFound as error:
        error.param = "session_id"
        raise


async def read_images(form: FormData, settings: Settings) -> tuple[Attached, ...]:
    """Return the form's images in the order they came: files named `image` (or an alias), ids named `image_id`, and addresses named
    `image_url`. Skips file inputs without a chosen file.
    """
    found: list[Attached] = []
    for name, value in form.multi_items():
        if name == "image_id" and value:
            found.append(_image_id(value))
        elif name in LINKS and not _is_empty(value):
            found.append(_link(name, value))
        elif is_for_images(name) and not _is_empty(value):
            found.append(await _file(name, value, settings))
    return tuple(found)


def _with_own_pages(images: tuple[Attached, ...], form: FormData) -> tuple[Attached, ...]:
    """Give each file its own pages, if the form has one field for each. Raises InvalidRequest."""
    pages, frames = ([value for value in form.getlist(name) if isinstance(value, str)] for name in PAGE_FIELDS)
    files = [place for place, image in enumerate(images) if isinstance(image, Upload | Link)]
    own = selections(pages, frames, files, text_layer=form.get("text_layer") != "off")
    if own is None:
        return images
    chosen = iter(own)
    return tuple(replace(image, selection=next(chosen)) if isinstance(image, Upload | Link) else image for image in images)


async def read_image(request: Request, settings: Settings, *, beside: str) -> tuple[Upload | Link, str]:
    """Read the form's one image, a file or an address, as its fields want it, and the text of the field `beside` ("" if it is missing)."""
    async with _form_of_one(request, frozenset({*FileBody.model_fields, beside})) as form:
        wanted = parse_body(FileBody, {name: said for name in FileBody.model_fields if isinstance(said := form.get(name), str) and said})
        image, text = await _only_image(form, settings), form.get(beside)
        image = replace(image, selection=selection_of(wanted), background=background(wanted.background))
        return image, text if isinstance(text, str) else ""


async def read_file(request: Request, settings: Settings) -> Upload | Link:
    """Read the form's one image, a file or an address, which can have no fields beside it."""
    async with _form_of_one(request, frozenset()) as form:
        return await _only_image(form, settings)


@asynccontextmanager
async def _form_of_one(request: Request, fields: frozenset[str]) -> AsyncIterator[FormData]:
    """Read a form that has one image and these fields. Raises InvalidRequest, UnsupportedBody."""
    if media_type(request) != "multipart/form-data":
        raise UnsupportedBody("body_not_image_form")
    several = InvalidRequest("form_of_two_images", param="image")
    async with read_form(request, max_files=2, max_fields=8, too_many=several) as form:
        if len(images := _images_of(form)) != 1:
            raise several if images else InvalidRequest("form_without_image", param="image")
        _check_fields(form, fields | {*IMAGE_FILES, *LINKS})
        yield form


async def _only_image(form: FormData, settings: Settings) -> Upload | Link:
    ((name, value),) = _images_of(form)
    return _link(name, value) if name in LINKS else await _file(name, value, settings)


def _images_of(form: FormData) -> list[tuple[str, UploadFile | str]]:
    return [(name, value) for name, value in form.multi_items() if (is_for_images(name) or name in LINKS) and not _is_empty(value)]


def _check_fields(form: FormData, known: frozenset[str]) -> None:
    """Reject a field that would have no effect. Raises InvalidRequest."""
    for name, value in form.multi_items():
        if name.removesuffix("[]") not in known and not _is_empty(value):
            raise _no_place_for_a_file(name[:64]) if isinstance(value, UploadFile) else unknown_field(name, known)


def _is_empty(value: UploadFile | str) -> bool:
    """Return whether this is what a web page sends for an empty field or a file input without a chosen file."""
    return not (value.filename or value.size) if isinstance(value, UploadFile) else not value


async def _file(name: str, file: UploadFile | str, settings: Settings) -> Upload:
    if not isinstance(file, UploadFile):
        raise InvalidRequest("text_for_image", param=name[:64])
    if (file.size or 0) > settings.image_max_bytes:
        try:
            check_bytes(file.size or 0, await file.read(PDF_JUNK), settings)
        except ImageFileTooLarge as error:
            error.param = name[:64]
            raise
        await file.seek(0)
    return Upload(await file.read())


def _link(name: str, value: UploadFile | str) -> Link:
    if not isinstance(value, str):
        raise InvalidRequest("file_for_text", param=name)
    check_string(value)
    return Link(parse_body(ImageLink, {"image_url": value}).image_url)


def _image_id(value: UploadFile | str) -> ImagePart:
    if not isinstance(value, str):
        raise InvalidRequest("field_not_text", param="image_id")
    return ImagePart(parse_body(ImageRef, {"image_id": value}).image_id)


def _fields(form: FormData) -> dict[str, Any]:
    """Return the fields other than images, as JSON would have them; an empty field counts as missing. Options may be fields of their
    own or one JSON field `options`.
    """
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        kind = our_name(name)
        if name == "image_id" or name in LINKS or is_for_images(name):
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
            fields.setdefault(name, []).extend(value.splitlines() if len(value) <= GLOSSARY_MAX_CHARS else [value])  # rejected later
        elif kind == "format":
            fields[name] = value if value == "json" else _format(name, value)
        elif kind in TRUTH_FIELDS:
            fields[name] = _TRUTH.get(value.strip().lower(), value)
        elif kind in PAGE_FIELDS:
            if len(form.getlist(name)) == 1:  # several are one for each file (`_with_own_pages`)
                fields[name] = value
        elif kind in TEXT_FIELDS:
            fields[name] = value
        else:
            raise unknown_field(name, FIELDS)
    return fields


def _no_place_for_a_file(name: str) -> InvalidRequest:
    if our_name(name) in FIELDS:
        return InvalidRequest("file_for_text", param=name)
    return InvalidRequest("unknown_field_file", code="unknown_field", param=name)


def _number(text: str) -> int | float | str:
    """Parse a number. Leaves any other text for the option's own error later."""
    if len(text) > NUMBERS_MAX_CHARS:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _numbers(text: str) -> Any:
    """Parse '672,672', '672x672' or '[672, 672]'. Leaves any other text for the field's own error later."""
    if len(text) > NUMBERS_MAX_CHARS:
        return text
    try:
        return parse_json(text.encode()) if text.lstrip().startswith("[") else [_number(word) for word in re.split("[,x×]", text)]
    except InvalidJSON:
        return text


def _options(name: str, text: str) -> JSON:
    """Parse the JSON of `options`. Raises InvalidOption."""
    try:
        return _object(name, text)
    except InvalidJSON as wrong:
        raise InvalidOption("options_not_json", values={"why": wrong.reason, **wrong.values}, param=name) from None


def _format(name: str, text: str) -> JSON:
    """Parse the JSON of `format`. Raises InvalidFormat."""
    try:
        return _object(name, text)
    except InvalidJSON as wrong:
        raise InvalidFormat.of(wrong, name) from None


def _object(name: str, text: str) -> JSON:
    """Parse the JSON object in a form field. Raises InvalidJSON."""
    value = parse_json(text.encode(), name)
    if not isinstance(value, dict):
        raise InvalidJSON("json_not_object", values={"what": name})
    return value
