"""What a model sees of an image, over HTTP, with the demo model's own engine."""

from __future__ import annotations

import io
from typing import Any

import httpx2
import pytest
from PIL import Image

from llava_gateway.engines.base import ModelInfo
from llava_gateway.images.facts import VisionFacts
from tests import sample_images
from tests.api.conftest import Serve
from tests.odd_images import odd
from tests.scripted_engine import ScriptedEngine

LLAVA_16 = VisionFacts("mlp", 336, 14, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)))
PHOTO = sample_images.encoded(sample_images.shape("circle", "red", size=(800, 600)), "JPEG")


def stored(client: httpx2.Client, data: bytes) -> str:
    image_id: str = client.post("/images", files={"image": data}).json()["id"]
    return image_id


@pytest.fixture
def photo(demo: httpx2.Client) -> str:
    return stored(demo, PHOTO)


def steps_of(demo: httpx2.Client, data: bytes) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = demo.get(f"/images/{stored(demo, data)}/view", params={"format": "json"}).json()["steps"]
    return steps


def test_an_image_of_what_the_default_model_sees(demo: httpx2.Client, photo: str) -> None:
    response = demo.get(f"/images/{photo}/view")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    drawn = Image.open(io.BytesIO(response.content))
    sent = Image.open(io.BytesIO(demo.get(f"/images/{photo}", params={"model": "demo"}).content))
    assert (drawn.size, sent.size) == ((672, 672), (112, 112))
    # 800x600 leaves 14 rows of padding above and below; between them each pixel is the one that is sent.
    assert drawn.crop((0, 84, 672, 588)).resize((112, 84), Image.Resampling.NEAREST).tobytes() == sent.crop((0, 14, 112, 98)).tobytes()


def test_the_steps_in_words_and_numbers(demo: httpx2.Client, photo: str) -> None:
    seen = demo.get(f"/images/{photo}/view", params={"model": "demo"}, headers={"Accept": "application/json"}).json()
    assert (seen["id"], seen["model"], seen["tokens"], seen["label"], seen["detail"]) == (photo, "demo", 64, "exact", "low")
    assert seen["profile"] == "The whole image on 112x112 pixels, the rest of them padded."
    assert [step["code"] for step in seen["steps"]] == ["decoded", "shrunk", "padded", "encoded", "tokens"]
    assert seen["steps"][1]["values"] == {"from_width": 800, "from_height": 600, "width": 112, "height": 84}
    (piece,) = seen["pieces"]
    sent = demo.get(f"/images/{photo}", params={"model": "demo"})
    assert (piece["role"], piece["width"], piece["height"], piece["box"]) == ("whole", 112, 112, [0.0, 0.0, 1.0, 1.0])
    assert (piece["format"], piece["bytes"], piece["tokens"]) == ("PNG", len(sent.content), 64)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("jpeg turned 6", ["rotated"]),
        ("heic", ["kept_as"]),
        ("tiff turned 6", ["rotated", "kept_as"]),
    ],
)
def test_what_was_done_to_a_file_has_codes(demo: httpx2.Client, name: str, codes: list[str]) -> None:
    found = [step["code"] for step in steps_of(demo, odd(name).data)]
    assert found[0] == "decoded"
    assert set(codes) <= set(found)


def test_the_form_follows_the_accept_header_unless_it_is_named(demo: httpx2.Client, photo: str) -> None:
    for accept, form, kind in (
        ("*/*", None, "image/png"),
        ("image/avif,image/webp,image/*,*/*;q=0.8", None, "image/png"),
        ("application/json", None, "application/json"),
        ("application/json", "png", "image/png"),
        ("image/png", "json", "application/json"),
    ):
        params = {"format": form} if form else {}
        response = demo.get(f"/images/{photo}/view", params=params, headers={"Accept": accept})
        assert response.headers["content-type"].startswith(kind), (accept, form)
        assert response.headers["vary"] == "Accept"


