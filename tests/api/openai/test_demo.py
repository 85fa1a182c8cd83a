"""OpenAI's own client asks the demo model on the embedded engine, which was trained on questions behind their images."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import TypeAdapter

from tests.api.openai.spoken import BLUE, RED, data_url, image, text, user

CIRCLE = "A red circle on a white background."
SQUARE = "A blue square on a white background."


def ask(client: OpenAI, *messages: Any, **rest: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(model="demo", messages=list(messages), **rest)
    return answer


def said(answer: ChatCompletion) -> str | None:
    return answer.choices[0].message.content


def test_an_image_question_is_answered(demo_client: OpenAI) -> None:
    answer = ask(demo_client, user(image(RED), text("Describe this image.")))
    assert said(answer) == CIRCLE
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.image_tokens == 64


def test_an_answer_is_streamed(demo_client: OpenAI) -> None:
    messages: Any = [user(image(BLUE), text("Describe this image."))]
    stream = demo_client.chat.completions.create(model="demo", messages=messages, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SQUARE
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage


def test_several_turns_find_the_engines_cache(demo_client: OpenAI) -> None:
    first: Any = user(image(RED), text("Describe this image."))
    answer = ask(demo_client, first)
    again = ask(demo_client, first, {"role": "assistant", "content": said(answer)}, user("What color is the background?"))
    assert again.usage
    assert again.usage.prompt_tokens_details
    assert answer.usage
    cached = again.usage.prompt_tokens_details.cached_tokens
    assert cached is not None
    assert cached >= answer.usage.prompt_tokens - 8


def test_images_are_seen_in_their_order(demo_client: OpenAI) -> None:
    answer = ask(demo_client, user(image(RED), image(BLUE), text("Describe the second image.")))
    assert said(answer) == SQUARE


def test_an_answer_ends_at_a_stop_text_or_at_its_length(demo_client: OpenAI) -> None:
    question: Any = user(image(RED), text("Describe this image."))
    stopped = ask(demo_client, question, stop=["circle"])
    assert (said(stopped), stopped.choices[0].finish_reason) == ("A red ", "stop")
    cut = ask(demo_client, question, max_completion_tokens=2)
    assert cut.choices[0].finish_reason == "length"


def test_a_forced_tool_is_called(demo_client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"red": {"type": "boolean"}}, "required": ["red"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    answer = ask(demo_client, user(image(RED), text("Describe this image.")), tools=[tool], tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert set(json.loads(call.function.arguments)) == {"red"}
    assert answer.choices[0].finish_reason == "tool_calls"
    with pytest.raises(BadRequestError) as caught:
        ask(demo_client, user("Hello"), tools=[tool])
    assert caught.value.code == "model_lacks_tools"


def test_probabilities_come_with_their_tokens(demo_client: OpenAI) -> None:
    answer = ask(demo_client, user(image(RED), text("Describe this image.")), logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    assert all(len(token.top_logprobs) == 2 for token in logprobs.content)


def test_too_long_a_conversation_is_refused(demo_client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(demo_client, user("word " * 20_000))
    assert caught.value.code == "context_length_exceeded"


def test_a_response_is_continued_with_its_image(demo_client: OpenAI) -> None:
    content = [
        {"type": "input_image", "image_url": data_url(RED), "detail": "auto"},
        {"type": "input_text", "text": "Describe this image."},
    ]
    items: Any = [{"role": "user", "content": content}]
    first = demo_client.responses.create(model="demo", input=items)
    TypeAdapter(Response).validate_python(first.model_dump())
    assert first.output_text == CIRCLE
    with demo_client.responses.stream(model="demo", input="Describe this image.", previous_response_id=first.id) as stream:
        final = stream.get_final_response()
    assert final.output_text == CIRCLE
    assert final.usage
    assert final.usage.input_tokens_details.cached_tokens > 60
    count = demo_client.responses.input_tokens.count(model="demo", input=items)
    assert first.usage
    assert count.input_tokens == first.usage.input_tokens
