"""The OpenAI engine: its requests to each kind of server, how it reads the answers, and the error for every rejection.

tests/contract shows that it works on a real server. Here a fake server produces what real ones can't be made to produce.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.chat import (
    EngineEvent,
    EngineRequest,
    Finish,
    Message,
    PromptProgress,
    ReasoningDelta,
    TextDelta,
    Timings,
    ToolCall,
    Usage,
)
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.engines.openai_answer import read_events
from llava_gateway.engines.openai_errors import chat_error
from llava_gateway.engines.openai_prompt import PLAIN
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    ImageParseError,
    InvalidOption,
    ModelLacksVision,
    ModelNotFound,
    ModelOutOfMemory,
    Overloaded,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from llava_gateway.options import Options
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings
from tests.engines.fake_upstream import Exchange, Script, fake_upstream
from tests.gateways import until_it_fails
from tests.llama_server import llama_server
from tests.sample_images import ask, shape

DEMO = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
RED_CIRCLE = shape("circle", "red")
EVENT_STREAM = "text/event-stream"


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def data(*chunks: Any) -> list[bytes]:
    return [b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) for value in chunks]


async def read(*lines: bytes) -> list[EngineEvent]:
    async def source() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    failures: list[GatewayError] = []
    events = [event async for event in read_events(source(), failed=failures.append)]
    assert not failures
    return events


async def read_until_it_fails(*lines: bytes) -> tuple[list[EngineEvent], GatewayError]:
    """Return the events before the failure, and the failure, after checking that `failed` got it first."""

    async def source() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    failures: list[GatewayError] = []
    events, failed = await until_it_fails(read_events(source(), failed=failures.append))
    assert failures == [failed]
    return events, failed


async def test_a_whole_answer_of_llama_server() -> None:
    events = await read(
        *data(
            chunk({"role": "assistant", "content": None}, prompt_progress={"total": 75, "cache": 68, "processed": 71}),
            chunk({"reasoning_content": "Round."}),
            chunk({"content": "A red"}),
            chunk({"content": " circle"}),
            chunk(finish="stop"),
            {
                "choices": [],
                "usage": {"prompt_tokens": 75, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 68}},
                "timings": {"prompt_ms": 9.5, "predicted_ms": 2.5},
            },
        ),
        b": ping",
        *data(b"[DONE]"),
    )
    assert events == [
        PromptProgress(71, 75, 68),
        ReasoningDelta("Round."),
        TextDelta("A red"),
        TextDelta(" circle"),
        Finish("stop", Usage(75, 3, 68), Timings(prompt_ms=9.5, generation_ms=2.5)),
    ]


async def test_a_whole_answer_of_vllm_which_tells_less() -> None:
    events = await read(
        *data(
            chunk({"content": "Hi", "reasoning": "Hm."}),
            chunk(finish="length", usage=None),
            {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": None}},
            b"[DONE]",
        )
    )
    assert events == [TextDelta("Hi"), ReasoningDelta("Hm."), Finish("length", Usage(5, 1, None))]


async def test_tool_calls_are_put_together_from_their_pieces() -> None:
    def piece(index: int, **more: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, **more}]})

    events = await read(
        *data(
            piece(0, id="a", function={"name": "look", "arguments": '{"at'}),
            piece(1, id="b", function={"name": "stop", "arguments": "{}"}),
            piece(0, function={"arguments": '": 1}'}),
            chunk(finish="tool_calls"),
            b"[DONE]",
        )
    )
    assert events == [ToolCall("a", "look", '{"at": 1}'), ToolCall("b", "stop", "{}"), Finish("tool_calls")]


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ([], UpstreamIncomplete),
        (data(b"[DONE]"), UpstreamIncomplete),
        (data(chunk(finish="abort")), UpstreamIncomplete),
        (data(b"{"), UpstreamProtocolError),
        (data(b"[1]"), UpstreamProtocolError),
        (data({}), UpstreamProtocolError),
        (data(chunk({"content": 5})), UpstreamProtocolError),
        (data(b'{"choices":[{"delta":{"content":"\xff"}}]}'), UpstreamProtocolError),
        (data(b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'), UpstreamProtocolError),
        ([b"<html>"], UpstreamProtocolError),
        (data({"error": {"code": 500, "message": "CUDA error: out of memory"}}), ModelOutOfMemory),
        (data({"error": "secret words"}), UpstreamError),
        (data({"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}}), ContextLengthExceeded),
    ],
)
async def test_what_goes_wrong_in_the_middle_is_the_one_last_event(last: list[bytes], error: type[GatewayError]) -> None:
    events, failed = await read_until_it_fails(*data(chunk({"content": "A"})), *last)
    assert events == [TextDelta("A")]
    assert type(failed) is error
    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    ("status", "body", "error", "values"),
    [
        (
            400,
            {"error": {"code": 400, "type": "exceed_context_size_error", "message": "x", "n_prompt_tokens": 10007, "n_ctx": 4096}},
            ContextLengthExceeded,
            {"n_prompt_tokens": 10007, "n_ctx": 4096},
        ),
        (  # vLLM
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 1024 tokens. However, you requested 0 output tokens and your prompt "
                "contains at least 1025 input tokens, for a total of at least 1025 tokens.",
                "type": "BadRequestError",
                "code": 400,
            },
            ContextLengthExceeded,
            {"n_prompt_tokens": 1025, "n_ctx": 1024},
        ),
        (  # SGLang
            400,
            {"object": "error", "message": "The input (131123 tokens) is longer than the model's context length (131072 tokens)."},
            ContextLengthExceeded,
            {"n_prompt_tokens": 131123, "n_ctx": 131072},
        ),
        (400, {"error": {"code": "context_length_exceeded", "message": "no figures"}}, ContextLengthExceeded, {}),
        (400, {"error": {"message": "Failed to load image or audio file"}}, ImageParseError, {}),
        (400, {"error": {"message": "cannot identify image file <_io.BytesIO object at 0x7f>"}}, ImageParseError, {}),
        (500, {"error": {"message": "image input is not supported - hint: if this is unexpected, ..."}}, ModelLacksVision, {}),
        (400, {"object": "error", "message": "m is not a multimodal model"}, ModelLacksVision, {}),
        (404, {"object": "error", "message": "The model `m` does not exist."}, ModelNotFound, {}),
        (400, {"error": "Model 'm' not found"}, ModelNotFound, {}),
        (401, {"error": {"message": "Invalid API Key"}}, UpstreamError, {}),
        (429, {"error": {"message": "slow down"}}, Overloaded, {}),
        (503, b"", Overloaded, {}),
        (504, b"<html>Gateway Time-out</html>", UpstreamTimeout, {}),
        (500, {"error": {"message": "failed to allocate buffer for kv cache"}}, ModelOutOfMemory, {}),
        (500, b"\xff\xfe", UpstreamError, {}),
        (400, [1], UpstreamError, {}),
        (418, {"error": {"message": 5}}, UpstreamError, {}),
    ],
)
def test_every_refusal_becomes_the_error_that_names_it(status: int, body: Any, error: type[GatewayError], values: dict[str, int]) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = chat_error(status, raw, ask("Hello", RED_CIRCLE))
    assert type(found) is error
    assert found.values == values


def test_a_refusal_without_images_is_not_about_an_image() -> None:
    assert type(chat_error(400, b'{"error": "invalid image"}', ask("Hello"))) is UpstreamError


def test_a_schema_that_is_refused_is_named() -> None:
    error = chat_error(400, b'{"error": "unrecognized type nonsense"}', ask("Hello", format={"type": "nonsense"}))
    assert isinstance(error, InvalidOption)
    assert error.place == ("format",)


def test_a_refused_key_says_which_setting_to_look_at() -> None:
    assert chat_error(401, b"", ask("Hello")).reason == "key_refused"


ALL_OPTIONS = Options(
    temperature=0.5,
    top_k=0,
    top_p=0.9,
    min_p=0.1,
    repeat_penalty=1.1,
    repeat_last_n=64,
    num_predict=7,
    seed=3,
    stop=("a", "b"),
    num_ctx=2048,
    num_gpu=1,
    num_thread=2,
)
EVERYWHERE = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 3, "stop": ["a", "b"]}


@pytest.mark.parametrize(
    ("owner", "more", "ignored"),
    [
        ("system", {}, ("top_k", "min_p", "repeat_penalty", "repeat_last_n", "num_ctx", "num_gpu", "num_thread")),
        (
            "llamacpp",
            {
                "top_k": 0,
                "min_p": 0.1,
                "repeat_penalty": 1.1,
                "repeat_last_n": 64,
                "return_progress": True,
                "verbose": True,
                "response_fields": ["stopping_word"],
            },
            ("num_ctx", "num_gpu", "num_thread"),
        ),
        ("vllm", {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1}, ("repeat_last_n", "num_ctx", "num_gpu", "num_thread")),
        ("sglang", {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1}, ("repeat_last_n", "num_ctx", "num_gpu", "num_thread")),
        ("organization_owner", {"top_k": 0, "repeat_penalty": 1.1}, ("min_p", "repeat_last_n", "num_ctx", "num_gpu", "num_thread")),
    ],
)
async def test_each_server_gets_the_options_it_knows(owner: str, more: dict[str, Any], ignored: tuple[str, ...]) -> None:
    async with fake_upstream(answering(owner, data(chunk(finish="stop"), b"[DONE]"))) as fake:
        engine = OpenAIEngine(f"{fake.url}/v1/")
        try:
            async with engine.chat(EngineRequest("m", (Message("user", (TextPart("Hello"),)),), ALL_OPTIONS)) as events:
                assert [event async for event in events] == [Finish("stop")]
            assert engine.ignored_options(ALL_OPTIONS) == ignored
            assert engine.reports_progress == (owner == "llamacpp")
        finally:
            await engine.aclose()
    assert fake.requests[-1].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **EVERYWHERE,
        **more,
    }


def answering(owner: str, lines: list[bytes], refusals: list[tuple[int, bytes]] | None = None) -> Script:
    """Return a server of this owner with the model `m`. It sends the `refusals` first, then streams `lines`."""
    left = list(refusals or ())

    async def script(exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            await exchange.reply(200, {"data": [{"id": "m", "owned_by": owner, "max_model_len": 2048}]})
        elif exchange.request.path == "/props":
            await exchange.reply(200, {"modalities": {"vision": True}, "default_generation_settings": {"n_ctx": 2048}})
        elif left:
            await exchange.reply(*left.pop(0))
        else:
            await exchange.head(content_type=EVENT_STREAM)
            for line in lines:
                await exchange.chunk(line + b"\n\n")
            await exchange.end()

    return script


async def chat(url: str, **more: Any) -> list[EngineEvent]:
    engine = OpenAIEngine(f"{url}/v1", **more)
    try:
        async with engine.chat(ask("Hello", model="m")) as events:
            return [event async for event in events]
    finally:
        await engine.aclose()


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_gateway.engines.openai.BUSY_PAUSE", 0)


async def test_a_busy_server_is_asked_once_more(no_pause: None) -> None:
    busy = (503, b'{"error": {"message": "busy"}}')
    async with fake_upstream(answering("vllm", data(chunk(finish="stop")), [busy])) as fake:
        assert await chat(fake.url) == [Finish("stop")]
    async with fake_upstream(answering("vllm", [], [busy, busy])) as fake:
        with pytest.raises(Overloaded):
            await chat(fake.url)


async def test_a_server_that_loads_its_model_is_waited_for(no_pause: None) -> None:
    loading = (503, b'{"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}')
    async with fake_upstream(answering("vllm", data(chunk(finish="stop")), [loading] * 5)) as fake:
        assert await chat(fake.url) == [Finish("stop")]


async def test_an_answer_that_is_cut_is_a_disconnect() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head(content_type=EVENT_STREAM)
        await exchange.chunk(b"".join(data(chunk({"content": "A"}))) + b"\n\n")
        exchange.reset()

    async with fake_upstream(script) as fake:
        with pytest.raises(UpstreamDisconnected):
            await chat(fake.url, dialect=PLAIN)


async def test_a_page_instead_of_a_stream_is_a_protocol_error() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.reply(200, b"<html>secret</html>", "text/html")

    async with fake_upstream(script) as fake:
        with pytest.raises(UpstreamProtocolError):
            await chat(fake.url, dialect=PLAIN)


@pytest.mark.parametrize("listing", [[], {"data": 5}, {"data": [{}]}, {"data": ["m"]}])
async def test_an_odd_listing_is_a_protocol_error(listing: Any) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.reply(200, listing)

    async with fake_upstream(script) as fake:
        engine = OpenAIEngine(f"{fake.url}/v1")
        with pytest.raises(UpstreamProtocolError):
            await engine.models()
        assert not (await engine.health()).ok
        await engine.aclose()


@pytest.mark.parametrize(
    ("owner", "prompt", "first"),
    [
        ("llamacpp", "USER: {image}{words} ASSISTANT:", True),
        ("llamacpp", "USER: {words}{image} ASSISTANT:", False),
        ("llamacpp", None, True),  # without /apply-template
        ("vllm", None, True),
    ],
)
async def test_where_images_stand_is_learned_from_a_server_that_shows_prompts(owner: str, prompt: str | None, first: bool) -> None:
    asked: list[str] = []

    async def script(exchange: Exchange) -> None:
        match exchange.request.path:
            case "/v1/models":
                await exchange.reply(200, {"data": [{"id": "demo", "owned_by": owner}]})
            case "/props":
                await exchange.reply(200, {"modalities": {"vision": True}, "default_generation_settings": {"n_ctx": 4096}})
            case "/apply-template" if prompt:
                asked.append(exchange.request.path)
                content = exchange.request.json["messages"][0]["content"]
                words = content if isinstance(content, str) else content[-1]["text"]
                await exchange.reply(200, {"prompt": prompt.format(words=words, image="" if words == content else "<image>")})
            case _:
                await exchange.reply(404, {})

    async with fake_upstream(script) as upstream:
        engine = OpenAIEngine(f"{upstream.url}/v1")
        try:
            for _ in range(2):
                assert await engine.images_first(ask("What is it?", RED_CIRCLE)) is first
        finally:
            await engine.aclose()
    assert len(asked) == (2 if prompt else 0)


async def test_the_key_goes_with_every_request_and_settings_name_it() -> None:
    async with fake_upstream(answering("vllm", data(chunk(finish="stop")))) as fake:
        settings = Settings.load(openai_base_url=f"{fake.url}/v1", openai_api_key="s3cret", openai_slots=3)
        engine = OpenAIEngine.from_settings(settings)
        assert engine.slots == 3
        (model,) = await engine.models()
        assert (model.name, model.vision, model.context_length, model.loaded_context) == ("m", True, 2048, None)
        assert (await engine.health()).version == "vLLM"
        await engine.aclose()
    assert {request.headers["authorization"] for request in fake.requests} == {"Bearer s3cret"}


async def test_a_real_llama_server_tells_whether_it_sees_and_its_context() -> None:
    async with llama_server("blind", DEMO / "demo.gguf", None, 1024) as server:
        engine = OpenAIEngine(f"{server.address}/v1", api_key=server.api_key)
        try:
            (model,) = await engine.models()
            assert (model.name, model.vision, model.context_length, model.loaded_context) == ("blind", False, 4096, 1024)
            assert (await engine.health()).version == "llama.cpp"
            with pytest.raises(ModelLacksVision):
                async with engine.chat(ask("Describe this image.", RED_CIRCLE, model="blind")):
                    pass
            with pytest.raises(ModelNotFound):  # the server would answer under any name
                async with engine.chat(ask("Hello", model="other")):
                    pass
        finally:
            await engine.aclose()


class Swapped:
    """A server whose models and context change while it keeps its address; `listed` counts how often it was asked for them."""

    def __init__(self, owner: str, contexts: dict[str, int | None]) -> None:
        self.owner, self.contexts = owner, contexts
        self.listed = 0
        self.refusals: list[tuple[int, bytes]] = []

    async def __call__(self, exchange: Exchange) -> None:
        match exchange.request.path:
            case "/v1/models":
                self.listed += 1
                rows = [{"id": name, "owned_by": self.owner, "max_model_len": context} for name, context in self.contexts.items()]
                await exchange.reply(200, {"data": rows})
            case "/props":
                (context,) = self.contexts.values()
                await exchange.reply(200, {"modalities": {"vision": True}, "default_generation_settings": {"n_ctx": context}})
            case _ if self.refusals:
                await exchange.reply(*self.refusals.pop(0))
            case _:
                await exchange.head(content_type=EVENT_STREAM)
                for line in data(chunk(finish="stop"), b"[DONE]"):
                    await exchange.chunk(line + b"\n\n")
                await exchange.end()


@asynccontextmanager
async def swapped(owner: str, contexts: dict[str, int | None]) -> AsyncIterator[tuple[Swapped, OpenAIEngine, list[float]]]:
    """The server, an engine that asks it, and the engine's clock."""
    server, clock = Swapped(owner, contexts), [0.0]
    async with fake_upstream(server) as fake:
        engine = OpenAIEngine(f"{fake.url}/v1", fresh_for=3, clock=lambda: clock[0])
        try:
            yield server, engine, clock
        finally:
            await engine.aclose()


