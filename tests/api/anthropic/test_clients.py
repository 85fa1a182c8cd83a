"""The official client on the embedded engine and on real Ollama, with the demo model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, BadRequestError, NotFoundError
from anthropic.types import Message
from pydantic import BaseModel, TypeAdapter

from llava_gateway.settings import Settings
from tests.api.anthropic.conftest import base64_of, image, text, user
from tests.pdfs import pdf
from tests.serving import served_in_thread
from tests.synthetic_llava import ENDLESS, write_pair

pytestmark = pytest.mark.real
RED = "A red circle on a white background."
BLUE = "A blue square on a white background."
DESCRIBE = text("Describe this image.")
ASK: dict[str, Any] = {"model": "demo", "max_tokens": 40}


@pytest.fixture(scope="module", params=["embedded", "ollama"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        yield request.getfixturevalue("demo_url")
        return
    ollama = request.getfixturevalue("real_ollama")
    with served_in_thread(Settings(port=0, engine="ollama", ollama_host=ollama.url)) as served:
        yield served


@pytest.fixture
def client(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


def said(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_question_about_an_image(client: Anthropic, red_circle: bytes) -> None:
    message = client.messages.create(**ASK, messages=[user(image(red_circle), DESCRIBE)])
    TypeAdapter(Message).validate_json(message.to_json())
    assert (said(message), message.stop_reason) == (RED, "end_turn")
    assert message.usage.output_tokens > 0


def test_a_stream_begins_with_the_tokens_of_the_prompt(client: Anthropic, blue_square: bytes) -> None:
    asked = [user(image(blue_square), DESCRIBE)]
    with client.messages.stream(**ASK, messages=asked) as stream:
        started = next(iter(stream))
        final = stream.get_final_message()
    assert started.type == "message_start"
    first, last = started.message.usage, final.usage
    assert first.input_tokens + (first.cache_read_input_tokens or 0) == last.input_tokens + (last.cache_read_input_tokens or 0)
    assert said(final) == BLUE


def test_tokens_are_counted_as_the_engine_counts_them(client: Anthropic, red_circle: bytes) -> None:
    asked: list[Any] = [user(text("Look: "), image(red_circle), DESCRIBE)]
    counted = client.messages.count_tokens(model="demo", system="Be brief.", messages=asked)
    usage = client.messages.create(**ASK, system="Be brief.", messages=asked).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_several_turns_are_read_from_the_cache(client: Anthropic, red_circle: bytes) -> None:
    asked: list[Any] = [user(image(red_circle), DESCRIBE)]
    first = client.messages.create(**ASK, messages=asked)
    asked += [{"role": "assistant", "content": first.content}, user(text("What color is the circle?"))]
    second = client.messages.create(**ASK, messages=asked)
    assert "red" in said(second)
    assert (second.usage.cache_read_input_tokens or 0) > 64
    assert second.usage.input_tokens < 30


def test_several_images_in_order(client: Anthropic, red_circle: bytes, blue_square: bytes) -> None:
    turns: list[Any] = []
    for picture, answer in ((red_circle, RED), (blue_square, BLUE), (red_circle, RED)):
        turns.append(user(image(picture), DESCRIBE))
        message = client.messages.create(**ASK, messages=turns)
        assert said(message) == answer
        turns.append({"role": "assistant", "content": said(message)})


def test_a_stop_sequence_is_named(client: Anthropic, red_circle: bytes) -> None:
    message = client.messages.create(**ASK, messages=[user(image(red_circle), DESCRIBE)], stop_sequences=["moon", "circle"])
    assert (said(message), message.stop_reason, message.stop_sequence) == ("A red ", "stop_sequence", "circle")


def test_an_answer_is_cut_at_max_tokens(client: Anthropic, red_circle: bytes) -> None:
    message = client.messages.create(model="demo", max_tokens=2, messages=[user(image(red_circle), DESCRIBE)])
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


def test_an_answer_goes_on_where_the_client_began_it(client: Anthropic, red_circle: bytes) -> None:
    begun: list[Any] = [user(image(red_circle), DESCRIBE), {"role": "assistant", "content": "A red"}]
    assert said(client.messages.create(**ASK, messages=begun)) == " circle on a white background."


def test_a_schema(client: Anthropic, red_circle: bytes) -> None:
    class Shape(BaseModel):
        colour: str

    message = client.messages.parse(**ASK, messages=[user(image(red_circle), DESCRIBE)], output_format=Shape)
    assert isinstance(message.parsed_output, Shape)


def test_a_forced_tool(client: Anthropic, red_circle: bytes) -> None:
    colour = {"type": "string", "enum": ["red", "blue"]}
    schema = {"type": "object", "properties": {"colour": colour}, "required": ["colour"], "additionalProperties": False}
    tool: Any = {"name": "note", "input_schema": schema}
    asked = [user(image(red_circle), DESCRIBE)]
    message = client.messages.create(**ASK, messages=asked, tools=[tool], tool_choice={"type": "tool", "name": "note"})
    (block,) = message.content
    assert block.type == "tool_use"
    assert block.input["colour"] in ("red", "blue")
    with pytest.raises(BadRequestError):
        client.messages.create(**ASK, messages=asked, tools=[tool])


def test_the_pages_of_a_pdf_are_images(client: Anthropic) -> None:
    file = pdf("Hello")
    block = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": base64_of(file)}}
    message = client.messages.create(**ASK, messages=[user(block, DESCRIBE)])
    own: Any = message.to_dict()["llava_gateway"]
    assert len(own["images"]) == 1


def test_errors(client: Anthropic) -> None:
    with pytest.raises(NotFoundError):
        client.messages.create(model="nope", max_tokens=9, messages=[user(DESCRIBE)])
    with pytest.raises(BadRequestError) as bad:
        client.messages.create(**ASK, messages=[user(image(b"no image"), DESCRIBE)])
    with pytest.raises(BadRequestError) as long:
        client.messages.create(**ASK, messages=[user(text("word " * 6000))])
    assert isinstance(bad.value.body, dict)
    assert isinstance(long.value.body, dict)
    assert bad.value.body["error"]["param"] == "messages.0.content.0"
    assert long.value.body["error"]["code"] == "context_length_exceeded"


@pytest.fixture(scope="module")
def endless_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pair = write_pair(tmp_path_factory.mktemp("endless"))
    with served_in_thread(Settings(port=0, engine="embedded", gguf=pair.gguf, mmproj=pair.mmproj)) as url:
        yield url


async def test_a_stream_that_is_left_frees_the_engine(endless_url: str) -> None:
    model = httpx2.get(f"{endless_url}/models", trust_env=False).json()["models"][0]["name"]
    asked: Any = {"model": model, "messages": [user(DESCRIBE)], "extra_body": ENDLESS}
    async with AsyncAnthropic(base_url=endless_url, api_key="unused", max_retries=0) as client:
        async with client.messages.stream(**asked, max_tokens=100_000) as stream:
            assert await anext(aiter(stream.text_stream))
        message = await client.messages.create(**asked, max_tokens=3)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)
