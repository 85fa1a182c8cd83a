"""A thin API on the core, beside that of Ollama: what a client sends arrives, and what it gets is of that API's own shape."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import ollama
import pytest

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Message, ReasoningDelta, TextDelta, Tool, ToolCall, Usage
from llava_gateway.engines.base import Engine
from llava_gateway.errors import UpstreamDisconnected
from llava_gateway.parts import ImagePart, TextPart, ToolCallPart, ToolResultPart
from llava_gateway.settings import Settings
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine, says
from tests.serving import Served, serving
from tests.thin import openai as thin_openai

RED = encoded(shape("circle", "red"))
BLUE = encoded(shape("square", "blue"))
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tell the weather.", "parameters": {"type": "object"}}}


@asynccontextmanager
async def thin(*engines: Engine, **settings: Any) -> AsyncIterator[Served]:
    async with serving(Settings(port=0, image_workers=1, **settings), engines or None, routers=(thin_openai.router,)) as served:
        yield served


def image(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


async def chunks(served: Served, path: str, body: dict[str, Any]) -> list[str]:
    """The lines of a stream that have anything in them."""
    async with served.client.stream("POST", path, json={**body, "stream": True}) as response:
        return [line async for line in response.aiter_lines() if line]


def test_a_thin_api_has_at_most_150_lines() -> None:
    assert len(Path(thin_openai.__file__).read_text().splitlines()) <= 150


async def test_a_conversation_with_images_through_the_openai_shape() -> None:
    """The real engine: what was shown in the first message is still known in the third."""
    async with thin(engine="embedded", model="demo") as served:
        body: dict[str, Any] = {
            "model": "demo",
            "temperature": 0,
            "messages": [{"role": "user", "content": [image(RED), words("Describe this image.")]}],
        }
        first = (await served.client.post("/thin/chat/completions", json=body)).json()
        said = first["choices"][0]["message"]
        assert (said["role"], said["content"]) == ("assistant", "A red circle on a white background.")
        assert first["choices"][0]["finish_reason"] == "stop"
        body["messages"] += [said, {"role": "user", "content": "What color is the circle?"}]
        second = (await served.client.post("/thin/chat/completions", json=body)).json()
        assert second["choices"][0]["message"]["content"] == "The circle is red."
        cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached >= first["usage"]["prompt_tokens"] - 8, "the prompt begins as the one before it did"


async def test_a_conversation_with_images_through_the_ollama_client() -> None:
    """The real engine and the real client."""
    async with thin(engine="embedded", model="demo") as served, ollama.AsyncClient(served.url) as client:
        asked = {"role": "user", "content": "Describe this image.", "images": [RED]}
        first = await client.chat("demo", [asked], options={"temperature": 0})
        assert first.message.content == "A red circle on a white background."
        messages: list[Any] = [asked, first.message, {"role": "user", "content": "What color is the circle?"}]
        streamed = [part async for part in await client.chat("demo", messages, stream=True, options={"temperature": 0})]
        assert "".join(part.message.content or "" for part in streamed) == "The circle is red."
        assert (streamed[-1].done, streamed[-1].done_reason) == (True, "stop")
        assert streamed[-1].prompt_eval_count


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
HISTORY = [
    {"role": "assistant", "content": "Hello, I am a weather station."},
    {"role": "user", "content": [words("Before"), image(RED), words("between"), image(BLUE), words("after")]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "It is"},
]


async def test_every_role_and_part_arrives_in_its_order() -> None:
    engine = ScriptedEngine(says("raining."))
    async with thin(engine) as served:
        body = {"model": "scripted", "messages": HISTORY, "tools": [WEATHER], "tool_choice": "none", "logprobs": True, "top_logprobs": 2}
        assert (await served.client.post("/thin/chat/completions", json=body)).status_code == 200
    (request,) = engine.requests
    station, shown, call, result, system, asked, prefill = request.messages
    assert station == Message("assistant", (TextPart("Hello, I am a weather station."),))
    assert [part.text if isinstance(part, TextPart) else type(part) for part in shown.parts] == [
        "Before",
        ImagePart,
        "between",
        ImagePart,
        "after",
    ]
    assert call == Message("assistant", (ToolCallPart("c1", "weather", "{}"),))
    assert result == Message("tool", (ToolResultPart("c1"), TextPart("Rain.")))
    assert [system, asked, prefill] == [
        Message("system", (TextPart("Be brief."),)),
        Message("user", (TextPart("And now?"),)),
        Message("assistant", (TextPart("It is"),)),
    ]
    assert request.tools == (Tool("weather", "Tell the weather.", {"type": "object"}),)
    assert (request.tool_choice, request.logprobs) == ("none", 2)


async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    yield ReasoningDelta("Hm.")
    yield TextDelta("Yes")
    yield ToolCall("c1", "weather", '{"at": "home"}')
    yield Finish("tool_calls", Usage(7, 2, 5))


async def test_a_stream_of_each_shape() -> None:
    async with thin(ScriptedEngine(script)) as served:
        body: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
        lines = await chunks(served, "/thin/chat/completions", {**body, "stream_options": {"include_usage": True}})
        assert all(line.startswith("data: ") for line in lines)
        assert lines[-1] == "data: [DONE]"
        *deltas, end, usage = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert [chunk["choices"][0]["delta"] for chunk in deltas][:2] == [{"reasoning_content": "Hm."}, {"content": "Yes"}]
        assert deltas[2]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"at": "home"}'}
        assert end["choices"][0]["finish_reason"] == "tool_calls"
        assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 9)
        objects = [json.loads(line) for line in await chunks(served, "/api/chat", body)]
        assert [thing["done"] for thing in objects] == [False, False, False, True]
        assert objects[2]["message"]["tool_calls"] == [
            {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"at": "home"}}}
        ]
        assert [objects[-1][name] for name in ("prompt_eval_count", "prompt_eval_cached_count", "eval_count")] == [7, 5, 2]


async def test_errors_of_each_shape_before_and_in_the_middle_of_an_answer() -> None:
    async def breaks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Half")
        raise UpstreamDisconnected

    async with thin(ScriptedEngine(breaks)) as served:
        body: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
        *_, last = await chunks(served, "/thin/chat/completions", body)
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_disconnected"
        *_, last = await chunks(served, "/api/chat", body)
        assert list(json.loads(last)) == ["error"]
        missing = await served.client.post("/thin/chat/completions", json={**body, "model": "nope"})
        assert (missing.status_code, missing.json()["error"]["code"], missing.headers["x-should-retry"]) == (
            404,
            "model_not_found",
            "false",
        )
        missing = await served.client.post("/api/chat", json={**body, "model": "nope"})
        assert missing.status_code == 404
        assert isinstance(missing.json()["error"], str)


async def test_images_are_counted_in_the_last_message_and_recognised_by_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A history may have more images than a question, and none of them is decoded again."""
    engine = ScriptedEngine(says("Yes."))
    async with thin(engine, images_per_turn=2) as served:
        messages: list[dict[str, Any]] = []
        for side in range(64, 64 + 4 * 8, 8):
            messages.append({"role": "user", "content": [image(encoded(shape("circle", "red", size=(side, side)))), words("?")]})
            assert (await served.client.post("/thin/chat/completions", json={"model": "scripted", "messages": messages})).status_code == 200
            messages.append({"role": "assistant", "content": "Yes."})
        stored, job = served.gateway.images.bytes_used, served.gateway.images._pool.job
        began: list[str] = []

        def seen(work: dict[str, Any], data: bytes) -> AbstractAsyncContextManager[Any]:
            began.append(work["do"])
            return job(work, data)

        monkeypatch.setattr(served.gateway.images._pool, "job", seen)
        messages.append({"role": "user", "content": "And now?"})
        assert (await served.client.post("/thin/chat/completions", json={"model": "scripted", "messages": messages})).status_code == 200
        assert (began, served.gateway.images.bytes_used) == ([], stored)
        assert len(engine.requests[-1].images) == 4
        messages[-1]["content"] = [image(RED), image(BLUE), image(RED)]
        refused = await served.client.post("/thin/chat/completions", json={"model": "scripted", "messages": messages})
        assert refused.json()["error"]["code"] == "too_many_images"
