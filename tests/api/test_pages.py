"""Documents over HTTP: in forms and in JSON, for all files or for one, and the limits on them."""

from __future__ import annotations

import struct
from base64 import b64decode
from io import BytesIO
from typing import Any

import httpx2
import pytest
from PIL import Image

from llava_gateway.api.native_json import note_json
from llava_gateway.images.pages import PDF_JUNK
from llava_gateway.images.raw import is_raw
from llava_gateway.notes import note
from tests.api.conftest import Serve
from tests.api.test_ask import b64
from tests.api.test_wording import error_of
from tests.images.test_animation import film
from tests.images.test_containers import preview, tiff_like
from tests.odd_images import saved
from tests.pdfs import encrypted, pdf
from tests.sample_images import shape
from tests.scripted_engine import ScriptedEngine

THREE = pdf("One", "Two", "Three")
ASK = {"prompt": (None, "What does it say?")}


def pages(answer: httpx2.Response) -> list[int]:
    """Return the numbers of the pages in an answer."""
    assert answer.status_code == 200, answer.text
    changes = [change for image in answer.json()["images"] for change in image["changes"]]
    return [change["values"]["page"] for change in changes if change["code"] == "page"]


def form(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {"files": [("prompt", (None, "What does it say?")), *((name, value) for name, value in fields)]}


def test_a_form_chooses_pages_for_all_files_or_for_each(demo: httpx2.Client) -> None:
    file = ("image", ("a.pdf", THREE))
    assert pages(demo.post("/ask", **form(file))) == [1, 2, 3]
    assert pages(demo.post("/ask", **form(file, ("pages", (None, "2-3"))))) == [2, 3]
    assert pages(demo.post("/ask", **form(file, file, ("pages", (None, "1")), ("pages", (None, "3,2"))))) == [1, 3, 2]
    error = error_of(demo.post("/ask", **form(file, file, file, ("pages", (None, "1")), ("pages", (None, "2")))))
    assert (error["reason"], error["param"]) == ("selections_wrong", "pages")


def test_an_empty_field_of_a_form_lets_its_file_show_what_fits(demo: httpx2.Client) -> None:
    file = ("image", ("a.pdf", THREE))
    for first, second, shown in (("2", "", [2, 1, 2, 3]), ("", "2", [1, 2, 3, 2])):
        assert pages(demo.post("/ask", **form(file, file, ("pages", (None, first)), ("pages", (None, second))))) == shown


def test_a_list_of_pages_that_is_too_long_is_refused_for_each_file(demo: httpx2.Client) -> None:
    file, long = ("image", ("a.pdf", THREE)), ",".join(["1"] * 300)
    response = demo.post("/ask", **form(file, file, ("pages", (None, "1")), ("pages", (None, long))))
    assert (response.status_code, error_of(response)["param"]) == (422, "pages")


def test_an_error_about_pages_says_which_of_several_files(demo: httpx2.Client) -> None:
    file = ("image", ("a.pdf", THREE))
    for fields, param in (
        ([file, ("pages", (None, "9"))], "pages"),
        ([file, file, ("pages", (None, "1")), ("pages", (None, "9"))], "images[1].pages"),
    ):
        error = error_of(demo.post("/ask", **form(*fields)))
        assert (error["reason"], error["param"]) == ("page_beyond", param)


def test_json_chooses_pages_for_all_files_or_for_one(demo: httpx2.Client) -> None:
    body = {"prompt": "What does it say?", "pages": "3", "images": [b64(THREE), {"data": b64(THREE), "pages": "1-2"}]}
    assert pages(demo.post("/ask", json=body)) == [3, 1, 2]
    error = error_of(demo.post("/ask", json={**body, "images": [{"data": b64(THREE), "pages": "two"}]}))
    assert (error["reason"], error["param"]) == ("pages_wrong", "images[0].pages")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("4", "page_beyond"),
        ("0", "pages_wrong"),
        ("3-1", "pages_wrong"),
        ("1,,2", "pages_wrong"),
        ("1-", "pages_wrong"),
        ("1-65", "too_many_pages"),
        ("1" * 501, "pages_wrong"),
    ],
)
def test_pages_that_can_not_be_are_refused(demo: httpx2.Client, wanted: str, reason: str) -> None:
    response = demo.post("/ask", **form(("image", ("a.pdf", THREE)), ("pages", (None, wanted))))
    error = error_of(response)
    assert response.status_code == 422
    assert reason == error["reason"] or error["param"] == "pages", error


def test_the_text_layer_can_be_left_out(demo: httpx2.Client) -> None:
    def tokens(**fields: str) -> int:
        told = demo.post("/count_tokens", json={"prompt": "x", "images": [b64(THREE)], **fields}).json()
        return int(told["total"])

    assert tokens(text_layer="off") < tokens()


@pytest.mark.parametrize("field", ["model", "pages", "frames", "text_layer", "background"])
def test_a_list_of_pages_takes_no_fields_without_effect(demo: httpx2.Client, field: str) -> None:
    response = demo.post("/documents", files=[("image", ("a.pdf", THREE)), (field, (None, "1"))])
    assert (response.status_code, error_of(response)["code"], error_of(response)["param"]) == (422, "unknown_field", field)


