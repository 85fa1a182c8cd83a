"""Test the field `background` in every kind of request that uploads images."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest
from PIL import Image, ImageDraw

from tests.odd_images import saved


def logo() -> bytes:
    image = Image.new("RGBA", (96, 64), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 10, 70, 60), fill="white")
    return saved(image, "PNG")


def changes(answered: Any) -> list[str]:
    return [change["message"] for change in answered["changes"]]


def test_a_form_a_json_body_and_a_stored_image_have_the_same_ground(demo: httpx2.Client) -> None:
    data, wish = logo(), "#33669A"
    form = demo.post("/ask", files={"image": ("a.png", data)}, data={"prompt": "What?", "background": wish}).json()["images"][0]
    text = base64.b64encode(data).decode()
    body = demo.post("/ask", json={"prompt": "What?", "images": [text], "background": wish}).json()["images"][0]
    own = {"prompt": "What?", "images": [{"data": text, "background": wish}, text], "background": "#000000"}
    first, second = demo.post("/ask", json=own).json()["images"]
    stored = demo.post("/images", files={"image": ("a.png", data)}, data={"background": wish}).json()
    assert form["id"] == body["id"] == first["id"] == stored["id"] != second["id"]
    assert all("Filled transparent parts with #33669a." in changes(each) for each in (form, body, first, stored))


def test_auto_is_what_comes_without_the_field(demo: httpx2.Client) -> None:
    ids = {
        demo.post("/images", files={"image": ("a.png", logo())}, data=given).json()["id"]
        for given in ({}, {"background": "auto"}, {"background": ""})
    }
    assert len(ids) == 1


@pytest.mark.parametrize("wrong", ["white", "#fff", "#12345g", "336699"])
def test_any_other_text_is_an_error(demo: httpx2.Client, wrong: str) -> None:
    for answer in (
        demo.post("/ask", files={"image": ("a.png", logo())}, data={"prompt": "What?", "background": wrong}),
        demo.post("/ask", json={"prompt": "What?", "images": [], "background": wrong}),
        demo.post("/images", files={"image": ("a.png", logo())}, data={"background": wrong}),
    ):
        assert answer.status_code == 422
        assert answer.json()["error"]["message"] == "background must be auto or a colour such as #336699."
