"""/v1/messages with an engine that follows a script: answers, streams, errors and the headers, through the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from anthropic import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
)
from anthropic.types import Message
from pydantic import BaseModel, TypeAdapter

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Loading, PromptProgress, ReasoningDelta, TextDelta, TokenCount, ToolCall
from llava_gateway.chat import Usage as Tokens
from llava_gateway.errors import ModelLacksTools, ModelOutOfMemory, Overloaded, UpstreamDisconnected
from llava_gateway.parts import ImagePart, TextPart
from tests.api.anthropic.conftest import HELLO, Connect, image, text, user
from tests.scripted_engine import ScriptedEngine, Speaker, says
from tests.serving import Served

TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}
WHOLE: TypeAdapter[Message] = TypeAdapter(Message)


def ends(reason: Any, *events: EngineEvent, stop: str | None = None, usage: Tokens = Tokens(90, 5, 70)) -> ScriptedEngine:
    """Return an engine with these events in each answer, and this end."""

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for event in events:
            yield event
        yield Finish(reason, usage, stop=stop)

    return ScriptedEngine(script)


async def posted(served: Served, path: str = "/v1/messages", **body: Any) -> httpx2.Response:
    return await served.client.post(path, json={"model": "scripted", "max_tokens": 9, "messages": HELLO, **body})


async def streamed(served: Served, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a stream, each with its name; also checks that each has its name as its type."""
    async with served.stream("/v1/messages", model="scripted", messages=HELLO, stream=True, **body) as events:
        found = await events.rest()
    assert [name for name, _ in found] == [data["type"] for _, data in found]
    return found


async def test_an_answer_is_a_message_by_the_types_of_the_sdk(connect: Connect) -> None:
    call = ToolCall("t1", "look", '{"at":"left"}')
    _, served = await connect(ends("tool_calls", ReasoningDelta("Hm."), TextDelta(" Let me"), TextDelta(" look."), call))
    response = await posted(served, tools=[TOOL])
    message = WHOLE.validate_json(response.content)
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "left"}},
    ]
    assert (message.role, message.model, message.stop_reason, message.stop_sequence) == ("assistant", "scripted", "tool_use", None)
    assert message.usage.to_dict() == {
        "input_tokens": 20,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 70,
        "output_tokens": 5,
    }
    own = response.json()["llava_gateway"]
    assert set(own) == {"images", "context", "warnings", "timings"}
    assert response.headers["request-id"] == response.headers["x-request-id"]
    assert message.id == response.headers["request-id"].replace("req_", "msg_")


@pytest.mark.parametrize(
    ("reason", "stop", "said"),
    [
        ("stop", None, ("end_turn", None)),
        ("length", None, ("max_tokens", None)),
        ("stop", "END", ("stop_sequence", "END")),
        ("tool_calls", None, ("tool_use", None)),
    ],
)
async def test_why_an_answer_ended(connect: Connect, reason: Any, stop: str | None, said: tuple[str, str | None]) -> None:
    client, served = await connect(ends(reason, TextDelta("a"), stop=stop))
    message = await client.messages.create(model="scripted", max_tokens=9, messages=HELLO, stop_sequences=["END"])
    last = (await streamed(served))[-2][1]["delta"]
    assert (message.stop_reason, message.stop_sequence) == (last["stop_reason"], last["stop_sequence"]) == said


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_beginning_that_no_template_continues_is_reported(connect: Connect, goes_on: bool) -> None:
    engine = ends("stop", TextDelta(" red"))
    engine.prefills = goes_on
    _, served = await connect(engine)
    answer = (await posted(served, messages=[*HELLO, {"role": "assistant", "content": "It is"}])).json()
    assert answer["content"] == [{"type": "text", "text": " red"}]
    ignored = [warning["values"] for warning in answer["llava_gateway"]["warnings"] if warning["code"] == "option_ignored"]
    assert ignored == ([] if goes_on else [{"option": "prefill"}])


async def test_an_answer_that_filled_the_context_says_so(connect: Connect) -> None:
    engine = ends("length", TextDelta("a"), usage=Tokens(90, 4006))
    engine.context = 4096
    client, _ = await connect(engine)
    message = await client.messages.create(model="scripted", max_tokens=9, messages=HELLO)
    assert message.stop_reason == "model_context_window_exceeded"


async def test_an_answer_without_words_has_no_blocks(connect: Connect) -> None:
    client, served = await connect(ends("stop", usage=Tokens()))
    message = await client.messages.create(model="scripted", max_tokens=9, messages=HELLO)
    assert (message.content, message.usage.input_tokens, message.usage.output_tokens) == ([], 0, 0)
    assert [name for name, _ in await streamed(served)] == ["message_start", "message_delta", "message_stop"]


