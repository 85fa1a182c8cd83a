"""Sessions as files: export and import."""

from __future__ import annotations

import re
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import UploadFile

from llava_gateway.api import openapi
from llava_gateway.api.archive_body import ArchiveBody, parse_archive, session_of
from llava_gateway.api.bodies import ExportQuery
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.documents import OF_AN_ARCHIVE, parse_json
from llava_gateway.api.forms import read_query
from llava_gateway.api.json_body import media_type, read_whole
from llava_gateway.api.multipart import read_form
from llava_gateway.api.native_json import session_response
from llava_gateway.api.threads import in_thread
from llava_gateway.errors import ArchiveTooLarge, ImageError, ImageNotFound, InvalidArchive, InvalidRequest, UnsupportedBody
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.base64 import decode_base64
from llava_gateway.journal.backup import Backup
from llava_gateway.json_pieces import in_pieces
from llava_gateway.sessions.archive import Filed, archive
from llava_gateway.sessions.package import DOCUMENT, ZIP_BEGINS, Package, package, package_all
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.transcript import PAGE_POLICY, markdown, page
from llava_gateway.settings import Settings

router = APIRouter(responses=openapi.ERRORS)

FILES = {
    "zip": ("application/zip", "zip"),
    "json": ("application/json", "json"),
    "html": ("text/html; charset=utf-8", "html"),
    "markdown": ("text/markdown; charset=utf-8", "md"),
}
"""Media type and suffix of each format."""
TAKEN = ("application/json", "application/zip", "application/x-zip-compressed", "application/octet-stream")
NAME_MAX_CHARS = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices."""


@router.get("/sessions/{session_id}/export", tags=["sessions"], summary="Export a session as a file", openapi_extra=openapi.EXPORT)
async def export_session(request: Request, session_id: str) -> Response:
    """Export a session. `json` contains everything: all branches, options, metrics and images. `markdown` and `html` contain the
    current branch, for reading; the HTML page includes its images and loads nothing. `zip` contains all three, and the images as files.
    """
    gateway = gateway_of(request)
    query = read_query(request, ExportQuery)
    session = gateway.sessions.get(session_id)
    kind, suffix = FILES[query.format]
    headers = {"Content-Disposition": content_disposition(f"{session.title or 'session'}.{suffix}"), "Cache-Control": "no-store"}
    if query.format == "html":
        headers["Content-Security-Policy"] = f"{PAGE_POLICY}; sandbox"
    session, files = await _with_files(session, gateway)
    return StreamingResponse(_pieces(query.format, session, files), media_type=kind, headers=headers)


async def _with_files(session: Session, gateway: Gateway) -> tuple[Session, dict[str, Filed]]:
    """Return the session and its images' files. The dictionary keeps them alive, even if the session is deleted meanwhile. An image whose
    file is missing or damaged is left out."""
    found: dict[str, Filed] = {}
    for image_id in session.every_image_id:
        with suppress(ImageNotFound):
            image = gateway.images.get(image_id)
            data = await gateway.images.read(image)
            found[image_id] = Filed(data, image.media_type or "image/png", image.info.width, image.info.height)
    lost = {*session.every_image_id} - found.keys()
    return session.without_images(lost) if lost else session, found


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
    """Return the header that names a download (RFC 6266): an ASCII name for old browsers, and the full name for current ones."""
    stem, _, suffix = name.rpartition(".")
    letters = "".join(
        " " if unicodedata.category(c).startswith("C") or c in '<>:"/\\|?*' else c for c in unicodedata.normalize("NFC", stem)
    )
    stem = " ".join(letters.split())[:NAME_MAX_CHARS].strip(" .") or "session"
    stem = f"_{stem}" if _RESERVED.fullmatch(stem) else stem
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "", unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()).strip(" .")
    return f"attachment; filename=\"{plain or 'session'}.{suffix}\"; filename*=UTF-8''{quote(f'{stem}.{suffix}', safe='')}"


@router.get("/sessions/export", tags=["sessions"], summary="Export all sessions as one zip", openapi_extra=openapi.EXPORT_ALL)
async def export_all(request: Request) -> Response:
    """Export all sessions except temporary ones. The zip has one JSON document for each, which an import reads."""
    gateway = gateway_of(request)
    if gateway.journal:
        sessions = Backup(gateway.journal.folder.path).read()
    else:
        kept = [gateway.sessions.get(summary.id) for summary in gateway.sessions.list() if not summary.temporary]
        sessions = iter([await _with_files(session, gateway) for session in kept])
    headers = {"Content-Disposition": content_disposition("chats.zip"), "Cache-Control": "no-store"}
    return StreamingResponse(package_all(sessions), media_type="application/zip", headers=headers)


@router.post("/sessions/import", tags=["sessions"], summary="Import an exported session", status_code=201, openapi_extra=openapi.IMPORT)
async def import_session(request: Request) -> Response:
    """Import the JSON or the zip of an export, sent as the body or as the form's `file`. Everything is checked before anything is
    stored. The session gets a new id, and its images are prepared like any others. From a zip of all sessions, all of them come in or
    none; the response is the last one.
    """
    gateway = gateway_of(request)
    data = await _read_file(request)
    zipped = await in_thread(Package, data) if data.startswith(ZIP_BEGINS) else None
    imported: list[Session] = []
    try:
        for document in (zipped and zipped.documents) or (None,):
            session, images = await in_thread(_read, data, zipped, document, gateway.settings)
            imported.append(await gateway.import_session(session, images))
            await gateway.sessions.wait_saved(imported[-1].id)
    except BaseException:
        for session in imported:
            gateway.sessions.discard(session.id)
        raise
    return await session_response(imported[-1], gateway, 201)


async def _read_file(request: Request) -> bytes:
    """Read the file from the request. Raises UnsupportedBody, InvalidRequest."""
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


def _read(data: bytes, zipped: Package | None, name: str | None, settings: Settings) -> tuple[Session, dict[str, bytes]]:
    """Read a session and its images' files, and check all that can be checked without decoding the images.

    Args:
        data: the document, or the zip.
        zipped: the zip, if it is one.
        name: the document in a zip of many; None for the one of a single session.

    Raises InvalidJSON, InvalidArchive, ArchiveTooLarge, ImageError.
    """
    if not data.strip():
        raise InvalidArchive("archive_empty")
    document = zipped.read(name or DOCUMENT, settings.body_max_bytes) if zipped else data
    if not document.removeprefix(BOM_UTF8).lstrip().startswith(b"{"):
        raise InvalidArchive  # some other kind of file: the position of the JSON error would not help
    body = parse_archive(parse_json(document, bounds=OF_AN_ARCHIVE), settings)
    return session_of(body, settings), _images(body, zipped, settings)


def _images(body: ArchiveBody, zipped: Package | None, settings: Settings) -> dict[str, bytes]:
    """Return the images' files by their ids. Raises InvalidArchive, ArchiveTooLarge, ImageError."""
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