async def chats(engine: OpenAIEngine, model: str) -> list[int | None]:
    """The context that each of three chats would have."""
    found = []
    for _ in range(3):
        found.append(await engine.context_length(ask("Hello", model=model)))
        async with engine.chat(ask("Hello", model=model)) as events:
            assert [event async for event in events] == [Finish("stop")]
    return found


@pytest.mark.parametrize(("owner", "context"), [("vllm", 2048), ("llamacpp", 4096), ("organization_owner", None), ("proxy", None)])
async def test_a_server_is_asked_once_for_its_context(owner: str, context: int | None) -> None:
    async with swapped(owner, {"m": context}) as (server, engine, _):
        assert await chats(engine, "m") == [context] * 3
        assert server.listed == 1


async def test_a_model_that_is_not_listed_is_looked_for_once_in_each_list() -> None:
    async with swapped("proxy", {"m": 2048}) as (server, engine, clock):
        assert await chats(engine, "hidden") == [None] * 3
        assert server.listed == 2
        clock[0] = 3
        assert await chats(engine, "hidden") == [None] * 3
        assert server.listed == 4


async def test_an_old_list_is_asked_for_again() -> None:
    async with swapped("vllm", {"m": 2048}) as (server, engine, clock):
        await chats(engine, "m")
        server.contexts = {"m": 8192}
        clock[0] = 2.9
        assert await chats(engine, "m") == [2048] * 3
        clock[0] = 3
        assert await chats(engine, "m") == [8192] * 3
        assert server.listed == 2