async def test_the_arguments_of_a_call_that_was_cut_off_are_left_out(connect: Connect) -> None:
    deep = f'{{"at":{"[" * 30_000}{"]" * 30_000}}}'
    calls = [ToolCall(f"t{index}", "look", arguments) for index, arguments in enumerate(('{"at":"le', "[]", deep))]
    client, _ = await connect(ends("length", *calls))
    message = await client.messages.create(model="scripted", max_tokens=9, messages=HELLO)
    assert [block.input for block in message.content if block.type == "tool_use"] == [{}, {}, {}]
    assert message.stop_reason == "max_tokens"


async def test_every_call_has_an_id(connect: Connect) -> None:
    """Clients name the call by it when they send its result."""
    client, served = await connect(ends("tool_calls", ToolCall("", "look", "{}"), ToolCall("", "look", "{}")))
    message = await client.messages.create(model="scripted", max_tokens=9, messages=HELLO)
    ids = [block.id for block in message.content if block.type == "tool_use"]
    ids += [data["content_block"]["id"] for name, data in await streamed(served) if name == "content_block_start"]
    assert all(ids)
    assert len({*ids}) == 4


async def test_events_come_in_their_order(connect: Connect) -> None:
    call = ToolCall("t1", "look", '{"at":"left"}')
    events = (PromptProgress(75, 90, 70), PromptProgress(90, 90, 70), ReasoningDelta("H"), ReasoningDelta("m."), TextDelta("a\n\"é'"), call)
    engine = ends("tool_calls", *events, TextDelta("b"))
    engine.reports_progress = True
    _, served = await connect(engine)
    found = await streamed(served, tools=[TOOL])
    started, *blocks, delta, stop = (data for _, data in found)
    message = started["message"]
    assert {**message, "id": ""} == {
        "id": "",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 70, "output_tokens": 0},
    }

    def begins(index: int, **block: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def grows(index: int, **block: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": block}

    def is_over(index: int) -> dict[str, Any]:
        return {"type": "content_block_stop", "index": index}

    assert blocks == [
        begins(0, type="thinking", thinking="", signature=""),
        grows(0, type="thinking_delta", thinking="H"),
        grows(0, type="thinking_delta", thinking="m."),
        is_over(0),
        begins(1, type="text", text=""),
        grows(1, type="text_delta", text="a\n\"é'"),
        is_over(1),
        begins(2, type="tool_use", id="t1", name="look", input={}),
        grows(2, type="input_json_delta", partial_json='{"at":"left"}'),
        is_over(2),
        begins(3, type="text", text=""),
        grows(3, type="text_delta", text="b"),
        is_over(3),
    ]
    assert delta["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert delta["usage"] == {"input_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 70, "output_tokens": 5}
    assert set(delta["llava_gateway"]) == {"images", "context", "warnings", "timings"}
    assert stop == {"type": "message_stop"}


async def test_the_client_builds_the_same_message_from_a_stream(connect: Connect) -> None:
    engine = ends("tool_calls", ReasoningDelta("Hm."), TextDelta("a"), TextDelta("b"), ToolCall("t1", "look", '{"at":"left"}'))
    client, served = await connect(engine)
    whole = WHOLE.validate_json((await posted(served, tools=[TOOL])).content)
    async with client.messages.stream(model="scripted", max_tokens=9, messages=HELLO) as stream:
        assert [words async for words in stream.text_stream] == ["a", "b"]
        built = await stream.get_final_message()
        assert stream.request_id == built.id.replace("msg_", "req_")
    assert [block.to_dict() for block in built.content] == [block.to_dict() for block in whole.content]
    assert (built.stop_reason, built.usage.to_dict()) == (whole.stop_reason, whole.usage.to_dict())


async def test_without_progress_a_stream_begins_with_our_count(connect: Connect) -> None:
    engine = ends("stop", TextDelta("a"))
    engine.counted = lambda request: TokenCount(0, 77, label="exact")
    _, served = await connect(engine)
    (_, started), *_ = await streamed(served)
    assert started["message"]["usage"]["input_tokens"] == 77


async def test_a_loading_model_delays_the_beginning_of_a_stream(connect: Connect) -> None:
    engine = ends("stop", TextDelta("a"))
    engine.load = Loading("scripted")
    _, served = await connect(engine)
    assert [name for name, _ in await streamed(served)][:2] == ["message_start", "content_block_start"]


async def test_a_quiet_stream_is_kept_alive_by_pings(connect: Connect) -> None:
    speaker = Speaker()
    _, served = await connect(ScriptedEngine(speaker), ping_interval=0.02)
    async with served.stream("/v1/messages", model="scripted", messages=HELLO, stream=True) as events:
        speaker.say("a")
        async for name, data in events:
            if name == "ping":
                assert data == {"type": "ping"}
                break
        speaker.end()
        rest = [name for name, _ in await events.rest() if name != "ping"]
    assert rest == ["content_block_stop", "message_delta", "message_stop"]


async def test_a_stream_that_has_not_begun_is_kept_alive_by_comments(connect: Connect) -> None:
    speaker = Speaker()
    engine = ScriptedEngine(speaker)
    engine.reports_progress = True  # so that nothing is sent before the first word
    _, served = await connect(engine, ping_interval=0.02)
    async with served.client.stream("POST", "/v1/messages", json={"messages": HELLO, "stream": True}) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == ": ping"
        speaker.say("a")
        speaker.end()
        names = [line for line in [line async for line in lines] if line.startswith("event: ") and not line.endswith("ping")]
    assert names[0] == "event: message_start"
    assert names[-1] == "event: message_stop"


async def test_a_stream_that_breaks_ends_with_an_error(connect: Connect) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("a")
        raise UpstreamDisconnected

    client, served = await connect(ScriptedEngine(script))
    *_, (name, last) = await streamed(served)
    assert (name, last["error"]["type"], last["error"]["code"]) == ("error", "api_error", "upstream_disconnected")
    assert last["request_id"].startswith("req_")
    async with client.messages.stream(model="scripted", max_tokens=9, messages=HELLO) as stream:
        with pytest.raises(APIStatusError):
            await stream.until_done()


async def test_a_client_that_leaves_stops_the_engine(connect: Connect) -> None:
    speaker = Speaker()
    engine = ScriptedEngine(speaker)
    client, _ = await connect(engine)
    speaker.say("a")
    async with client.messages.stream(model="scripted", max_tokens=9, messages=HELLO) as stream:
        assert await anext(aiter(stream.text_stream)) == "a"
    await asyncio.wait_for(engine.idle.wait(), 60)


async def test_errors_have_their_status_type_and_exception(connect: Connect, red_circle: bytes) -> None:
    engine = ScriptedEngine()
    engine.context, engine.counted = 4096, lambda request: TokenCount(0, 5000, label="exact")
    client, _ = await connect(engine)

    async def refused(kind: type[APIStatusError], messages: Any = HELLO, **rest: Any) -> dict[str, Any]:
        with pytest.raises(kind) as caught:
            await client.messages.create(**{"model": "scripted", "max_tokens": 9, "messages": messages, **rest})
        body = caught.value.body
        assert isinstance(body, dict)
        assert (body["type"], body["request_id"]) == ("error", caught.value.request_id)
        return dict(body["error"])

    assert (await refused(NotFoundError, model="nope"))["type"] == "not_found_error"
    bad = await refused(BadRequestError, [user(text("a"), image(red_circle), image(b"GIF89a"))])
    assert (bad["type"], bad["param"]) == ("invalid_request_error", "messages.0.content.2")
    long = await refused(BadRequestError, [{"role": "user", "content": "word " * 4000}])
    assert long["code"] == "context_length_exceeded"
    assert "prompt is too long: 5000 tokens > 4096 maximum" in long["message"]
    engine.refusal = Overloaded()
    busy = await refused(APIStatusError)
    assert busy["type"] == "overloaded_error"


async def test_an_error_that_would_come_again_is_not_repeated(connect: Connect) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.model:
            raise ModelOutOfMemory
        yield TextDelta("")

    engine = ScriptedEngine(script)
    client, _ = await connect(engine)
    with pytest.raises(InternalServerError) as caught:
        await client.with_options(max_retries=2).messages.create(model="scripted", max_tokens=9, messages=HELLO)
    assert (caught.value.status_code, len(engine.requests)) == (502, 1)


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", "any"])
async def test_the_key_may_come_in_either_header(connect: Connect, header: str, version: str) -> None:
    client, served = await connect(ScriptedEngine(), api_key="secret")
    assert (await client.messages.create(model="scripted", max_tokens=9, messages=HELLO)).content
    value = "Bearer secret" if header == "authorization" else "secret"
    body = {"model": "scripted", "messages": HELLO}
    response = await served.client.post("/v1/messages", json=body, headers={header: value, "anthropic-version": version})
    assert response.status_code == 200
    wrong = await served.client.post("/v1/messages", json=body, headers={header: f"{value}x", "anthropic-version": version})
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "authentication_error")
    assert wrong.headers["request-id"] == wrong.json()["request_id"]
    with pytest.raises(AuthenticationError):
        await client.with_options(api_key="other").messages.create(model="scripted", max_tokens=9, messages=HELLO)


async def test_a_prompt_that_is_too_long_can_be_counted(connect: Connect) -> None:
    engine = ScriptedEngine()
    engine.context, engine.counted = 4096, lambda request: TokenCount(0, 5000, label="exact")
    client, _ = await connect(engine)
    long: Any = [{"role": "user", "content": "word " * 4000}]
    assert (await client.messages.count_tokens(model="scripted", messages=long)).input_tokens == 5000
    assert engine.requests == []


async def test_an_image_that_can_not_be_counted_is_named(connect: Connect) -> None:
    client, _ = await connect(ScriptedEngine())
    with pytest.raises(BadRequestError) as caught:
        await client.messages.count_tokens(model="scripted", messages=[user(text("a"), image(b"no image"))])
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["param"] == "messages.0.content.1"


async def test_any_content_type_is_read_as_json(connect: Connect) -> None:
    _, served = await connect(ScriptedEngine())
    body = json.dumps({"model": "scripted", "messages": HELLO})
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await served.client.post("/v1/messages?beta=true", content=body, headers=form)).status_code == 200
    page = await served.client.post("/v1/messages", content=body, headers={**form, "sec-fetch-site": "same-origin"})
    assert (page.status_code, page.json()["type"]) == (400, "error")


