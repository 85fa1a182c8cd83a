"""How images are to be seen, as every route accepts it: in the question, in an image, in options, in a form."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest

from llava_gateway.api.bodies import AskBody, parse_body
from llava_gateway.api.forms import FIELDS
from llava_gateway.api.native_json import ADDRESS_MAX_CHARS, chat_request, note_json
from llava_gateway.errors import ConflictingFields, GatewayError, InvalidRegion, InvalidRequest
from llava_gateway.notes import note
from llava_gateway.parts import Sight, TextPart
from llava_gateway.settings import Settings
from tests import sample_images
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

IMAGE = base64.b64encode(sample_images.encoded(sample_images.shape("circle", "red"))).decode()
REF = {"image_id": "0" * 64}


def sights(**body: Any) -> list[Sight]:
    """Return the sight of each image of a question; of one image if the body has none."""
    request = chat_request(parse_body(AskBody, {"prompt": "Hi", "images": [IMAGE], **body}), Settings())
    return [part.sight for part in request.question.attachments]


@pytest.mark.parametrize(
    ("fields", "sight"),
    [
        ({}, Sight()),
        ({"detail": "high"}, Sight(detail="high")),
        ({"detail": None, "region": None, "image_size": None}, Sight()),
        ({"image_size": [672, 1008]}, Sight(image_size=(672, 1008))),
        ({"num_visual_tokens": 1728, "max_image_tokens": 2880}, Sight(num_visual_tokens=1728, max_image_tokens=2880)),
        ({"region": [0.5, 0, 0.5, 0.25]}, Sight(region=(0.5, 0, 0.5, 0.25))),
        ({"region": [0, 0, 1, 1]}, Sight(region=(0, 0, 1, 1))),
        ({"options": {"image_size": [672, 672], "num_visual_tokens": 576, "seed": 1}}, Sight(image_size=(672, 672), num_visual_tokens=576)),
        ({"options": {"image_size": [672, 672]}, "image_size": [672, 672]}, Sight(image_size=(672, 672))),
        ({"options": {"num_visual_tokens": None}, "detail": "low"}, Sight(detail="low")),
        ({"image_size": "672x1008"}, Sight(image_size=(672, 1008))),
        ({"options": {"image_size": "672x672"}, "image_size": [672, 672]}, Sight(image_size=(672, 672))),
    ],
)
def test_wishes_become_a_sight(fields: dict[str, Any], sight: Sight) -> None:
    assert sights(**fields) == [sight]


def test_what_is_wished_for_an_image_wins_over_what_is_wished_for_all() -> None:
    images = [IMAGE, {"data": IMAGE, "detail": "low"}, {**REF, "region": [0, 0, 0.5, 0.5], "max_image_tokens": 576}, REF]
    assert sights(images=images, detail="high", max_image_tokens=2880) == [
        Sight(detail="high", max_image_tokens=2880),
        Sight(detail="low", max_image_tokens=2880),
        Sight(detail="high", max_image_tokens=576, region=(0, 0, 0.5, 0.5)),
        Sight(detail="high", max_image_tokens=2880),
    ]


def test_a_region_that_was_rounded_to_a_hair_beyond_the_edge_ends_at_the_edge() -> None:
    (sight,) = sights(region=[0.7, 0.1, 0.3 + 1e-9, 0.9])
    assert sight.region is not None
    x, y, width, height = sight.region
    assert x + width <= 1
    assert y + height <= 1


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        ([0.6, 0, 0.5, 0.5], "region_beyond"),
        ([0, 0.6, 0.5, 0.5], "region_beyond"),
        ([0, 0, 0, 1], "region_too_small"),
        ([0.1, 0.1, 0.5, 0.009], "region_too_small"),
    ],
)
def test_a_region_outside_the_image_or_of_nothing_is_refused(region: list[float], reason: str) -> None:
    with pytest.raises(InvalidRegion) as refused:
        sights(region=region)
    assert (refused.value.param, refused.value.reason) == ("region", reason)
    with pytest.raises(InvalidRegion) as refused:
        sights(images=[IMAGE, {**REF, "region": region}])
    assert (refused.value.param, refused.value.reason) == ("images[1].region", reason)


@pytest.mark.parametrize(("images", "reason"), [([IMAGE, REF], "region_of_several"), ([], "region_without_image")])
def test_a_region_of_no_image_or_of_several_is_refused_with_the_way_to_say_it(images: list[Any], reason: str) -> None:
    with pytest.raises(InvalidRegion) as refused:
        sights(images=images, region=[0, 0, 0.5, 0.5])
    assert (refused.value.reason, refused.value.status) == (reason, 400)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"detail": "ultra"}, "detail"),
        ({"image_size": [672]}, "image_size"),
        ({"image_size": "large"}, "image_size"),
        ({"image_size": [672, 31]}, "image_size"),
        ({"image_size": [672.5, 672]}, "image_size"),
        ({"num_visual_tokens": 0}, "num_visual_tokens"),
        ({"num_visual_tokens": True}, "num_visual_tokens"),
        ({"max_image_tokens": "576"}, "max_image_tokens"),
        ({"options": {"image_size": 672}}, "options.image_size"),
        ({"options": {"num_visual_tokens": "576"}}, "options.num_visual_tokens"),
        ({"images": [IMAGE, {"data": IMAGE, "detail": "ultra"}]}, "images[1].detail"),
        ({"images": [{"image_id": "../x"}]}, "images[0].image_id"),
        ({"images": [{**REF, "data": IMAGE}]}, "images[0]"),
        ({"images": [{"data": "ab*d"}]}, "images[0]"),
        ({"images": [{}]}, "images[0]"),
        ({"images": [5]}, "images[0]"),
        ({"keep_alive": 1.5}, "keep_alive"),
        ({"format": "xml"}, "format"),
        ({"format": 5}, "format"),
        ({"policy": "drop"}, "policy"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Exception, match=r".") as refused:
        sights(**fields)
    assert getattr(refused.value, "param", None) == param, refused.value


def test_two_places_that_differ_are_refused() -> None:
    with pytest.raises(ConflictingFields) as refused:
        sights(num_visual_tokens=576, options={"num_visual_tokens": 2880})
    assert (refused.value.status, refused.value.param) == (400, "options.num_visual_tokens")


def test_an_unknown_field_of_an_image_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        sights(images=[{**REF, "path": "/etc/passwd"}])
    assert (refused.value.code, refused.value.param) == ("unknown_field", "images[0].path")


@pytest.mark.parametrize("size", ["672,1008", "672x1008", "672×1008", "[672, 1008]", " 672 , 1008 "])
async def test_a_form_says_the_same(serve: Serve, size: str) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    data = {
        "prompt": "Hi",
        "detail": "high",
        "image_size": size,
        "num_visual_tokens": "1728",
        "region": "0.5,0, 0.5,0.25",
        "policy": "strict",
    }
    response = await served.client.post("/ask", files={"image": base64.b64decode(IMAGE)}, data=data)
    assert response.status_code == 200, response.text
    (part,) = engine.requests[-1].renditions
    assert part.sight == Sight("high", (672, 1008), 1728, None, (0.5, 0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({"image_size": "672"}, "image_size"),
        ({"image_size": "wide,672"}, "image_size"),
        ({"image_size": "[672,"}, "image_size"),
        ({"num_visual_tokens": "many"}, "num_visual_tokens"),
        ({"detail": "ultra"}, "detail"),
        ({"options": json.dumps({"image_size": [1, 1]})}, "options.image_size"),
        ({"images": "photo.jpg"}, "images"),
        ({"image_id": "abc"}, "image_id"),
        ({"session_id": "nope"}, "session_id"),
    ],
)
async def test_what_is_wrong_in_a_form_is_named(serve: Serve, data: dict[str, str], param: str) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/ask", files={"image": base64.b64decode(IMAGE)}, data={"prompt": "Hi", **data})
    assert (response.status_code, response.json()["error"]["param"]) == (404 if param == "session_id" else 422, param)


@pytest.mark.parametrize("region", ["500,0,500,500", "50%,0,50%,50%", "0,0,1", "-0.1,0,1,1", "0,0,nan,1", "0,0,1e999,1", "[0,0", "left"])
async def test_a_region_in_pixels_or_percent_is_told_that_it_goes_by_fractions(serve: Serve, region: str) -> None:
    served = await serve(ScriptedEngine())
    image = base64.b64decode(IMAGE)
    response = await served.client.post("/ask", files={"image": image}, data={"prompt": "Hi", "region": region})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_region", "region")
    assert error["reason"] == "region_wrong"
    stored = (await served.client.post("/images", files={"image": image})).json()["id"]
    assert (await served.client.get(f"/images/{stored}/view", params={"region": region})).json()["error"]["code"] == "invalid_region"


@pytest.mark.parametrize("region", [[0, 0, 1], [-0.1, 0, 1, 1], [0, 0, 1, float("nan")], [500, 0, 500, 500], "left", 5])
def test_so_it_is_in_json(region: Any) -> None:
    with pytest.raises(InvalidRegion) as refused:
        sights(images=[{"data": IMAGE, "region": region}])
    assert (refused.value.reason, refused.value.param) == ("region_wrong", "images[0].region")


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"image_size": "large"}, "invalid_request", "size_wrong"),
        ({"images": [{"image_id": "abc"}]}, "invalid_request", "image_id_wrong"),
        ({"images": [{}]}, "invalid_request", "image_neither"),
        ({"images": [{"url": "http://127.0.0.1/x.png"}]}, "invalid_request", "image_neither"),
        ({"images": ["https://example.org/photo.jpg"]}, "invalid_base64_image", "image_is_link"),
        ({"images": ["/home/me/photo"]}, "invalid_base64_image", "image_is_link"),
        ({"images": ["photos/1.jpeg"]}, "invalid_base64_image", "invalid_base64_image"),
        ({"images": ["C:\\\\photo.jpg"]}, "invalid_base64_image", "image_is_link"),
        ({"options": {"detail": "high"}}, "invalid_option", "no_option"),
        ({"options": {"region": [0, 0, 1, 1]}}, "invalid_option", "no_option"),
        ({"options": {"max_image_tokens": 5}}, "invalid_option", "no_option"),
        ({"keep_alive": 1.5}, "invalid_option", "keep_alive_wrong"),
        ({"format": "xml"}, "invalid_format", "format_wrong"),
    ],
)
def test_what_is_wrong_has_a_reason_of_its_own(fields: dict[str, Any], code: str, reason: str) -> None:
    with pytest.raises(GatewayError) as refused:
        sights(**fields)
    assert (refused.value.code, refused.value.reason) == (code, reason)


def test_the_base64_of_a_jpeg_is_no_path() -> None:
    text = base64.b64encode(sample_images.encoded(sample_images.shape("circle", "red"), "JPEG")).decode()[:ADDRESS_MAX_CHARS]
    assert text.startswith("/9j/")
    assert sights(images=[text]) == [Sight()]


@pytest.mark.parametrize(
    ("data", "code", "param", "reason"),
    [
        ({"format": "xml"}, "invalid_format", "format", "json_syntax"),
        ({"format": '{"type": "object"'}, "invalid_format", "format", "json_syntax"),
        ({"format": "[]"}, "invalid_format", "format", "json_not_object"),
        ({"options": "notjson"}, "invalid_option", "options", "json_syntax"),
        ({"options": "5"}, "invalid_option", "options", "json_not_object"),
    ],
)
async def test_json_in_a_form_field_is_named_by_its_field(serve: Serve, data: dict[str, str], code: str, param: str, reason: str) -> None:
    served = await serve(ScriptedEngine())
    error = (await served.client.post("/ask", files={"prompt": (None, "Hi")}, data=data)).json()["error"]
    assert (error["code"], error["param"], error["values"]["what"]) == (code, param, param)
    assert error["values"].get("why", error["reason"]) == reason


async def test_an_empty_field_of_a_form_says_nothing(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    data = dict.fromkeys(FIELDS - {"prompt"}, "") | {"image_id": "", "prompt": "Hi"}
    response = await served.client.post("/ask", files={"image": base64.b64decode(IMAGE)}, data=data)
    assert response.status_code == 200, response.text
    (part,) = engine.requests[-1].renditions
    assert (part.sight, engine.requests[-1].options.given(), engine.requests[-1].format) == (Sight(detail="auto"), {}, None)
    error = (await served.client.post("/ask", files={"no_such": (None, "")})).json()["error"]
    assert error["code"] == "unknown_field"


async def test_text_that_another_program_read_stands_before_the_question_and_is_not_shown_as_asked(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session_id = await served.session()
    body = {"prompt": "What is the total?", "images": [IMAGE], "ocr_text": "  TOTAL 12.50\n"}
    assert (await served.client.post(f"/sessions/{session_id}/turns", json=body)).status_code == 200
    _, hint, question = engine.requests[-1].messages[-1].parts
    assert hint == TextPart("Text that another program read in the picture (it may contain mistakes):\nTOTAL 12.50", note=True)
    assert question == TextPart("What is the total?")
    session = (await served.client.get(f"/sessions/{session_id}")).json()
    assert (session["title"], session["turns"][0]["prompt"]) == ("What is the total?", "What is the total?")


def test_the_hint_is_in_the_language_of_the_question() -> None:
    def hint(**body: Any) -> str:
        request = chat_request(parse_body(AskBody, {"images": [IMAGE], "ocr_text": "合计 12.50", **body}), Settings())
        (note,) = (part.text for part in request.question.parts if isinstance(part, TextPart) and part.note)
        return note.partition("\n")[0]

    assert hint(prompt="一共多少钱？") == "另一个程序从图片中读出的文字（可能有错）："
    assert hint(prompt="What is the total?", images=[IMAGE, REF]).startswith("Text that another program read in the pictures (")
    assert hint().startswith("Text that another program read in the picture (")


def test_empty_text_is_no_hint_and_too_much_is_refused() -> None:
    request = chat_request(parse_body(AskBody, {"prompt": "Hi", "ocr_text": " \n"}), Settings())
    assert request.question.parts == (TextPart("Hi"),)
    with pytest.raises(InvalidRequest) as refused:
        chat_request(parse_body(AskBody, {"prompt": "Hi", "ocr_text": "x" * 101}), Settings(prompt_max_chars=100))
    assert refused.value.param == "ocr_text"
    with pytest.raises(InvalidRequest) as refused:
        chat_request(parse_body(AskBody, {"ocr_text": "TOTAL"}), Settings())
    assert refused.value.reason == "nothing_asked"


def test_what_a_question_without_images_wishes_for_them_is_not_passed_over_in_silence(demo: httpx2.Client) -> None:
    session = demo.post("/sessions", json={"detail": "low"}).json()["id"]
    turns = f"/sessions/{session}/turns"
    assert demo.post(turns, json={"prompt": "Describe this image.", "images": [IMAGE]}).json()["warnings"] == []
    said = note_json(note("sight_ignored", fields=("detail",)))
    assert demo.post(turns, json={"prompt": "Hello", "detail": "high"}).json()["warnings"] == [said]
    assert demo.post(turns, files={"prompt": (None, "Hello"), "detail": (None, "high")}).json()["warnings"] == [said]
    assert demo.post(turns, json={"prompt": "Hello"}).json()["warnings"] == [], "the session's own is for images to come"
    pages = note_json(note("sight_ignored", fields=("pages", "background")))
    assert demo.post("/ask", json={"prompt": "Hello", "pages": "2", "background": "#ffffff"}).json()["warnings"] == [pages]


def test_a_form_with_too_many_images_is_told_their_number(demo: httpx2.Client) -> None:
    image = base64.b64decode(IMAGE)
    for number in (9, 10, 30):
        response = demo.post("/ask", files=[("image", ("a.png", image)) for _ in range(number)])
        assert (response.status_code, response.json()["error"]["code"]) == (422, "too_many_images")
        assert response.json()["error"]["values"] == {"count": number, "most": 8}


def test_a_form_with_more_files_than_are_read_is_told_the_limit(demo: httpx2.Client) -> None:
    response = demo.post("/ask", files=[("image", (f"{number}.png", b"x")) for number in range(80)])
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["values"]) == (422, "too_many_images", {"count": 66, "most": 8})
    stored = demo.post("/images", files=[("image", ("a.png", b"x")) for _ in range(3)])
    assert (stored.status_code, stored.json()["error"]["reason"]) == (422, "form_of_two_images")
