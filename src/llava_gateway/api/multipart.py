"""Multipart forms, read part by part with files spooled to disk, and their texts in the charsets that the parts name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from llava_gateway.api.charset import TYPE_MAX_CHARS, charset_of, decode
from llava_gateway.api.threads import off_loop
from llava_gateway.errors import InvalidRequest

CHARSET_FIELD = "_charset_"
"""The field in which an HTML form names the charset of its texts (RFC 7578, 4.6)."""


class _Parts(MultiPartParser):
    """Starlette's parser falls back to Latin-1, which accepts any bytes. This one decodes everything as Latin-1, which loses no byte,
    and keeps the charset that each part names.
    """

    def __init__(self, headers: Headers, stream: Any, **limits: int) -> None:
        as_bytes = {**headers, "content-type": f"{headers.get('content-type', '')}; charset=latin-1"}
        super().__init__(Headers(as_bytes), stream, **limits)
        self.charsets: list[str | None] = []

    @property
    def has_too_many_files(self) -> bool:
        return self._current_files > self.max_files

    def on_part_end(self) -> None:
        headers = dict(self._current_part.item_headers)
        self.charsets.append(charset_of(headers.get(b"content-type", b"").decode("latin-1")))
        super().on_part_end()


@asynccontextmanager
async def read_form(
    request: Request, *, max_files: int, max_fields: int, max_part_size: int = 1024 * 1024, too_many: InvalidRequest | None = None
) -> AsyncIterator[FormData]:
    """Read the form; its files are closed at the end.

    Raises InvalidEncoding, InvalidRequest `invalid_body` for a broken form, and `too_many` at the first file beyond `max_files`.
    """
    if len(request.headers.get("content-type", "")) > TYPE_MAX_CHARS:  # parsing it takes time for each pair of semicolons
        raise InvalidRequest("invalid_body_type", status=400, code="invalid_body")
    async with aclosing(request.stream()) as stream:
        parts = _Parts(request.headers, stream, max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
        try:
            form = await parts.parse()
        except MultiPartException as error:
            if too_many and parts.has_too_many_files:
                raise too_many from None
            reason = "invalid_body_boundary" if "boundary" in error.message else "invalid_body_detail"
            raise InvalidRequest(reason, values={"detail": error.message}, status=400, code="invalid_body") from None
    try:
        size = sum(len(value) for _, value in form.multi_items() if isinstance(value, str))
        whole = charset_of(request.headers.get("content-type", ""))
        yield FormData(await off_loop(size, _texts, form, parts.charsets, whole))
    finally:
        await form.close()


def _texts(form: FormData, charsets: list[str | None], whole: str | None) -> list[tuple[str, str | UploadFile]]:
    """Decode the texts of the form: in the charset of the part, else of the form's field `_charset_`, else of the form's own type
    (`whole`).
    """
    named = form.get(CHARSET_FIELD)
    usual = named if isinstance(named, str) and named else whole
    found: list[tuple[str, str | UploadFile]] = []
    for (raw, value), own in zip(form.multi_items(), charsets, strict=True):
        name = decode(raw.encode("latin-1"), usual)
        if name != CHARSET_FIELD:
            found.append((name, decode(value.encode("latin-1"), own or usual, name[:64]) if isinstance(value, str) else value))
    return found
