"""Counting on a real llama-server, and on scripted servers: vLLM, an older llama.cpp, and one that was restarted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.chat import EngineRequest, Finish, Label, Message, Piece, Rendition, TokenCount, Tool
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.parts import TextPart
from tests.engines.fake_upstream import Exchange, FakeUpstream, fake_upstream
from tests.llama_server import llama_server
from tests.sample_images import ask, encoded, shape
from tests.synthetic_llava import PINPOINTS_16, write_pair

RED_CIRCLE = shape("circle", "red")
LISTED = {"data": [{"id": "m", "owned_by": "llamacpp"}]}
MARKER = "<__media_A__>"
PROPS = {"modalities": {"vision": True}, "default_generation_settings": {"n_ctx": 2048}, "media_marker": MARKER}


def of_cost(request: EngineRequest, tokens: int | None, label: Label = "estimated") -> EngineRequest:
    """Return the same request with this cost for its images."""
    return replace(
        request, renditions={part: replace(rendition, tokens=tokens, label=label) for part, rendition in request.renditions.items()}
    )


@pytest.fixture
async def tiles(tmp_path: Path) -> AsyncIterator[OpenAIEngine]:
    """Run a llama-server whose model cuts images into tiles itself."""
    pair = write_pair(tmp_path, name="tiles", pinpoints=PINPOINTS_16, context=8192)
    async with llama_server("tiles", pair.gguf, pair.mmproj, 8192) as server:
        engine = OpenAIEngine(f"{server.address}/v1", api_key=server.api_key, slots=1)
        yield engine
        await engine.aclose()


async def test_the_server_tells_what_an_image_of_unknown_cost_takes(tiles: OpenAIEngine) -> None:
    request = ask("Hello", shape("circle", "red"), shape("square", "blue"), model="tiles", num_predict=1)
    red, blue = request.renditions
    wide = shape("square", "blue", size=(300, 150))
    whole = Rendition((Piece(encoded(wide), "PNG", 300, 150),))
    request = replace(of_cost(request, None), renditions={red: replace(request.renditions[red], tokens=None), blue: whole})
    count = await tiles.count(request)
    assert count is not None
    assert count.label == "exact"
    assert count.images[0] != count.images[1]
    async with tiles.chat(request) as events:
        finish = [event async for event in events][-1]
    assert isinstance(finish, Finish)
    assert count.total == finish.usage.prompt_tokens


Answers = dict[str, Callable[[Any], tuple[int, Any]]]


def server(answers: Answers) -> Callable[[Exchange], Awaitable[None]]:
    """Return a llama-server with these answers by path."""

    async def script(exchange: Exchange) -> None:
        known: Answers = {"/v1/models": lambda _: (200, LISTED), "/props": lambda _: (200, PROPS), **answers}
        answer = known.get(exchange.request.path)
        body = json.loads(exchange.request.body or b"null")
        await exchange.reply(*(answer(body) if answer else (404, {"error": "not found"})))

    return script


def rendered(*between: str) -> Callable[[Any], tuple[int, Any]]:
    return lambda _: (200, {"prompt": MARKER.join(between)})


def a_token_each_letter(body: Any) -> tuple[int, Any]:
    return 200, {"tokens": [0] * (sum(len(text) for text in body["content"]) + body["add_special"])}


async def count_on(fake: FakeUpstream, request: EngineRequest, times: int = 1) -> TokenCount | None:
    engine = OpenAIEngine(f"{fake.url}/v1")
    try:
        for _ in range(times - 1):
            await engine.count(request)
        return await engine.count(request)
    finally:
        await engine.aclose()


async def test_a_server_that_can_not_measure_images_leaves_an_estimate() -> None:
    answers: Answers = {"/apply-template": rendered("ab", "cde"), "/tokenize": a_token_each_letter}
    async with fake_upstream(server(answers)) as fake:
        assert await count_on(fake, of_cost(ask("?", RED_CIRCLE, model="m"), None)) == TokenCount(
            0, 6, (0,), "estimated", text_is_exact=True
        )
        assert await count_on(fake, of_cost(ask("?", RED_CIRCLE, model="m"), 70, "measured")) == TokenCount(
            0, 6, (70,), "measured", text_is_exact=True
        )


async def test_what_comes_back_is_asked_once() -> None:
    """The media marker, the tokens of the system prompt, and the tokens of the images."""
    answers: Answers = {
        "/apply-template": rendered("ab", "cde"),
        "/tokenize": a_token_each_letter,
        "/chat/completions/input_tokens": lambda _: (200, {"input_tokens": 16}),
    }
    request = of_cost(ask("?", RED_CIRCLE, model="m", history=(Message("system", (TextPart("Be brief."),)),)), None)
    async with fake_upstream(server(answers)) as fake:
        assert await count_on(fake, request, times=3) == TokenCount(6, 0, (10,), "exact", text_is_exact=True)
        paths = [request.path for request in fake.requests]
    assert paths.count("/chat/completions/input_tokens") == 1
    assert paths.count("/props") == 2  # one of them for the list of models
    assert sum("Be brief" in str(request.body) for request in fake.requests if request.path == "/tokenize") == 1


async def test_images_do_not_travel_to_have_words_counted() -> None:
    answers: Answers = {"/apply-template": rendered("ab", "cde"), "/tokenize": a_token_each_letter}
    request = ask("?", RED_CIRCLE, model="m")
    async with fake_upstream(server(answers)) as fake:
        await count_on(fake, request)
        sent = max(len(request.body) for request in fake.requests)
    assert sent < request.renditions[next(iter(request.renditions))].size_bytes


async def test_a_server_that_was_started_anew_has_another_marker() -> None:
    markers = ["<__media_A__>", "<__media_A__>", "<__media_B__>"]

    def props(_: Any) -> tuple[int, Any]:
        return 200, PROPS | {"media_marker": markers.pop(0)}

    shown = ["ab<__media_A__>c", "ab<__media_B__>c"]
    answers: Answers = {"/props": props, "/apply-template": lambda _: (200, {"prompt": shown.pop(0)}), "/tokenize": a_token_each_letter}
    async with fake_upstream(server(answers)) as fake:
        assert await count_on(fake, ask("?", RED_CIRCLE, model="m"), times=2) == TokenCount(0, 4, (64,), "exact", text_is_exact=True)
    assert not markers


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/apply-template": lambda _: (200, {"prompt": "no place for an image"})},
        {"/apply-template": lambda _: (200, [])},
        {"/apply-template": rendered("a", "b"), "/tokenize": lambda _: (200, {"tokens": 5})},
        {"/apply-template": rendered("a", "b"), "/tokenize": lambda _: (500, {"error": "broken"})},
        {"/apply-template": rendered("a", "b"), "/tokenize": lambda _: (200, b"no JSON")},
    ],
)
async def test_answers_without_sense_are_no_count(answers: Answers) -> None:
    async with fake_upstream(server(answers)) as fake:
        assert await count_on(fake, ask("?", RED_CIRCLE, model="m")) is None


async def test_counting_can_be_given_up() -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.hung_up()

    async with fake_upstream(silent) as fake:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await count_on(fake, ask("?", model="m"))


def other_server(owner: str) -> Callable[[Exchange], Awaitable[None]]:
    async def script(exchange: Exchange) -> None:
        match exchange.request.path:
            case "/v1/models":
                await exchange.reply(200, {"data": [{"id": "m", "owned_by": owner, "max_model_len": 2048}]})
            case "/tokenize":
                body = exchange.request.json
                words = body.get("prompt") or "".join(message["content"] for message in body["messages"]) + "template"
                await exchange.reply(200, {"count": len(words), "max_model_len": 2048, "tokens": [0] * len(words)})
            case _:
                await exchange.reply(404, {"error": "not found"})

    return script


async def test_vllm_counts_words_and_leaves_images_to_what_is_known_of_them() -> None:
    system = Message("system", (TextPart("Be brief."),))
    async with fake_upstream(other_server("vllm")) as fake:
        assert await count_on(fake, ask("Hello", model="m", history=(system,))) == TokenCount(9, 13, (), "exact", text_is_exact=True)
        assert await count_on(fake, ask("Hello", RED_CIRCLE, model="m")) == TokenCount(0, 13, (64,), "estimated")


async def test_vllm_is_told_of_all_that_makes_the_prompt() -> None:
    asked = ask("Hello", model="m")
    begun = replace(asked, messages=(*asked.messages, Message("assistant", (TextPart("It is"),))), tools=(Tool("look"),), think=False)
    async with fake_upstream(other_server("vllm")) as fake:
        assert await count_on(fake, begun) is not None
        body = fake.requests[-1].json
    assert [message["content"] for message in body["messages"]] == ["Hello", "It is"]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)


async def test_other_servers_count_nothing() -> None:
    async with fake_upstream(other_server("sglang")) as fake:
        assert await count_on(fake, ask("Hello", model="m")) is None


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
async def test_what_the_server_runs_with_is_the_context(owner: str) -> None:
    async with fake_upstream(other_server(owner)) as fake:
        engine = OpenAIEngine(f"{fake.url}/v1")
        assert await engine.context_length(ask("Hello", model="m")) == 2048
        assert await engine.context_length(ask("Hello", model="another")) is None
        await engine.aclose()
