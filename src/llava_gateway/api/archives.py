"""Sessions as files: exported to be read or kept, and taken in again."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import UploadFile

from llava_gateway.api import openapi
from llava_gateway.api.archive_body import ArchiveBody, parse_archive, session_of
from llava_gateway.api.bodies import ExportQuery
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.documents import OF_AN_ARCHIVE, parse_json
from llava_gateway.api.forms import media_type, read_query, read_whole
from llava_gateway.api.multipart import read_form
from llava_gateway.api.native_json import session_json
from llava_gateway.api.response import json_response
from llava_gateway.api.threads import in_thread
from llava_gateway.errors import ArchiveTooLarge, ImageError, InvalidArchive, InvalidRequest, UnsupportedBody
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.base64 import decode_base64
from llava_gateway.json_pieces import in_pieces
from llava_gateway.sessions.archive import Filed, archive
from llava_gateway.sessions.package import DOCUMENT, ZIP_BEGINS, Package, package
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.written import PAGE_POLICY, markdown, page
from llava_gateway.settings import Settings

router = APIRouter(responses=openapi.ERRORS)

FILES = {
    "zip": ("application/zip", "zip"),
    "json": ("application/json", "json"),
    "html": ("text/html; charset=utf-8", "html"),
    "markdown": ("text/markdown; charset=utf-8", "md"),
}
"""Media type and suffix by format."""
TAKEN = ("application/json", "application/zip", "application/x-zip-compressed", "application/octet-stream")
NAME_MAX_CHARS = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""


@router.get("/sessions/{session_id}/export", tags=["sessions"], summary="A session as a file", openapi_extra=openapi.EXPORT)
async def export_session(request: Request, session_id: str) -> Response:
    """`json` has everything: all branches, options, figures and images. `markdown` and `html` have the current branch, to be read; a page
    has its images in it and loads nothing. `zip` has all three, and the images as files."""
    gateway = gateway_of(request)
    query = read_query(request, ExportQuery)
    session = gateway.sessions.get(session_id)
    kind, suffix = FILES[query.format]
    headers = {"Content-Disposition": content_disposition(f"{session.title or 'session'}.{suffix}"), "Cache-Control": "no-store"}
    if query.format == "html":
        headers["Content-Security-Policy"] = f"{PAGE_POLICY}; sandbox"
    return StreamingResponse(_pieces(query.format, session, _files(session, gateway)), media_type=kind, headers=headers)


def _files(session: Session, gateway: Gateway) -> dict[str, Filed]:
    """The images, which live on as long as this does, whatever becomes of the session."""
    found: dict[str, Filed] = {}
    for image_id in session.every_image_id:
        image = gateway.images.get(image_id)
        found[image_id] = Filed(image.canonical or b"", image.media_type or "image/png", image.info.width, image.info.height)
    return found


def _pieces(export_format: str, session: Session, images: Mapping[str, Filed]) -> Iterator[bytes]:
    match export_format:
        case "json":
            return archive(session, images)
        case "html":
            return page(session, images)
        case "markdown":
            return in_pieces(markdown(session, images))
        case _:
            return package(session, images)


def content_disposition(name: str) -> str:
    """The header that gives a download its name (RFC 6266): for all browsers the ASCII of it, for those of today all of it."""
    stem, _, suffix = name.rpartition(".")
    letters = "".join(
        " " if unicodedata.category(c).startswith("C") or c in '<>:"/\\|?*' else c for c in unicodedata.normalize("NFC", stem)
    )
    stem = " ".join(letters.split())[:NAME_MAX_CHARS].strip(" .") or "session"
    stem = f"_{stem}" if _RESERVED.fullmatch(stem) else stem
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "", unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()).strip(" .")
    return f"attachment; filename=\"{plain or 'session'}.{suffix}\"; filename*=UTF-8''{quote(f'{stem}.{suffix}', safe='')}"


@router.post("/sessions/import", tags=["sessions"], summary="Take in an exported session", status_code=201, openapi_extra=openapi.IMPORT)
async def import_session(request: Request) -> Response:
    """The JSON or the zip of an export, as the body or as the form's `file`. All of it is checked before any is kept; the session gets
    a new id, and its images are taken in like any other."""
    gateway = gateway_of(request)
    session, images = await in_thread(_read, await _read_file(request), gateway.settings)
    taken_in = await gateway.take_in(session, images)
    await asyncio.sleep(0)  # of a thousand turns both take their time: whoever waits goes first
    return await json_response(session_json(taken_in, gateway.images, running=False), 201)


async def _read_file(request: Request) -> bytes:
    """Raises UnsupportedBody, InvalidRequest."""
    if media_type(request) == "multipart/form-data":
        async with read_form(request, max_files=1, max_fields=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise InvalidRequest("text_for_archive", param="file")
            data = await file.read()
    elif media_type(request) in TAKEN:
        data = await read_whole(request)
    else:
        raise UnsupportedBody("body_not_archive", values={"types": TAKEN[:2]})
    return data


def _read(data: bytes, settings: Settings) -> tuple[Session, dict[str, bytes]]:
    """The session in a file and the files of its images, checked as far as that goes without taking them in.

    Raises InvalidJSON, InvalidArchive, ArchiveTooLarge, ImageError.
    """
    if not data.strip():
        raise InvalidArchive("archive_empty")
    zipped = Package(data) if data.startswith(ZIP_BEGINS) else None
    document = zipped.read(DOCUMENT, settings.body_max_bytes) if zipped else data
    if not document.removeprefix(BOM_UTF8).lstrip().startswith(b"{"):
        raise InvalidArchive  # some other kind of file: where it is no JSON does not matter
    body = parse_archive(parse_json(document, bounds=OF_AN_ARCHIVE), settings)
    return session_of(body, settings), _images(body, zipped, settings)


def _images(body: ArchiveBody, zipped: Package | None, settings: Settings) -> dict[str, bytes]:
    """The files of the images by their ids. Raises InvalidArchive, ArchiveTooLarge, ImageError."""
    found: dict[str, bytes] = {}
    left = settings.session_max_bytes
    for image_id, file in body.images.items():
        param = f"images.{image_id}"
        if file.data is not None:
            try:
                found[image_id] = decode_base64(file.data)
            except ImageError as error:
                error.param = param
                raise
        elif zipped is None:
            raise InvalidArchive("archive_not_zip", param=f"{param}.file")
        else:
            found[image_id] = zipped.read(file.file or "", settings.image_max_bytes)
        left -= len(found[image_id])
        if left < 0:
            raise ArchiveTooLarge("archive_images_bytes", values={"most_bytes": settings.session_max_bytes}, param="images")
    return found