@pytest.mark.parametrize("refusal", [(503, b'{"error": {"message": "Loading model"}}'), (400, b"{}"), (404, b"{}"), (500, b"oops")])
async def test_a_server_that_refused_is_asked_again(refusal: tuple[int, bytes], no_pause: None) -> None:
    """One that loads its model, or does not know it any more, was started anew, perhaps with another context."""
    async with swapped("llamacpp", {"m": 2048}) as (server, engine, clock):
        await chats(engine, "m")
        server.contexts, server.refusals = {"m": 1024}, [refusal]
        clock[0] = 1
        with suppress(GatewayError):
            await chats(engine, "m")
        clock[0] = 2
        assert await chats(engine, "m") == [1024] * 3
        assert server.listed == 2


async def test_a_server_that_went_away_is_asked_again_when_it_is_back() -> None:
    async with swapped("vllm", {"m": 2048}) as (server, engine, clock):
        await chats(engine, "m")
        clock[0] = 1
        engine._base, base = "http://127.0.0.1:9/v1", engine._base
        assert not (await engine.health()).ok  # as the pool asks every two seconds
        engine._base = base
        clock[0], server.contexts = 2, {"m": 512}
        assert await chats(engine, "m") == [512] * 3


async def test_another_kind_of_server_is_spoken_to_in_its_own_dialect() -> None:
    async with swapped("llamacpp", {"m": 2048}) as (server, engine, clock):
        await chats(engine, "m")
        assert engine.reports_progress
        server.owner, server.contexts = "vllm", {"other": 8192}
        clock[0] = 3
        assert await chats(engine, "other") == [8192] * 3
        assert not engine.reports_progress
