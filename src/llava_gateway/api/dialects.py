"""What the APIs of Ollama, OpenAI and Anthropic have in common: which one a request speaks, its body, and the images in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Scope

from llava_gateway.answers import Answer
from llava_gateway.api.errors import error_headers
from llava_gateway.api.json_body import media_type, read_document, read_json
from llava_gateway.api.native_json import answered_image_json, context_json, decoded_image, notes_json, timings_json
from llava_gateway.chat import JSON, Think, ToolCall
from llava_gateway.errors import GatewayError, InvalidBase64Image, InvalidRequest
from llava_gateway.fetching.addresses import MAX_CHARS
from llava_gateway.parts import Link, Upload
from llava_gateway.sessions.session import new_id
from llava_gateway.settings import Settings

Dialect: TypeAlias = Literal["native", "ollama", "openai", "anthropic"]
T = TypeVar("T")
EFFORTS: Mapping[str, Think] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""How hard a model should think, by the words of OpenAI and Anthropic."""
_WEB = re.compile(r"\s*https?://", re.IGNORECASE)


def dialect_of(scope: Scope) -> Dialect:
    """Return the API that a request speaks: by its path and, where OpenAI and Anthropic have the same path, by Anthropic's header."""
    path = scope["path"]
    if path.startswith("/api/"):
        return "ollama"
    if path.startswith("/v1/messages") or (path.startswith("/v1/") and "anthropic-version" in Headers(scope=scope)):
        return "anthropic"
    return "openai" if path.startswith("/v1/") else "native"


async def read_any_json(request: Request, read: Callable[[Any], T], prepare: Callable[[bytes], bytes] = bytes) -> T:
    """Parse the body as JSON with `read`, whatever its content type says: `curl -d` says that it is a form. Only where a browser may have
    sent it does the content type count, because a form of another site's page is sent without a preflight. `prepare` may rewrite the bytes
    of the body before.

    Raises UnsupportedBody, InvalidJSON, InvalidEncoding, BodyTooLarge, and what `read` raises.
    """
    from_browser = "origin" in request.headers or "sec-fetch-site" in request.headers
    if from_browser or media_type(request) == "application/json":
        return await read_json(request, read, prepare)
    return await read_document(request, read, prepare)


def image_of(text: str, param: str, settings: Settings) -> Upload | Link:
    """Return the image or document that a text holds or names: a data: URL, base64 (see `decode_base64`), or an http or https address.

    Raises ImageError, InvalidRequest.
    """
    if not is_web_address(text):
        try:
            return decoded_image(text, param, settings)
        except InvalidBase64Image as error:
            raise InvalidBase64Image("image_address_wrong", param=param) if error.reason == "image_is_link" else error from None
    if len(text) > MAX_CHARS:
        raise InvalidRequest("text_too_long", values={"count": len(text), "most": MAX_CHARS}, param=param)
    return Link(text.strip())


def is_web_address(text: str) -> bool:
    """Return whether a text begins as an http or https address does."""
    return _WEB.match(text) is not None


def status_of(error: GatewayError) -> int:
    """Return the status of an error in APIs that know 400 for every fault of a request's contents."""
    return 400 if error.status in (415, 422) else error.status


def sentence_of(error: GatewayError) -> str:
    """Return what went wrong and what to do, for APIs with one text for both."""
    return f"{error.message} {error.hint}".strip()


def headers_of(error: GatewayError) -> dict[str, str]:
    """Return the headers of an error. The official clients repeat a request after every 5xx, even one that crashed the engine;
    `x-should-retry` stops them.
    """
    return {**error_headers(error), **({} if error.retryable else {"x-should-retry": "false"})}


def id_of(call: ToolCall) -> str:
    """Return the id of a call; a new one if the engine gave none, since clients name the call by it when they send its result."""
    return call.id or f"call_{new_id()}"


def arguments_of(call: ToolCall) -> JSON:
    """Return the arguments of a call as an object; none if their JSON was cut off, is nested too deeply, or is no object."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def gateway_json(answer: Answer) -> Mapping[str, Any]:
    """Return the object `llava_gateway` of an answer: what we know about it and other APIs have no field for."""
    return {
        "images": [answered_image_json(image) for image in answer.images],
        "context": context_json(answer.context),
        "warnings": notes_json(answer.warnings),
        "timings": timings_json(answer.timings),
    }
