"""The directories of a TIFF that are pages, however many the file says that it has, and wherever they lead."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from llava_gateway.images import tiff
from llava_gateway.images.documents import examine
from llava_gateway.images.pages import may_have_pages
from llava_gateway.notes import note
from llava_gateway.parts import Selection
from tests.images.conftest import DirectWorker
from tests.images.test_video import LIMITS

PAGE, REDUCED, MASK = 0, 1, 4
SIDE = 16
PIXELS = bytes(SIDE * SIDE)


def chain(kinds: Sequence[int], *, last: int = 0, order: str = "<", big: bool = False) -> bytes:
    """Write a gray TIFF with a directory of each kind of subfile, which share their pixels. `last` is where the last one leads."""
    head = ("II" if order == "<" else "MM").encode() + struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else b""
    head = head or ("II" if order == "<" else "MM").encode() + struct.pack(f"{order}HI", 42, 8)
    count, entry, pointer = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    tags = [(256, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (277, 1), (278, SIDE), (279, len(PIXELS))]
    size = struct.calcsize(f"{order}{count}{pointer}") + (len(tags) + 2) * struct.calcsize(order + entry)
    pixels = len(head) + size * len(kinds)
    data = head
    for number, kind in enumerate(kinds, 1):
        entries = sorted([*tags, (tiff.SUBFILE, kind), (tiff.OFFSETS, pixels)])
        data += struct.pack(order + count, len(entries))
        # A long number of four bytes stands at the beginning of its field.
        data += b"".join(
            struct.pack(order + ("HHQII" if big else "HHII"), tag, 4, 1, value, *([0] if big else [])) for tag, value in entries
        )
        data += struct.pack(order + pointer, len(head) + size * number if number < len(kinds) else last)
    return data + PIXELS


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_reduced_copies_and_masks_are_no_pages(order: str, *, big: bool) -> None:
    data = chain([PAGE, REDUCED, MASK, PAGE, REDUCED | MASK], order=order, big=big)
    assert tiff.pages(data) == [0, 3]
    assert may_have_pages(data)
    if big and order == ">":
        return  # Pillow does not read these
    document = examine(data, LIMITS, Selection())
    assert [(each.page.index, each.page.number, each.size) for each in document.found] == [(0, 1, (SIDE, SIDE)), (3, 2, (SIDE, SIDE))]


def test_a_photo_with_a_thumbnail_behind_it_is_one_image(worker: DirectWorker) -> None:
    data = chain([PAGE, REDUCED])
    assert not may_have_pages(data)
    shown = worker.ingest(data, None)
    assert note("first_frame_only") not in shown.info.warnings
    assert note("first_page") not in shown.info.changes
    assert note("first_page") in worker.ingest(chain([PAGE, PAGE]), None).info.changes


def test_a_chain_that_comes_back_ends() -> None:
    assert tiff.pages(chain([PAGE, PAGE], last=8)) == [0, 1]


def test_a_page_that_is_not_there_is_counted() -> None:
    data = chain([PAGE, PAGE], last=1_000_000)
    assert tiff.pages(data) == [0, 1, 2]
    assert [each.size for each in examine(data, LIMITS, Selection()).found] == [(SIDE, SIDE), (SIDE, SIDE), (0, 0)]


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_a_directory_of_countless_entries_is_read_to_a_limit(*, big: bool) -> None:
    data = bytearray(chain([PAGE], big=big))
    struct.pack_into("<Q" if big else "<H", data, 16 if big else 8, 2**62 if big else 65535)
    assert tiff.pages(bytes(data)) == [0]


def test_a_long_chain_is_looked_at_only_to_a_limit() -> None:
    data = chain([PAGE, *[REDUCED] * 40, PAGE])
    assert tiff.pages(data) == [0, 41]
    assert tiff.pages(data, 40) == [0]
    assert not may_have_pages(data)


@pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\0\0\0\0" + bytes(20), b"II*\0\xff\xff\xff\xff" + bytes(20)])
def test_what_has_no_directory_has_no_page_to_read(data: bytes) -> None:
    assert tiff.pages(data) in ([], [0])
