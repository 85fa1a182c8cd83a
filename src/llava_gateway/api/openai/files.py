"""The files that clients upload to name them later: POST /v1/files and its siblings. They are kept in memory, like other uploads."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from llava_gateway.api.deps import gateway_of
from llava_gateway.api.json_body import media_type
from llava_gateway.api.multipart import read_form
from llava_gateway.api.response import JSONResponse
from llava_gateway.errors import InvalidRequest, NotFound, UnsupportedBody
from llava_gateway.images.check import check_file
from llava_gateway.sessions.session import new_id
from llava_gateway.settings import Settings

MOST_FILES = 1000
PURPOSES = ("user_data", "vision", "assistants")
MAX_NAME_CHARS = 255


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that was uploaded. The name is only shown again."""

    data: bytes
    name: str
    purpose: str
    id: str = field(default_factory=lambda: f"file-{new_id()}")
    created: int = field(default_factory=lambda: int(time.time()))


class FileShelf:
    """The uploaded files, up to `most_bytes`. Beyond that, those that were not used for the longest time are dropped."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._files: dict[str, StoredFile] = {}
        self._lock = RLock()
        """Large requests, which may name files, are read in a thread."""

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The files, last used last."""
        return tuple(self._files.values())

    def add(self, file: StoredFile) -> None:
        with self._lock:
            self._files[file.id] = file
            self._held += len(file.data)
            while (self._held > self._most or len(self._files) > MOST_FILES) and len(self._files) > 1:
                self.delete(next(iter(self._files)))

    def get(self, file_id: str, param: str | None = None) -> StoredFile:
        """Return a file, which counts as used. Raises NotFound."""
        with self._lock:
            file = self._files.pop(file_id, None)
            if file is None:
                raise NotFound("stored_file_not_found", code="file_not_found", param=param)
            self._files[file_id] = file
            return file

    def data(self, file_id: str, param: str) -> bytes:
        """Return the bytes of the file that a field names. Raises NotFound."""
        return self.get(file_id, param).data

    def delete(self, file_id: str) -> None:
        """Delete a file. Raises NotFound."""
        with self._lock:
            self._held -= len(self.get(file_id).data)
            del self._files[file_id]


def shelf_of(request: Request) -> FileShelf:
    found: FileShelf = request.app.state.openai_files
    return found


def most_bytes(settings: Settings) -> int:
    """Return how many bytes of files are kept: a quarter of what images and sessions may take, at least one file of the largest size."""
    return max(settings.store_max_bytes // 4, settings.document_max_bytes)


async def upload_file(request: Request) -> Response:
    """Store an image or a document, which is checked as far as that needs no decoder."""
    if media_type(request) != "multipart/form-data":
        raise UnsupportedBody("body_not_file_form")
    settings = gateway_of(request).settings
    async with read_form(request, max_files=1, max_fields=16, too_many=InvalidRequest("form_of_two_files", param="file")) as form:
        file, purpose = form.get("file"), form.get("purpose") or PURPOSES[0]
        if not isinstance(file, UploadFile):
            raise InvalidRequest("form_without_file", param="file")
        if purpose not in PURPOSES:
            raise InvalidRequest("purpose_unknown", values={"known": PURPOSES}, param="purpose")
        data = await file.read()
        check_file(data, settings)
        stored = StoredFile(data, (file.filename or "")[:MAX_NAME_CHARS], str(purpose))
    shelf_of(request).add(stored)
    return JSONResponse(file_json(stored))


async def list_files(request: Request) -> Response:
    """List the files, last uploaded first."""
    files = sorted(shelf_of(request).files, key=lambda file: file.created, reverse=True)
    rows = [file_json(file) for file in files]
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    return JSONResponse({"object": "list", "data": rows, **ends, "has_more": False})


async def get_file(request: Request) -> Response:
    return JSONResponse(file_json(shelf_of(request).get(request.path_params["file_id"])))


async def get_content(request: Request) -> Response:
    """Return the bytes of a file. Never as a type that a browser would run."""
    file = shelf_of(request).get(request.path_params["file_id"])
    headers = {"Content-Disposition": "attachment"}
    return Response(file.data, media_type="application/octet-stream", headers=headers)


async def delete_file(request: Request) -> Response:
    file_id = request.path_params["file_id"]
    shelf_of(request).delete(file_id)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


def file_json(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.data),
        "created_at": file.created,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
