"""Requests to OpenAI-compatible servers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import EngineRequest, Message, Rendition, Think
from llava_gateway.engines.counting import STAND_IN, without_pixels
from llava_gateway.engines.openai_prompt import BY_OWNER, LLAMA_CPP, PLAIN, VLLM, Dialect, chat_body, with_one_beginning
from llava_gateway.parts import ImagePart, ReasoningPart, TextPart
from tests.sample_images import ask, image_id, rendition, shape

RED_CIRCLE = shape("circle", "red")


def body_of(request: EngineRequest, dialect: Dialect = PLAIN) -> Any:
    return json.loads(chat_body(request, dialect))


def test_the_number_of_a_strip_stands_before_its_pieces() -> None:
    image = ImagePart("a")
    pieces = (STAND_IN, replace(STAND_IN, label="1/2:"), replace(STAND_IN, label="2/2:"))
    request = EngineRequest("m", (Message("user", (image, TextPart("Read it."))),), renditions={image: Rendition(pieces)})
    for sent in (request, without_pixels(request)):
        (message,) = body_of(sent)["messages"]
        assert [part.get("text", "image") for part in message["content"]] == ["image", "1/2:", "image", "2/2:", "image", "Read it."]


def test_no_limit_and_no_seed_are_left_unsaid() -> None:
    body = body_of(ask("Hello", num_predict=-1, seed=-1), LLAMA_CPP)
    assert "max_tokens" not in body
    assert "seed" not in body


def test_images_stand_where_the_person_put_them() -> None:
    image = rendition(RED_CIRCLE)
    request = ask('See "it" \u2603', RED_CIRCLE)
    part, text = request.messages[0].parts
    turned = EngineRequest(
        "m", (Message("system", (TextPart("Be brief."),)), Message("user", (text, part, text))), renditions=request.renditions
    )
    words = {"type": "text", "text": 'See "it" \u2603'}
    assert body_of(turned)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [words, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image.pieces[0].base64}"}}, words],
        },
    ]
    assert image_id(image) not in json.dumps(body_of(turned))


def test_formats_are_said_as_openai_says_them() -> None:
    assert body_of(ask("Hello", format="json"))["response_format"] == {"type": "json_object"}
    schema = {"type": "object"}
    assert body_of(ask("Hello", format=schema))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema},
    }


BLUE = ImagePart("blue")
RED = ImagePart("red")


@pytest.mark.parametrize(
    "parts",
    [(RED, BLUE), (RED, TextPart(""), BLUE), (RED, ReasoningPart("Hm."), BLUE)],
    ids=["side by side", "no words between", "what is not said between"],
)
def test_a_line_break_parts_images_side_by_side(parts: tuple[ImagePart | TextPart | ReasoningPart, ...]) -> None:
    """Prompts that differ between two adjacent images break the prompt cache of llama.cpp."""
    image = rendition(RED_CIRCLE)
    request = EngineRequest("m", (Message("user", parts),), renditions={RED: image, BLUE: image})
    kinds = [part.get("text", "image") for part in body_of(request)["messages"][0]["content"]]
    assert kinds == ["image", "\n", "image"]


def test_the_pieces_of_one_image_stay_side_by_side() -> None:
    image = rendition(RED_CIRCLE)
    request = EngineRequest("m", (Message("user", (RED,)),), renditions={RED: replace(image, pieces=image.pieces * 2)})
    assert [part["type"] for part in body_of(request)["messages"][0]["content"]] == ["image_url"] * 2


@pytest.mark.parametrize(
    ("think", "dialect", "written"),
    [
        (True, LLAMA_CPP, {"chat_template_kwargs": {"enable_thinking": True}}),
        (False, VLLM, {"chat_template_kwargs": {"enable_thinking": False}}),
        (False, PLAIN, {}),
        (True, BY_OWNER["organization_owner"], {}),
        ("high", PLAIN, {"reasoning_effort": "high"}),
        ("low", LLAMA_CPP, {"reasoning_effort": "low"}),
        (None, LLAMA_CPP, {}),
    ],
)
def test_how_hard_to_think_is_said_to_those_who_know_it(think: Think | None, dialect: Dialect, written: dict[str, Any]) -> None:
    body = body_of(replace(ask("Hello"), think=think), dialect)
    assert {name: body[name] for name in ("chat_template_kwargs", "reasoning_effort") if name in body} == written


@pytest.mark.parametrize(("wanted", "asked"), [(None, None), (0, 1), (1, 1), (5, 5)])
def test_one_alternative_is_asked_for_at_least(wanted: int | None, asked: int | None) -> None:
    """llama-server takes 0 as "no probabilities"."""
    body = body_of(replace(ask("Hello"), logprobs=wanted))
    assert (body.get("logprobs"), body.get("top_logprobs")) == (None if wanted is None else True, asked)


def test_llama_server_is_to_tell_which_stop_text_ended_an_answer() -> None:
    assert {"verbose", "response_fields"} <= set(body_of(ask("Hello", stop=("END",)), LLAMA_CPP))
    for body in (body_of(ask("Hello"), LLAMA_CPP), body_of(ask("Hello", stop=("END",)), VLLM)):
        assert not {"verbose", "response_fields"} & set(body)


@pytest.mark.parametrize(
    ("owner", "fields"),
    [
        ("vllm", {"add_generation_prompt": False, "continue_final_message": True}),
        ("sglang", {"continue_final_message": True}),
        ("llamacpp", {}),
    ],
)
def test_the_beginning_of_an_answer_is_continued(owner: str, fields: dict[str, bool]) -> None:
    asked = ask("What is it?")
    begun = replace(asked, messages=(*asked.messages, Message("assistant", (TextPart("It is"),))))
    names = ("add_generation_prompt", "continue_final_message")
    for request, written in ((asked, {}), (begun, fields)):
        body = body_of(request, BY_OWNER[owner])
        assert {name: body[name] for name in names if name in body} == written


def test_several_beginnings_become_one() -> None:
    """llama-server answers "Cannot have 2 or more assistant messages at the end of the list." to two of them."""
    first, second = Message("assistant", (ReasoningPart("Hm."), TextPart("It is"))), Message("assistant", (TextPart("round"),))
    asked = ask("What is it?")
    begun = with_one_beginning(replace(asked, messages=(second, *asked.messages, first, second)))
    assert begun.messages == (second, *asked.messages, Message("assistant", (ReasoningPart("Hm."), TextPart("It is\n\nround"))))
    assert begun.prefill == "It is\n\nround"
    assert begun.prefilled_thought == "Hm."
    assert with_one_beginning(asked) is asked
