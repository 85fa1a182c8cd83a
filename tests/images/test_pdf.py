"""What becomes of the pages of a PDF in a worker: the traps of the format, each with a file of its own."""

from __future__ import annotations

import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from llava_gateway.errors import ImageError, InvalidRequest
from llava_gateway.images import pdf as pdfs
from llava_gateway.images.documents import examine, ingest_page, texts
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import ImageInfo, Limits
from llava_gateway.images.ingest import Ready
from llava_gateway.images.pages import Document
from llava_gateway.notes import note
from llava_gateway.parts import Selection
from tests.images.conftest import DirectWorker
from tests.pdfs import drawing, encrypted, pdf, with_form_field, without_ink

LIMITS = Limits()


def found(data: bytes, selection: Selection = Selection()) -> Document:
    return examine(data, LIMITS, selection)


def page(data: bytes, number: int = 1) -> tuple[ImageInfo, Image.Image]:
    """Ingest a page."""
    ready, canonical = ingest_page(data, found(data, Selection(pages=((number, number),))).found[0].page, LIMITS, None)
    assert isinstance(ready, Ready)
    assert isinstance(canonical, Encoded)
    return ready.info, Image.open(BytesIO(canonical.data))


def ink(image: Image.Image) -> int:
    """Count the dark pixels."""
    return sum(image.convert("L").histogram()[:128])


def test_a_page_becomes_an_image_of_its_own() -> None:
    info, image = page(pdf("One", "Two", "Three"), 2)
    assert image.size == (info.width, info.height) == (1558, 2016)
    assert (info.original_format, info.changes, info.warnings) == ("PDF", (note("page", page=2, count=3),), ())
    assert ink(image) > 1000
    assert page(pdf("One", "Two", "Three"), 2)[1].tobytes() == image.tobytes(), "drawn alike each time"


def test_pages_are_counted_and_measured_by_target_pixels() -> None:
    assert found(pdf(*["x"] * 70)).count == 70
    assert len(found(pdf(*["x"] * 70)).found) == 64
    huge = found(pdf("x", box=(14400, 7200))).found[0]
    assert huge.size == (2016, 1008)
    assert page(pdf("x", box=(14400, 7200)))[1].size == (2016, 1008)


def test_a_strip_is_refused() -> None:
    with pytest.raises(ImageError) as refused:
        page(pdf("x", box=(10000, 1)))
    assert (refused.value.reason, refused.value.code) == ("image_aspect", "image_too_large")


def test_rotated_pages_are_upright() -> None:
    turned = drawing([b"BT /F1 36 Tf 40 400 Td (Sideways) Tj ET"], page="/Rotate 90")
    assert found(turned).found[0].size == page(turned)[1].size == (2016, 1558)
    assert page(turned)[0].warnings == (), "the text is found where it was drawn"


def test_the_values_of_form_fields_are_drawn() -> None:
    assert ink(page(with_form_field("Ada Lovelace"))[1]) > ink(page(with_form_field(""))[1]) + 1000


def test_text_without_ink_is_told() -> None:
    assert page(without_ink("These letters are empty"))[0].warnings == (note("pdf_fonts_missing", page=1),)
    assert texts(without_ink("These letters are empty"), [0]) == ["These letters are empty"]


def test_the_text_layer_has_neither_control_characters_nor_a_foreign_line_end() -> None:
    data = drawing([b"BT /F1 12 Tf 40 700 Td (One\\001) Tj 0 -20 Td (Two) Tj ET", b""])
    assert texts(data, [0, 1, 5]) == ["One\nTwo", "", ""]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encrypted(), "pdf_encrypted"),
        (pdf("x")[:200], "pdf_damaged"),
        (b"%PDF-1.7\nnothing at all", "pdf_damaged"),
        (drawing([]), "pdf_damaged"),
    ],
)
def test_a_file_that_can_not_be_opened_says_why(data: bytes, code: str) -> None:
    with pytest.raises(ImageError) as refused:
        found(data)
    assert (refused.value.code, refused.value.status) == (code, 422)


def test_a_page_that_is_only_claimed_is_reported_by_its_number() -> None:
    lying = pdf("only", count=9)
    assert [each.size for each in found(lying).found] == [(1558, 2016), *[(0, 0)] * 8]
    with pytest.raises(ImageError) as refused:
        page(lying, 5)
    assert (refused.value.code, refused.value.values) == ("page_damaged", {"page": 5, "count": 9})


def test_junk_before_the_first_line_is_skipped() -> None:
    assert found(b"\n" * 1000 + pdf("x")).count == 1


@pytest.mark.parametrize(("wanted", "reason"), [(((2, 4),), "page_beyond"), (((1, 64), (66, 66)), "too_many_pages")])
def test_pages_that_can_not_be_shown_are_refused(wanted: tuple[tuple[int, int], ...], reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        found(pdf(*["x"] * (3 if reason == "page_beyond" else 70)), Selection(pages=wanted))
    assert (refused.value.reason, refused.value.place) == (reason, ("pages",))


def test_wanted_pages_come_in_the_wanted_order_and_once() -> None:
    wanted = found(pdf("a", "b", "c"), Selection(pages=((3, 3), (1, 2), (2, 3))))
    assert [each.page.number for each in wanted.found] == [3, 1, 2]


@pytest.mark.real
def test_a_bomb_of_a_pdf_stays_within_the_workers_memory() -> None:
    """Fifty kilobytes that unpack to an image of 400 million pixels."""
    side = 20_000
    packer, packed = zlib.compressobj(9), bytearray()
    for _ in range(side):
        packed += packer.compress(bytes(side // 8))
    packed += packer.flush()
    head = f"<</Type/XObject/Subtype/Image/Width {side}/Height {side}/BitsPerComponent 1/ColorSpace/DeviceGray/Filter/FlateDecode/Length"
    image = f"{head} {len(packed)}>>\nstream\n{packed.decode('latin-1')}\nendstream"
    data = drawing([b"600 0 0 700 0 0 cm /I Do"], extra=[image], resources="/XObject<</I 4 0 R>>")
    bounded = DirectWorker(memory=300 * 2**20)
    try:
        bounded.send_page(data, found(data).found[0].page)
        with suppress(ImageError, AssertionError):  # out of memory: an error, or the end of the worker
            assert bounded.next()[0]["is"] == "ready"
        assert peak_bytes(bounded.process.pid) < 300 * 2**20
    finally:
        bounded.kill()


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had; 0 once it has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak:")), 0)


def test_long_text_is_cut_at_its_limit() -> None:
    data = drawing([b"BT /F1 1 Tf 10 700 Td " + b"(abcdefghij) Tj " * 3000 + b"ET"])
    assert len(texts(data, [0])[0]) == pdfs.TEXT_MOST_CHARS