async def test_unknown_routes_answer_in_the_same_shape(connect: Connect) -> None:
    _, served = await connect(ScriptedEngine())
    response = await served.client.get("/v1/messages/batches")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")
    assert (await served.client.get("/v1/messages")).status_code == 405


async def test_images_of_a_tool_result_reach_the_model(connect: Connect, red_circle: bytes, blue_square: bytes) -> None:
    engine = ScriptedEngine(says("A square."))
    client, served = await connect(engine)
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("Here:"), image(blue_square)]}
    history: list[Any] = [user(image(red_circle), text("Now look.")), {"role": "assistant", "content": [call]}, user(result)]
    message = await client.messages.create(model="scripted", max_tokens=9, messages=history)
    (sent,) = engine.requests
    assert [(one.role, len(one.images)) for one in sent.messages] == [("user", 1), ("assistant", 0), ("tool", 1)]
    assert [len(rendition.pieces) for rendition in sent.shown] == [1, 1]
    own: Any = message.to_dict()["llava_gateway"]
    assert own["images"][0]["width"] == 112
    assert (await posted(served, path="/v1/messages/count_tokens", messages=history)).status_code == 200


async def test_images_keep_their_order_among_the_words(connect: Connect, red_circle: bytes, blue_square: bytes) -> None:
    engine = ScriptedEngine()
    _, served = await connect(engine)
    response = await posted(served, messages=[user(text("1:"), image(red_circle), text("2:"), image(blue_square), text("Which?"))])
    assert response.status_code == 200
    (message,) = engine.requests[0].messages
    assert [part.text if isinstance(part, TextPart) else type(part) for part in message.parts] == [
        "1:",
        ImagePart,
        "2:",
        ImagePart,
        "Which?",
    ]
    assert len(response.json()["llava_gateway"]["images"]) == 2


