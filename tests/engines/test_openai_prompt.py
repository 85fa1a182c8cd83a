"""What is written to servers that speak OpenAI's API."""

from __future__ import annotations

import json
from typing import Any

from llava_gateway.chat import EngineRequest, Message, TextPart
from llava_gateway.engines.openai_prompt import LLAMA_CPP, PLAIN, Dialect, chat_body
from tests.sample_images import ask, image_id, rendition, shape

RED_CIRCLE = shape("circle", "red")


def body_of(request: EngineRequest, dialect: Dialect = PLAIN) -> Any:
    return json.loads(chat_body(request, dialect))


def test_no_limit_and_no_seed_are_left_unsaid() -> None:
    body = body_of(ask("Hello", num_predict=-1, seed=-1), LLAMA_CPP)
    assert "max_tokens" not in body
    assert "seed" not in body


def test_pictures_stand_where_the_person_put_them() -> None:
    picture = rendition(RED_CIRCLE)
    request = ask('See "it" \u2603', RED_CIRCLE)
    image, text = request.messages[0].parts
    turned = EngineRequest(
        "m", (Message("system", (TextPart("Be brief."),)), Message("user", (text, image, text))), renditions=request.renditions
    )
    words = {"type": "text", "text": 'See "it" \u2603'}
    assert body_of(turned)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [words, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture.pieces[0].base64}"}}, words],
        },
    ]
    assert image_id(picture) not in json.dumps(body_of(turned))


def test_formats_are_said_as_openai_says_them() -> None:
    assert body_of(ask("Hello", format="json"))["response_format"] == {"type": "json_object"}
    schema = {"type": "object"}
    assert body_of(ask("Hello", format=schema))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema},
    }
