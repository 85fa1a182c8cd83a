"""The `ollama` package for Python against the gateway, with the address as the only change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path

import ollama
import pytest
from pillow_heif import from_pillow

from tests.clients.conftest import soon
from tests.ollama_server import RealOllama
from tests.sample_images import encoded, shape

RED, BLUE = encoded(shape("circle", "red")), encoded(shape("square", "blue"))
COLOR = "What color is the circle?"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def client(gateway_url: str) -> Iterator[ollama.Client]:
    with ollama.Client(gateway_url, trust_env=False) as client:
        yield client


@pytest.fixture
async def async_client(gateway_url: str) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(gateway_url, trust_env=False) as client:
        yield client


def asking(*images: bytes, prompt: str = COLOR) -> list[ollama.Message]:
    return [ollama.Message(role="user", content=prompt, images=[ollama.Image(value=image) for image in images])]


def test_chat_about_an_image(client: ollama.Client) -> None:
    answer = client.chat("demo", asking(RED))
    assert answer.message.content == "The circle is red."
    assert (answer.model, answer.done, answer.done_reason) == ("demo", True, "stop")
    assert answer.eval_count
    assert answer.eval_duration
    assert answer.prompt_eval_count
    assert answer.prompt_eval_duration
    assert answer.total_duration
    assert answer.load_duration
    assert answer.created_at


def test_a_chat_is_streamed(client: ollama.Client) -> None:
    *pieces, last = client.chat("demo", asking(RED), stream=True)
    assert "".join(piece.message.content or "" for piece in pieces) == "The circle is red."
    assert [piece.done for piece in pieces] == [False] * len(pieces)
    assert (last.done, last.message.content) == (True, "")


async def test_a_chat_is_streamed_to_an_async_client(async_client: ollama.AsyncClient) -> None:
    pieces = [piece async for piece in await async_client.chat("demo", asking(RED), stream=True)]
    assert "".join(piece.message.content or "" for piece in pieces) == "The circle is red."
    whole = await async_client.generate("demo", COLOR, images=[RED])
    assert whole.response == "The circle is red."


def test_several_turns_keep_the_image(client: ollama.Client) -> None:
    messages = asking(RED)
    for _ in range(3):
        answer = client.chat("demo", messages)
        assert answer.message.content == "The circle is red."
        messages += [answer.message, ollama.Message(role="user", content=COLOR)]


def test_an_iphone_photo_is_understood(client: ollama.Client) -> None:
    file = BytesIO()
    from_pillow(shape("circle", "red")).save(file, quality=90)
    assert client.chat("demo", asking(file.getvalue())).message.content == "The circle is red."


def test_a_prompt_is_answered_and_its_context_goes_on(client: ollama.Client, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(RED)
    first = client.generate("demo", COLOR, images=[str(file)])
    assert first.response == "The circle is red."
    assert first.context
    again = client.generate("demo", COLOR, context=first.context)
    assert again.response == "The circle is red."
    assert "".join(piece.response or "" for piece in client.generate("demo", COLOR, images=[RED], stream=True)) == first.response


def test_a_raw_prompt_goes_to_the_model_as_it_is(before_ollama: str) -> None:
    with ollama.Client(before_ollama, trust_env=False) as client:
        prompt = f"USER: [img-0] {COLOR} ASSISTANT:"
        assert (client.generate("demo", prompt, raw=True, images=[RED]).response or "").strip() == "The circle is red."
        pieces = list(client.generate("demo", prompt, raw=True, images=[RED], stream=True))
        assert "".join(piece.response or "" for piece in pieces).strip() == "The circle is red."
        templated = client.generate("demo", COLOR, template="USER: {{ .Prompt }} ASSISTANT:", options={"num_predict": 3})
        assert templated.eval_count == 3


def test_an_answer_follows_a_schema(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"type": "string", "maxLength": 20}},
        "required": ["color"],
        "additionalProperties": False,
    }
    answer = client.chat("demo", asking(RED), format=schema, options={"num_predict": 60})
    assert list(json.loads(answer.message.content or "")) == ["color"]


def test_logprobs_are_returned(client: ollama.Client) -> None:
    answer = client.chat("demo", asking(RED), logprobs=True, top_logprobs=2, options={"num_predict": 2})
    assert answer.logprobs
    assert all(one.top_logprobs and len(one.top_logprobs) == 2 for one in answer.logprobs)


def test_tools_are_rejected_by_a_model_without_them(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("demo", asking(RED), tools=[WEATHER])
    assert refused.value.status_code == 400


def test_the_models_are_listed_and_shown(client: ollama.Client) -> None:
    (listed,) = [model for model in client.list().models if model.model == "demo:latest"]
    assert listed.size
    assert listed.details
    assert listed.details.family == "llama"
    shown = client.show("demo")
    assert shown.capabilities
    assert "vision" in shown.capabilities
    assert shown.modelinfo
    assert shown.modelinfo["llama.context_length"] == 4096


def test_a_model_is_loaded_and_unloaded(client: ollama.Client) -> None:
    assert client.generate("demo", keep_alive=-1).done_reason == "load"
    (loaded,) = [model for model in client.ps().models if model.model == "demo:latest"]
    assert loaded.context_length == 4096
    assert loaded.expires_at
    assert loaded.expires_at.year > 2100
    assert client.generate("demo", keep_alive=0).done_reason == "unload"
    assert soon(lambda: "demo:latest" not in [model.model for model in client.ps().models])


def test_a_missing_model_is_404(client: ollama.Client) -> None:
    for ask in (lambda: client.chat("nope", asking(RED)), lambda: list(client.chat("nope", asking(RED), stream=True))):
        with pytest.raises(ollama.ResponseError) as missing:
            ask()
        assert (missing.value.status_code, missing.value.error) == (404, "model 'nope' not found")


def test_a_bad_image_is_400(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("demo", asking(b"this is no image"))
    assert refused.value.status_code == 400


@pytest.mark.wording
def test_a_conversation_that_is_too_long_is_400(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("demo", asking(RED, prompt="word " * 5000))
    assert (refused.value.status_code, "4096" in refused.value.error) == (400, True)


def test_embeddings_of_a_model_that_has_none_are_400(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.embed("demo", "Hello")
    assert refused.value.status_code == 400


@pytest.mark.wording
def test_a_pull_from_a_registry_that_is_not_listed_is_403(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.pull("127.0.0.1:1/library/demo")
    assert (refused.value.status_code, "127.0.0.1:1" in refused.value.error) == (403, True)
    with pytest.raises(ollama.ResponseError):
        list(client.pull("127.0.0.1:1/library/demo", stream=True))


def test_models_of_ollama_are_copied_created_and_deleted(before_ollama: str, real_ollama: RealOllama) -> None:
    with ollama.Client(before_ollama, trust_env=False) as client:
        assert client.copy("demo", "demo-copy").status == "success"
        steps = [step.status for step in client.create("demo-kind", from_="demo-copy", system="Be kind.", stream=True)]
        assert steps[-1] == "success"
        assert {"demo:latest", "demo-copy:latest", "demo-kind:latest"} <= {model.model for model in client.list().models}
        for name in ("demo-copy", "demo-kind"):
            assert client.delete(name).status == "success"
        with pytest.raises(ollama.ResponseError) as missing:
            client.delete("demo-copy")
        assert (missing.value.status_code, missing.value.error) == (404, "model 'demo-copy' not found")


def test_a_blob_is_uploaded(before_ollama: str, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(bytes(range(256)) * 5000)
    with ollama.Client(before_ollama, trust_env=False) as client:
        assert client.create_blob(file) == client.create_blob(file)
