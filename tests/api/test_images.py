"""Images over HTTP: stored once, with their changes reported, and returned in canonical form or as a model gets them."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from PIL import Image

from llava_gateway.api.native_json import note_json
from llava_gateway.engines.base import ModelInfo
from llava_gateway.notes import note
from tests import sample_images
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine


@pytest.fixture
def rotated_photo() -> bytes:
    """Encode a JPEG that is upright only with its EXIF orientation, with a GPS position."""
    image = sample_images.words("F7", size=(320, 240)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=92)
    return file.getvalue()


def test_a_stored_image_tells_its_size_and_what_was_changed(demo: httpx2.Client, rotated_photo: bytes) -> None:
    response = demo.post("/images", files={"image": ("IMG_0001.png", rotated_photo)})
    assert response.status_code == 201
    image = response.json()
    assert {"id", "width", "height", "changes"} <= set(image)
    assert (image["width"], image["height"]) == (320, 240)
    assert image["original"] == {"width": 240, "height": 320, "format": "JPEG", "bytes": len(rotated_photo)}
    assert image["sent"] == {"width": 112, "height": 112, "format": "PNG", "tokens": 64, "label": "exact", "detail": "low", "pieces": 1}
    changes = {change["code"]: change["values"] for change in image["changes"]}
    assert changes["rotated"] == {"degrees": 90}
    assert "gps_removed" in changes


def test_the_canonical_image_is_named_by_its_bytes_and_has_no_metadata(demo: httpx2.Client, rotated_photo: bytes) -> None:
    image_id = demo.post("/images", files={"image": rotated_photo}).json()["id"]
    response = demo.get(f"/images/{image_id}")
    assert response.headers["content-type"] in ("image/jpeg", "image/png")
    assert hashlib.sha256(response.content).hexdigest() == image_id
    opened = Image.open(io.BytesIO(response.content))
    assert opened.size == (320, 240)
    assert not opened.getexif()


def test_a_rendition_is_what_the_model_gets_and_stays_the_same(demo: httpx2.Client, rotated_photo: bytes) -> None:
    image_id = demo.post("/images", files={"image": rotated_photo}).json()["id"]
    first, second = (demo.get(f"/images/{image_id}", params={"model": "demo"}) for _ in range(2))
    assert Image.open(io.BytesIO(first.content)).size == (112, 112)
    assert first.content == second.content
    answer = demo.post("/ask", json={"prompt": "What does it say?", "images": [{"image_id": image_id}]}).json()
    assert "F7" in answer["message"]["content"]


def test_an_image_may_be_kept_by_the_browser(demo: httpx2.Client, red_circle: bytes) -> None:
    image_id = demo.post("/images", files={"image": red_circle}).json()["id"]
    first = demo.get(f"/images/{image_id}")
    assert first.headers["cache-control"].startswith("private")
    again = demo.get(f"/images/{image_id}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert demo.get(f"/images/{image_id}", params={"model": "demo"}).headers["etag"] != first.headers["etag"]


def test_the_same_image_has_the_same_id_however_often_it_comes(demo: httpx2.Client, blue_square: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda _: demo.post("/images", files={"image": blue_square}).json()["id"], range(8)))
    assert len(ids) == 1


@pytest.mark.parametrize("name", ["0" * 64, "x", "..%2f..%2fetc%2fpasswd", "%00"])
def test_an_unknown_image_is_not_found(demo: httpx2.Client, name: str) -> None:
    response = demo.get(f"/images/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] in ("image_file_not_found", "not_found")


def test_an_unknown_model_has_no_rendition(demo: httpx2.Client, red_circle: bytes) -> None:
    image_id = demo.post("/images", files={"image": red_circle}).json()["id"]
    assert demo.get(f"/images/{image_id}", params={"model": "gpt-9"}).json()["error"]["code"] == "model_not_found"
    assert demo.post("/images", files={"image": red_circle}, data={"model": "gpt-9"}).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "empty_image_file"),
        (b"GIF89a", 422, "image_parse_error"),
        (b"qoif\0\0", 415, "unsupported_image_media_type"),
        (b"%PDF-1.7", 422, "pdf_damaged"),
    ],
)
def test_what_is_no_image_is_refused(demo: httpx2.Client, data: bytes, status: int, code: str) -> None:
    response = demo.post("/images", files={"image": ("photo.png", data)})
    assert (response.status_code, response.json()["error"]["code"], response.json()["error"]["param"]) == (status, code, "image")


async def test_an_image_file_over_the_limit_is_refused(serve: Serve, red_circle: bytes) -> None:
    served = await serve(ScriptedEngine(), image_max_bytes=1024)
    for path, data in (("/images", {}), ("/ask", {"prompt": "What?"}), ("/analyze_image", {"question": "What?"})):
        response = await served.client.post(path, files={"image": red_circle + bytes(2000)}, data=data)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "image_file_too_large")


async def test_images_are_stored_without_any_engine_and_not_rendered_for_the_blind(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine()
    engine.up = False
    served = await serve(engine)
    stored = (await served.client.post("/images", files={"image": red_circle})).json()
    assert stored["sent"] is None
    engine.up = True
    engine.installed = (ModelInfo("blind", "ollama", vision=False),)
    await served.gateway.pool.refresh()
    response = await served.client.get(f"/images/{stored['id']}", params={"model": "blind"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "model_lacks_vision")


async def test_when_nothing_can_be_dropped_there_is_no_room(serve: Serve, red_circle: bytes) -> None:
    served = await serve(ScriptedEngine(), store_max_bytes=2**20, image_max_bytes=2**22)
    response = await served.client.post("/images", files={"image": red_circle + bytes(2**21)})
    assert (response.status_code, response.json()["error"]["code"]) == (507, "storage_full")


def test_a_stored_image_can_be_rotated(demo: httpx2.Client) -> None:
    image = sample_images.words("F7", size=(320, 240))
    lying = demo.post("/images", files={"image": sample_images.encoded(image.transpose(Image.Transpose.ROTATE_90))}).json()
    response = demo.post(f"/images/{lying['id']}/rotate", params={"by": 90})
    rotated = response.json()
    assert (response.status_code, rotated["width"], rotated["height"]) == (201, 320, 240)
    assert rotated["changes"] == [note_json(note("rotated_by_hand", degrees=90))]
    assert rotated["sent"]["tokens"] == 64
    assert Image.open(io.BytesIO(demo.get(f"/images/{rotated['id']}").content)).convert("RGB").tobytes() == image.convert("RGB").tobytes()
    answer = demo.post("/ask", json={"prompt": "What does it say?", "images": [{"image_id": rotated["id"]}]}).json()
    assert "F7" in answer["message"]["content"]
    codes = [step["code"] for step in demo.get(f"/images/{rotated['id']}/view", params={"format": "json"}).json()["steps"]]
    assert "rotated_by_hand" in codes


@pytest.mark.parametrize("query", [{}, {"by": "45"}, {"by": "x"}, {"by": "90", "model": "gpt-9"}, {"by": "90", "more": "1"}])
def test_what_can_not_be_turned_so_is_refused(demo: httpx2.Client, red_circle: bytes, query: dict[str, str]) -> None:
    image_id = demo.post("/images", files={"image": red_circle}).json()["id"]
    response = demo.post(f"/images/{image_id}/rotate", params=query)
    assert response.status_code in (404, 422)
    assert demo.post(f"/images/{'0' * 64}/rotate", params={"by": "90"}).json()["error"]["code"] == "image_file_not_found"
