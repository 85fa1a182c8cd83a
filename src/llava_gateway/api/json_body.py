"""JSON bodies, read whole within their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fastapi import Request

from llava_gateway.api.bodies import BodyT, parse_body
from llava_gateway.api.charset import as_utf8, charset_of
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.documents import OF_A_BODY, is_quickly_parsed, parse_json
from llava_gateway.api.threads import in_thread, off_loop
from llava_gateway.errors import UnsupportedBody
from llava_gateway.settings import Settings

AT_ONCE = 1024 * 1024
"""Bytes that are joined on the event loop: it takes a tenth of a millisecond, as long as handing them to a thread."""
T = TypeVar("T")


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def has_body(request: Request) -> bool:
    """Return whether the request has a body. Some clients send a Content-Type without a body."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def read_body(request: Request, kind: type[BodyT]) -> BodyT:
    """Parse the JSON body as `kind`. Raises what `read_json` and `parse_body` raise."""
    return await read_json(request, partial(parse_body, kind))


async def read_json(request: Request, read: Callable[[Any], T], prepare: Callable[[bytes], bytes] = bytes) -> T:
    """Parse the JSON body with `read`. Raises UnsupportedBody, InvalidJSON, InvalidEncoding, BodyTooLarge."""
    if media_type(request) != "application/json":
        raise UnsupportedBody("body_not_json")
    return await read_document(request, read, prepare)


async def read_document(request: Request, read: Callable[[Any], T], prepare: Callable[[bytes], bytes] = bytes) -> T:
    """Parse the body with `read` as JSON, whatever its content type is; `prepare` may rewrite it before. Raises InvalidJSON,
    InvalidEncoding, BodyTooLarge.
    """
    return await parse_whole(request, await read_whole(request), read, prepare)


async def parse_whole(request: Request, raw: bytes, read: Callable[[Any], T], prepare: Callable[[bytes], bytes] = bytes) -> T:
    """Parse the body `raw` of a request as `read_document` does. Raises InvalidJSON, InvalidEncoding, BodyTooLarge."""
    charset = charset_of(request.headers.get("content-type", ""))
    bounds = replace(OF_A_BODY, text=_longest_text(gateway_of(request).settings))
    size = 0 if is_quickly_parsed(raw) else len(raw)
    return await off_loop(size, lambda: read(parse_json(prepare(as_utf8(raw, charset)), bounds=bounds)))


def _longest_text(settings: Settings) -> int:
    """Return the bytes of the longest text that any field may have, plus some reserve: a text that is slightly too long gets its
    field's own error.
    """
    return max(2 * settings.image_max_bytes, 2 * settings.document_max_bytes, len(r"\ud83d\ude00") * settings.prompt_max_chars)


async def read_whole(request: Request) -> bytes:
    """Read the body. `request.body()` would join a large one on the event loop."""
    parts = [part async for part in request.stream()]
    if sum(map(len, parts)) <= AT_ONCE:
        return b"".join(parts)
    return await in_thread(b"".join, parts)
