"""A session as a zip: its content, and how forged zips are rejected."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from llava_gateway.errors import ArchiveTooLarge, InvalidArchive
from llava_gateway.parts import ImagePart, TextPart
from llava_gateway.sessions.archive import Filed, archive
from llava_gateway.sessions.package import DOCUMENT, MOST_DIRECTORY_BYTES, Package, package
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn

RED, BLUE = "a" * 64, "b" * 64
IMAGES = {RED: Filed(b"red", "image/png", 1, 1), BLUE: Filed(b"blue", "image/jpeg", 1, 1)}
SESSION = Session(title="Shapes").with_turn(Turn((ImagePart(RED), ImagePart(BLUE), TextPart("Which?")), "Both."))


def zipped(compression: int = zipfile.ZIP_DEFLATED, **files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def test_a_package_has_all_forms_and_the_images_as_files() -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(package(SESSION, IMAGES)))) as made:
        assert made.testzip() is None
        assert made.namelist() == ["session.json", "session.md", "session.html", "images/1.png", "images/2.jpg"]
        assert (made.read("images/1.png"), made.read("images/2.jpg")) == (b"red", b"blue")
        assert b"![Picture 2](images/2.jpg)" in made.read("session.md")
        document = json.loads(made.read(DOCUMENT))
    assert document["images"][BLUE] == {"media_type": "image/jpeg", "width": 1, "height": 1, "file": "images/2.jpg"}
    alone = json.loads(b"".join(archive(SESSION, IMAGES)))
    assert alone["session"] == document["session"]
    assert alone["images"][RED]["data"] == "cmVk"


def test_a_package_is_made_piece_by_piece() -> None:
    large = {RED: Filed(b"x" * 300_000, "image/png", 1, 1), BLUE: Filed(b"y" * 300_000, "image/png", 1, 1)}
    assert max(map(len, package(SESSION, large))) < 500_000


def test_what_is_asked_for_is_read_and_no_more_than_allowed() -> None:
    package_ = Package(zipped(a=b"x" * 1000))
    assert package_.read("a", 1000) == b"x" * 1000
    with pytest.raises(ArchiveTooLarge):
        package_.read("a", 999)
    with pytest.raises(InvalidArchive) as missing:
        package_.read("b", 10)
    assert missing.value.place == ("member", "b")


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zipped(a=bytes(200 * 2**20))
    assert len(bomb) < 250_000
    with pytest.raises(ArchiveTooLarge):
        Package(bomb).read("a", 2**20)


def test_a_zip_that_lies_about_sizes_is_read_no_further_than_allowed() -> None:
    data = bytearray(zipped(a=bytes(10 * 2**20)))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")  # the zip claims that the file has 100 bytes
    with pytest.raises(InvalidArchive):
        Package(bytes(data)).read("a", 2**20)


def test_a_zip_of_very_many_files_is_not_even_listed() -> None:
    many = zipped(zipfile.ZIP_STORED, **{f"{number:06}": b"" for number in range(21_000)})
    assert len(many) > MOST_DIRECTORY_BYTES
    with pytest.raises(ArchiveTooLarge):
        Package(many)


def twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("a", b"2")
    return out.getvalue()


def changed(data: bytes, at: int, value: bytes, record: bytes = b"PK\x01\x02") -> bytes:
    found = data.rindex(record) + at
    return data[:found] + value + data[found + len(value) :]


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04",
        zipped(a=b"x")[:-1],
        zipped(a=b"x") + b"trailing",
        twice(),
        zipped(zipfile.ZIP_BZIP2, a=b"x" * 100),
        zipped(zipfile.ZIP_LZMA, a=b"x" * 100),
        changed(zipped(a=b"x"), 8, b"\x01\x00"),  # encrypted
        changed(zipped(a=b"x"), 6, b"\xff\xff"),  # of a later version
        changed(zipped(a=b"x" * 100), 16, b"\0\0\0\0"),  # a wrong checksum
        changed(zipped(a=b"x"), 42, b"\xff\xff\xff\x7f"),  # begins after the end of the zip
        changed(zipped(a=b"x"), 12, b"\xff\x00\x00\x00", b"PK\x05\x06"),  # its directory is longer than the zip
    ],
)
def test_a_damaged_or_odd_zip_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        Package(data).read("a", 1000)


def test_zip64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    large = zipped(a=b"x", b=b"y")
    assert b"PK\x06\x07" in large
    with pytest.raises(InvalidArchive):
        Package(large)
