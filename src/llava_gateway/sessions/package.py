"""Packs sessions as a zip: one with Markdown and a page to read, JSON to import, and its images as files; or many, each as JSON. Writes in
pieces and reads uploads warily."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping

from llava_gateway.errors import ArchiveTooLarge, InvalidArchive
from llava_gateway.json_pieces import in_pieces
from llava_gateway.sessions.archive import Filed, archive, archive_beside_files
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.transcript import markdown, page

DOCUMENT = "session.json"
ZIP_BEGINS = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END_BYTES = 22
_END_64 = b"PK\x06\x07"
_END_64_BYTES = 20
MOST_DIRECTORY_BYTES = 2**20
"""A larger directory has more than 10,000 entries. Python keeps an object for each entry, so such a zip is rejected unread."""
_ENCRYPTED = 1
_MEMBER = re.compile(r"chats/\d{5,}\.json")
_FIRST_DATE, _LAST_DATE = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
"""The range of dates that a zip can hold."""


def package(session: Session, images: Mapping[str, Filed]) -> Iterator[bytes]:
    """Write the zip in pieces."""
    names = {image_id: f"images/{number}.{image.suffix}" for number, (image_id, image) in enumerate(images.items(), 1)}
    out = _Pieces()
    with zipfile.ZipFile(out, "w") as zipped:

        def add(name: str, pieces: Iterable[bytes], compression: int = zipfile.ZIP_DEFLATED) -> Iterator[bytes]:
            info = zipfile.ZipInfo(name, _date(session))
            info.compress_type = compression
            info.external_attr = 0o644 << 16
            with zipped.open(info, "w") as file:
                for piece in pieces:
                    file.write(piece)
                    yield out.taken()
            yield out.taken()

        yield from add(DOCUMENT, archive_beside_files(session, images, names))
        yield from add("session.md", in_pieces(markdown(session, images, names)))
        yield from add("session.html", page(session, images))
        for image_id, image in images.items():
            yield from add(names[image_id], [image.data], zipfile.ZIP_STORED)
    yield out.taken()


def package_all(sessions: Iterable[tuple[Session, Mapping[str, Filed]]]) -> Iterator[bytes]:
    """Write a zip of many sessions in pieces: each is the JSON document that an import reads, named by `member_name`."""
    out = _Pieces()
    with zipfile.ZipFile(out, "w") as zipped:
        for number, (session, images) in enumerate(sessions, 1):
            info = zipfile.ZipInfo(member_name(number), _date(session))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with zipped.open(info, "w", force_zip64=True) as file:
                for piece in archive(session, images):
                    file.write(piece)
                    yield out.taken()
    yield out.taken()


def member_name(number: int) -> str:
    """Return the name of a session's document in a zip of many."""
    return f"chats/{number:05}.json"


def _date(session: Session) -> tuple[int, int, int, int, int, int]:
    return min(max(session.updated_at.timetuple()[:6], _FIRST_DATE), _LAST_DATE)


class _Pieces(io.RawIOBase):
    """A write-only file whose content is taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Package:
    """An uploaded zip. Reads only the members asked for by name, up to the allowed size. Raises InvalidArchive."""

    def __init__(self, data: bytes) -> None:
        end, before = data[-_END_BYTES:], data[-_END_BYTES - _END_64_BYTES : -_END_BYTES]
        if not end.startswith(_END) or end[-2:] != b"\0\0" or before.startswith(_END_64):
            raise InvalidArchive("zip_cut_off")
        if int.from_bytes(end[12:16], "little") > MOST_DIRECTORY_BYTES:
            raise ArchiveTooLarge("zip_of_too_many")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            raise InvalidArchive("zip_damaged") from None

    @property
    def documents(self) -> list[str]:
        """The names of the documents in a zip of many sessions; none in the zip of one session."""
        return [name for name in self._zip.namelist() if _MEMBER.fullmatch(name)]

    def read(self, name: str, most: int) -> bytes:
        """Read a member of at most `most` bytes, whatever size the zip claims. Raises InvalidArchive, ArchiveTooLarge."""
        found = [info for info in self._zip.infolist() if info.filename == name]
        if len(found) != 1:
            raise InvalidArchive("zip_without", values={"name": name, "count": len(found)}).at("member", name)
        info = found[0]
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidArchive("zip_not_packed_so", values={"name": name}).at("member", name)
        try:
            with self._zip.open(info) as file:
                data = file.read(most + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError):
            raise InvalidArchive("zip_member_damaged", values={"name": name}).at("member", name) from None
        if len(data) > most:
            raise ArchiveTooLarge("zip_member_bytes", values={"name": name, "most_bytes": most}).at("member", name)
        return data
