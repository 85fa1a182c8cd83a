"""The body of /api/chat, as Ollama reads it. test_ollama.py asks a real Ollama where it puts the images."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import EngineRequest, Message, Rendition
from llava_gateway.engines.counting import STAND_IN
from llava_gateway.engines.ollama_prompt import chat_body, places_images, unloads_at_once, wants_placement
from llava_gateway.parts import ImagePart, TextPart
from tests.sample_images import ask, rendition, shape

RED_CIRCLE = shape("circle", "red")


def describe(**options: Any) -> EngineRequest:
    return ask("Describe this image.", RED_CIRCLE, temperature=0.0, **options)


def test_only_what_is_given_is_sent() -> None:
    body = json.loads(chat_body(describe(num_ctx=3000, stop=("END",), seed=7), placed=False))
    assert body["options"] == {"temperature": 0.0, "num_ctx": 3000, "stop": ["END"], "seed": 7}
    assert (body["model"], body["stream"], body["truncate"]) == ("demo", True, False)
    assert set(body) == {"model", "stream", "truncate", "options", "messages"}
    assert body["messages"] == [{"role": "user", "content": "Describe this image.", "images": [rendition(RED_CIRCLE).pieces[0].base64]}]


@pytest.mark.parametrize(("given", "sent"), [("5m", "5m"), (-1, -1), ("-1", -1), ("300", 300), (0, 0)])
def test_keep_alive_is_a_number_where_ollama_wants_one(given: str | int, sent: str | int) -> None:
    assert json.loads(chat_body(replace(describe(), keep_alive=given), placed=False))["keep_alive"] == sent


@pytest.mark.parametrize(
    ("given", "unloads"),
    [
        (0, True),
        ("0", True),
        ("0s", True),
        ("0h0m", True),
        ("0.0s", True),
        (None, False),
        (-1, False),
        (10, False),
        ("10m", False),
        ("0.5s", False),
    ],
)
def test_no_time_at_all_is_recognised_however_it_is_spelt(given: str | int | None, unloads: bool) -> None:
    assert unloads_at_once(given) == unloads


def test_text_of_any_kind_is_valid_json() -> None:
    text = 'quote " backslash \\ 圆 😀 \u2028 \ud83d'
    assert json.loads(chat_body(ask(text), placed=False))["messages"][0]["content"] == text


@pytest.mark.parametrize("text", ["[image]", "an [imgs] array", "[img", "img-0]", "[IMG-0]", "[ img-0]"])
def test_other_brackets_are_left_alone(text: str) -> None:
    assert json.loads(chat_body(ask(text), placed=True))["messages"][0]["content"] == text


@pytest.mark.parametrize(
    ("parts", "wants"),
    [
        ((ImagePart("a"), TextPart("x")), False),
        ((TextPart("x"), TextPart("y")), False),
        ((ImagePart("a"),), False),
        ((), False),
        ((TextPart("x"), ImagePart("a")), True),
        ((ImagePart("a"), ImagePart("b"), TextPart("x")), True),
        ((ImagePart("a"), TextPart("x"), ImagePart("b")), True),
    ],
)
def test_places_are_marked_only_where_ollamas_own_order_is_not_the_persons(parts: tuple[TextPart | ImagePart, ...], wants: bool) -> None:
    earlier = Message("user", parts)
    sent = {part: Rendition((STAND_IN,)) for part in earlier.images}
    assert wants_placement(EngineRequest("m", (earlier, Message("user", (TextPart("x"),))), renditions=sent)) is wants


def test_the_number_of_a_strip_stands_before_its_pieces() -> None:
    image = ImagePart("a")
    pieces = (STAND_IN, replace(STAND_IN, label="1/2:"), STAND_IN, replace(STAND_IN, label="2/2:"))
    request = EngineRequest("m", (Message("user", (image, TextPart("Read it."))),), renditions={image: Rendition(pieces)})
    assert wants_placement(request)
    (message,) = json.loads(chat_body(request, placed=True))["messages"]
    assert message["content"] == "[img]\n1/2:\n[img][img]\n2/2:\n[img]\nRead it."
    assert len(message["images"]) == 4


@pytest.mark.parametrize(
    ("template", "places"),
    [
        ("{{ .System }} USER: {{ .Prompt }} ASSISTANT:", True),
        ("{{- range .Messages }}{{ .Content }}{{ end }}", True),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("", False),
    ],
)
def test_a_go_template_heeds_markers(template: str, places: bool) -> None:
    assert places_images(template) is places