async def test_a_forced_tool_works_on_a_model_without_tools(connect: Connect) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.tools:
            raise ModelLacksTools().at("tools")
        yield TextDelta('{"at":"left"}' if request.format == TOOL["input_schema"] else "no format")
        yield Finish("stop", Tokens(9, 3))

    client, served = await connect(ScriptedEngine(script))
    forced: Any = {
        "model": "scripted",
        "max_tokens": 9,
        "messages": HELLO,
        "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "look"},
    }
    message = await client.messages.create(**forced)
    (block,) = message.content
    assert block.type == "tool_use"
    assert (block.name, block.input, message.stop_reason) == ("look", {"at": "left"}, "tool_use")
    async with client.messages.stream(**forced) as stream:
        (streamed_block,) = (await stream.get_final_message()).content
    assert streamed_block.type == "tool_use"
    assert (streamed_block.name, streamed_block.input) == ("look", {"at": "left"})
    with pytest.raises(BadRequestError):
        await client.messages.create(**{**forced, "tool_choice": {"type": "auto"}})
    assert (await posted(served, tools=[TOOL], tool_choice={"type": "none"})).status_code == 400


async def test_a_schema_is_parsed_by_the_client(connect: Connect) -> None:
    class Shape(BaseModel):
        colour: str

    engine = ScriptedEngine(says('{"colour": "red"}'))
    client, _ = await connect(engine)
    message = await client.messages.parse(model="scripted", max_tokens=9, messages=HELLO, output_format=Shape)
    assert message.parsed_output == Shape(colour="red")
    assert engine.requests[0].format is not None


async def test_the_default_model_answers_a_request_without_one(connect: Connect) -> None:
    _, served = await connect(ScriptedEngine())
    response = await served.client.post("/v1/messages", json={"messages": HELLO})
    assert response.json()["model"] == "scripted"