@pytest.mark.parametrize("form", ["png", "json"])
def test_a_view_is_the_same_each_time_and_need_not_be_sent_twice(demo: httpx2.Client, photo: str, form: str) -> None:
    first, second = (demo.get(f"/images/{photo}/view", params={"format": form}) for _ in range(2))
    assert (first.content, first.headers["etag"]) == (second.content, second.headers["etag"])
    again = demo.get(f"/images/{photo}/view", params={"format": form}, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = demo.get(f"/images/{photo}/view", params={"format": form, "region": "0,0,0.5,0.5"})
    assert other.headers["etag"] != first.headers["etag"]


async def test_tiles_and_overview_as_they_are_sent(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.installed = (ModelInfo("llava16", "ollama", vision=True, facts=LLAVA_16),)
    served = await serve(engine)
    image_id = (await served.client.post("/images", files={"image": PHOTO})).json()["id"]
    high = {"model": "llava16", "detail": "high"}
    seen = (await served.client.get(f"/images/{image_id}/view", params={**high, "format": "json"})).json()
    assert (seen["tokens"], seen["label"], seen["detail"]) == (2880, "exact", "high")
    assert [piece["role"] for piece in seen["pieces"]] == ["tiles"] * 4 + ["overview"]
    assert {piece["tokens"] for piece in seen["pieces"]} == {576}
    assert [piece["box"] for piece in seen["pieces"]] == [
        [0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0],
    ]  # fmt: skip
    drawn = Image.open(io.BytesIO((await served.client.get(f"/images/{image_id}/view", params=high)).content)).convert("RGB")
    assert drawn.height == 672
    # Every piece is in its place, except for the lines and numbers drawn over it.
    corners = [(0, 0), (336, 0), (0, 336), (336, 336), (drawn.width - 336, 0)]
    for number, (left, top) in enumerate(corners):
        response = await served.client.get(f"/images/{image_id}", params={**high, "piece": number})
        piece = Image.open(io.BytesIO(response.content)).convert("RGB")
        assert piece.size == (336, 336)
        # Within the image: there are 84 rows of padding above and below it.
        there = drawn.crop((left + 40, top + 90, left + 300, top + 246))
        assert there.tobytes() == piece.crop((40, 90, 300, 246)).tobytes()
    beyond = await served.client.get(f"/images/{image_id}", params={**high, "piece": 5})
    assert (beyond.status_code, beyond.json()["error"]["param"]) == (404, "piece")
    assert beyond.json()["error"]["values"] == {"count": 5}


def test_a_region_is_an_overview_and_a_closer_look(demo: httpx2.Client, photo: str) -> None:
    seen = demo.get(f"/images/{photo}/view", params={"region": "0.5,0.25,0.5,0.5", "format": "json"}).json()
    assert [piece["role"] for piece in seen["pieces"]] == ["overview", "region"]
    assert seen["pieces"][1]["box"] == [0.5, 0.25, 0.5, 0.5]
    assert (seen["tokens"], [piece["tokens"] for piece in seen["pieces"]]) == (128, [64, 64])


@pytest.mark.parametrize("path", ["", "/view"])
def test_what_is_wrong_is_said(demo: httpx2.Client, photo: str, path: str) -> None:
    def error(image_id: str = photo, **params: str) -> tuple[int, str, str | None]:
        response = demo.get(f"/images/{image_id}{path}", params={"model": "demo", **params})
        return response.status_code, response.json()["error"]["code"], response.json()["error"]["param"]

    assert error("0" * 64)[:2] == (404, "image_file_not_found")
    assert error(model="gpt-9")[:2] == (404, "model_not_found")
    assert error(detail="huge") == (422, "invalid_request", "detail")
    assert error(detial="high") == (422, "unknown_field", "detial")
    assert error(region="0.9,0,0.5,1")[0] in (400, 422)
    assert error(region="0,0,1") == (400, "invalid_region", "region")


def test_a_piece_belongs_to_a_model(demo: httpx2.Client, photo: str) -> None:
    def error(**params: str) -> dict[str, Any]:
        found: dict[str, Any] = demo.get(f"/images/{photo}", params=params).json()["error"]
        return found

    assert (error(piece="0")["reason"], error(piece="0")["values"]) == ("needs_model", {"name": "piece"})
    assert error(model="demo", piece="1")["values"] == {"count": 1}
    assert error(model="demo", piece="-1")["code"] == error(model="demo", piece="one")["code"] == "invalid_request"
    whole = demo.get(f"/images/{photo}", params={"model": "demo"})
    assert demo.get(f"/images/{photo}", params={"model": "demo", "piece": "0"}).content == whole.content


async def test_the_blind_see_nothing(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine()
    engine.installed = (ModelInfo("blind", "ollama", vision=False),)
    served = await serve(engine)
    image_id = (await served.client.post("/images", files={"image": red_circle})).json()["id"]
    response = await served.client.get(f"/images/{image_id}/view", params={"model": "blind"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "model_lacks_vision")


def test_the_example_in_the_description_has_the_members_of_a_real_one(demo: httpx2.Client, photo: str) -> None:
    description = demo.get("/openapi.json").json()["paths"]["/images/{image_id}/view"]["get"]
    example = description["responses"]["200"]["content"]["application/json"]["example"]
    real = demo.get(f"/images/{photo}/view", params={"format": "json"}).json()
    assert list(example) == list(real)
    assert set(example["pieces"][0]) == set(real["pieces"][0])
    assert set(example["steps"][0]) == set(real["steps"][0])
    names = {parameter["name"] for parameter in description["parameters"]}
    assert names == {"image_id", "model", "format", "detail", "image_size", "num_visual_tokens", "max_image_tokens", "region"}