def test_a_page_can_be_stored(demo: httpx2.Client) -> None:
    stored = demo.post("/images", files=[("image", ("a.pdf", THREE)), ("pages", (None, "2"))]).json()
    assert stored["original"]["format"] == "PDF"
    assert stored["changes"] == [note_json(note("page", page=2, count=3))]
    answer = demo.post("/ask", json={"prompt": "x", "images": [b64(THREE)], "pages": "2"}).json()
    assert answer["images"][0]["id"] == stored["id"], "the same page is the same image"


def test_a_pdf_with_a_password_is_refused_by_its_own_code(demo: httpx2.Client) -> None:
    response = demo.post("/ask", **form(("image", ("a.pdf", encrypted()))))
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (422, "pdf_encrypted", "images[0]")


async def test_documents_have_a_limit_of_their_own(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), image_max_bytes=2000, document_max_bytes=6000, image_workers=1)
    small, large = pdf("x") + b" " * 3000, pdf("x") + b" " * 7000
    assert pages(await served.client.post("/ask", **form(("image", ("a.pdf", small))))) == [1]
    assert pages(await served.client.post("/ask", json={"prompt": "x", "images": [b64(small)]})) == [1]
    for response in (
        await served.client.post("/ask", **form(("image", ("a.pdf", large)))),
        await served.client.post("/ask", json={"prompt": "x", "images": [b64(large)]}),
    ):
        assert (response.status_code, error_of(response)["code"]) == (413, "document_too_large")


async def test_a_video_too_large_for_json_is_sent_as_a_file(serve: Serve) -> None:
    """The memory for a body of JSON is limited by images and documents; a form has the whole video on disk."""
    limits = {"image_max_bytes": 20_000, "document_max_bytes": 20_000, "prompt_max_chars": 1000, "video_max_bytes": 500_000}
    served = await serve(ScriptedEngine(), **limits, image_workers=1)
    video = b"\0\0\0\x18ftypisom" + bytes(300_000)
    response = await served.client.post("/ask", json={"prompt": "x", "images": [b64(video)]})
    error = error_of(response)
    assert (response.status_code, error["reason"]) == (413, "json_text_bytes")
    assert "Send a large video as a file in a form" in error["hint"]
    response = await served.client.post("/ask", **form(("image", ("a.mp4", video))))
    assert error_of(response)["code"] == "video_damaged", "it was read"


async def test_camera_raw_files_may_be_as_large_as_documents(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), image_max_bytes=2000, document_max_bytes=400_000, image_workers=1)
    # The sensor's directory stands behind everything else, as in most of these files.
    head, sensor = preview(), struct.pack("<HHHIII", 1, 262, 3, 1, 32803, 0)
    raw = tiff_like(b"II*\0", {330: (4, 26 + len(head))}, head + sensor)
    assert is_raw(raw)
    assert not is_raw(raw[:PDF_JUNK])
    for large, status, code in (
        (raw, 200, None),
        (raw + bytes(400_000), 413, "document_too_large"),
        (saved(Image.new("RGB", (90, 90)), "TIFF"), 413, "image_file_too_large"),
    ):
        for response in (
            await served.client.post("/ask", **form(("image", ("a", large)))),
            await served.client.post("/ask", json={"prompt": "x", "images": [b64(large)]}),
        ):
            assert response.status_code == status
            assert code is None or error_of(response)["code"] == code


async def test_pdfs_can_be_switched_off(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), image_formats=("JPEG", "PNG"), image_workers=1)
    response = await served.client.post("/ask", **form(("image", ("a.pdf", THREE))))
    assert error_of(response)["code"] == "invalid_image_format"


def test_pages_are_listed_with_thumbnails(demo: httpx2.Client) -> None:
    listed = demo.post("/documents", files={"image": ("a.pdf", pdf("One", "Two", count=3))}).json()
    assert {name: listed[name] for name in ("format", "count", "field")} == {"format": "PDF", "count": 3, "field": "pages"}
    assert [page["number"] for page in listed["pages"]] == [1, 2, 3]
    thumbnails = [page["thumbnail"] for page in listed["pages"]]
    assert thumbnails[2] is None, "a page that is only claimed"
    assert Image.open(BytesIO(b64decode(thumbnails[0].removeprefix("data:image/jpeg;base64,")))).height == 240
    frames = demo.post("/documents", files={"image": ("a.gif", film("GIF"))}).json()
    assert (frames["field"], [page["number"] for page in frames["pages"]]) == ("frames", [1, 2, 3, 5])
    alone = demo.post("/documents", files={"image": ("a.png", saved(shape("circle", "red"), "PNG"))}).json()
    assert (alone["count"], alone["pages"]) == (1, [])


def test_a_video_says_what_is_missing_to_read_it(demo: httpx2.Client) -> None:
    for start in (b"\0\0\0\x18ftypmp42\0\0\0\0", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST"):
        response = demo.post("/ask", **form(("image", ("a", start))))
        assert error_of(response)["code"] in ("video_not_read", "video_damaged"), "without ffmpeg on this machine, or with it"
