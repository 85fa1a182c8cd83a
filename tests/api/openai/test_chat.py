"""POST /v1/chat/completions: what is read of a request, and what is answered, with OpenAI's own client and types."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, TypeAdapter

from llava_gateway.chat import (
    EngineEvent,
    EngineRequest,
    Finish,
    Logprob,
    NamedTool,
    ReasoningDelta,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
)
from llava_gateway.errors import ModelLacksTools, UpstreamDisconnected
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from tests.api.conftest import Serve
from tests.api.openai.conftest import ClientOf
from tests.api.openai.spoken import BLUE, RED, b64, data_url, frames, image, text, user
from tests.scripted_engine import ScriptedEngine, Speaker, says, says_then_waits

CHAT = "/v1/chat/completions"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells the weather.", "parameters": CITY}}


def shown(parts: tuple[Part, ...]) -> list[str]:
    """Return the parts that an engine got: the words of a text, and "image" for an image."""
    return ["image" if isinstance(part, ImagePart) else part.text if isinstance(part, TextPart) else str(part) for part in parts]


async def test_an_answer_is_a_chat_completion(serve: Serve, client_of: ClientOf) -> None:
    served = await serve(ScriptedEngine())
    raw = await client_of(served).chat.completions.with_raw_response.create(
        model="scripted", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    )
    body = raw.http_response.json()
    answer = TypeAdapter(ChatCompletion).validate_python(body)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.model, answer.choices[0].message.content, answer.choices[0].finish_reason) == ("scripted", "Hello there.", "stop")
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 2, 9)
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert set(body["llava_gateway"]) == {"images", "context", "warnings", "timings"}
    assert raw.http_response.headers["x-request-id"]


async def test_chunks_are_of_their_type_and_end_with_done(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    body = {"model": "scripted", "messages": [user("Hi")], "stream": True}
    response = await served.client.post(CHAT, json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = frames(response.text)
    assert done == "[DONE]"
    for chunk in chunks:
        TypeAdapter(ChatCompletionChunk).validate_python(chunk)
        assert "usage" not in chunk
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": "", "refusal": None}, {"content": "Hello"}, {"content": " there."}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "llava_gateway" in chunks[-1]


async def test_usage_comes_last_if_it_is_asked_for(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(await serve(ScriptedEngine()))
    stream = await client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "Hi"}], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    last = chunks[-1]
    assert last.choices == []
    assert last.usage
    assert last.usage.total_tokens == 9
    assert last.model_extra
    assert "timings" in last.model_extra["llava_gateway"]


async def test_parts_stay_in_their_order_in_one_message(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    parts = [text("First"), image(RED), text("then"), image(BLUE), text("Compare.")]
    await served.client.post(CHAT, json={"messages": [user(*parts)]})
    (message,) = engine.requests[0].messages
    assert shown(message.parts) == ["First", "image", "then", "image", "Compare."]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": data_url(RED)}},
        {"type": "image_url", "image_url": data_url(RED)},
        {"type": "image_url", "image_url": {"url": data_url(RED, "IMAGE/PNG;charset=utf-8")}},
        {"type": "image_url", "image_url": {"url": data_url(RED, "application/octet-stream")}},
        {"type": "image_url", "image_url": {"url": data_url(RED, "")}},
        {"type": "image_url", "image_url": {"url": data_url(RED, "image/gif")}},
        {"type": "image_url", "image_url": {"url": b64(RED)}},
        {"type": "image_url", "image_url": {"url": b64(RED).rstrip("=").replace("+", "-").replace("/", "_")}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(RED)[:40]}\n{b64(RED)[40:]}"}},
        {"type": "input_image", "image_url": data_url(RED)},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(RED)}},
        {"type": "image", "image": b64(RED)},
        {"type": "file", "file": {"file_data": data_url(RED), "filename": "circle.png"}},
        {"type": "input_file", "file_data": data_url(RED), "filename": "circle.png"},
    ],
)
async def test_an_image_is_taken_in_every_spelling(serve: Serve, part: dict[str, Any]) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post(CHAT, json={"messages": [user(text("What?"), part)]})
    (found,) = response.json()["llava_gateway"]["images"]
    assert (found["width"], found["height"]) == (112, 112)


async def test_detail_decides_how_much_is_shown(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    for detail in ("low", "high", "original", "auto"):
        await served.client.post(CHAT, json={"messages": [user(text("What?"), image(RED, detail=detail))]})
    sights = [request.images[0].sight.detail for request in engine.requests]
    assert sights[:3] == ["low", "high", "high"]
    await served.client.post(CHAT, json={"messages": [user(text("What?"), image(RED))], "detail": "high"})
    assert engine.requests[-1].images[0].sight.detail == "high"


async def test_roles_arrive_as_they_are_meant(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        user("Look."),
        {"role": "assistant", "content": None, "reasoning_content": "I should.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [text("Here:"), image(RED)]},
        {"role": "system", "content": [text("In English.")]},
        user("And?"),
    ]
    response = await served.client.post(CHAT, json={"messages": messages})
    assert response.status_code == 200
    sent = engine.requests[0].messages
    assert [message.role for message in sent] == ["system", "user", "assistant", "tool", "system", "user"]
    assert sent[2].parts == (ReasoningPart("I should."), ToolCallPart("c1", "look", "{}"))
    assert sent[3].parts[:2] == (ToolResultPart("c1", "look"), TextPart("Here:"))
    assert len(sent[3].images) == 1


async def test_options_reach_the_engine(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    sent = {"temperature": 0, "top_p": 0.5, "seed": 7, "stop": "END", "max_completion_tokens": 50, "presence_penalty": 0.5}
    extras = {"frequency_penalty": 1, "top_k": 3, "num_ctx": 4096, "min_p": 0.1, "repeat_penalty": 1.2, "options": {"num_gpu": 1}}
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], **sent, **extras, "keep_alive": "10m"})
    assert response.status_code == 200, response.text
    assert engine.requests[0].options == Options(
        temperature=0,
        top_k=3,
        top_p=0.5,
        min_p=0.1,
        repeat_penalty=1.2,
        presence_penalty=0.5,
        frequency_penalty=1,
        num_predict=50,
        seed=7,
        stop=("END",),
        num_ctx=4096,
        num_gpu=1,
    )
    assert engine.requests[0].keep_alive == "10m"


async def test_what_is_absent_stays_absent(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    nothing: dict[str, Any] = {
        "temperature": None,
        "top_p": None,
        "stop": None,
        "max_tokens": None,
        "tools": [],
        "response_format": {"type": "text"},
    }
    response = await served.client.post(
        CHAT, json={"messages": [user("Hi")], "user": "me", "store": True, "metadata": {"a": "b"}, **nothing}
    )
    request = engine.requests[0]
    assert (request.options, request.tools, request.format) == (Options(), (), None)
    assert response.json()["llava_gateway"]["warnings"] == []


async def test_fields_without_effect_are_reported(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], "logit_bias": {"1": 5}, "verbosity": "low", "audio": None})
    (warning,) = response.json()["llava_gateway"]["warnings"]
    assert (warning["code"], warning["values"]["fields"]) == ("fields_ignored", ["logit_bias", "verbosity"])
    old = {"functions": [{"name": "weather"}], "tools": [WEATHER]}
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], **old})
    assert response.json()["llava_gateway"]["warnings"][0]["values"]["fields"] == ["functions"]
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], "detail": "high"})
    assert [warning["code"] for warning in response.json()["llava_gateway"]["warnings"]] == ["sight_ignored"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"messages": []}, "invalid_request", "messages"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, "invalid_request", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "invalid_request", "messages[0].content"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": []}]}},
            "invalid_request",
            "tool_choice",
        ),
        ({"messages": ["Hi"]}, "invalid_request", "messages[0]"),
        ({"messages": [user({"type": "input_audio"})]}, "invalid_request", "messages[0].content[0].type"),
        ({"messages": [user({"type": "text"})]}, "invalid_request", "messages[0].content[0].text"),
        ({"messages": [user({"type": "image_url"})]}, "invalid_request", "messages[0].content[0].image_url"),
        ({"messages": [user(image(RED, detail="ultra"))]}, "invalid_request", "messages[0].content[0].detail"),
        (
            {"messages": [user({"type": "image_url", "image_url": "file:///etc/passwd"})]},
            "invalid_base64_image",
            "messages[0].content[0].image_url",
        ),
        ({"messages": [user({"type": "file", "file": {"file_id": "file-none"}})]}, "file_not_found", "messages[0].content[0].file.file_id"),
        ({"max_tokens": 0}, "invalid_option", "max_tokens"),
        ({"max_completion_tokens": 0}, "invalid_option", "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "conflicting_fields", "max_completion_tokens"),
        ({"temperature": 3}, "invalid_option", "temperature"),
        ({"options": {"top_k": -5}}, "invalid_option", "options.top_k"),
        ({"n": 5}, "invalid_request", "n"),
        ({"stream": "yes"}, "invalid_request", "stream"),
        ({"top_logprobs": 3}, "invalid_request", "top_logprobs"),
        ({"reasoning_effort": "huge"}, "invalid_option", "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "invalid_format", "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "invalid_format", "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
            "invalid_format",
            "response_format.json_schema.schema",
        ),
        ({"tools": [{"type": "web_search"}]}, "invalid_request", "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "invalid_request", "tools[0].function.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "clock"}}}, "invalid_request", "tool_choice"),
        ({"tool_choice": "required"}, "invalid_request", "tool_choice"),
        ({"functions": [{"name": "weather"}]}, "invalid_request", "functions"),
        ({"messages": [user(text("a"), image(RED), image(BLUE))], "region": [0, 0, 0.5, 0.5]}, "invalid_region", "region"),
        ({"session_id": "none"}, "session_not_found", None),
        ({"on_disconnect": "continue"}, "invalid_request", "on_disconnect"),
    ],
)
async def test_what_is_wrong_is_named(serve: Serve, body: dict[str, Any], code: str, param: str | None) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], **body})
    error = response.json()["error"]
    assert response.status_code in (400, 404), response.text
    assert (error["code"], error["param"]) == (code, param), error["message"]
    assert set(error) == {"message", "type", "param", "code"}


async def test_a_bad_image_is_named_as_the_client_wrote_it(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(await serve(ScriptedEngine()))
    damaged = {"type": "image_url", "image_url": {"url": data_url(RED[:60])}}
    messages: Any = [
        {"role": "system", "content": "Hi"},
        user("a"),
        {"role": "assistant", "content": "b"},
        user(text("?"), image(BLUE), damaged),
    ]
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model="scripted", messages=messages)
    assert caught.value.param == "messages[3].content[2].image_url"
    assert caught.value.code == "image_parse_error"
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model="scripted", messages=messages[3:])
    assert caught.value.param == "messages[0].content[2].image_url"


async def test_a_missing_model_is_not_found(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(await serve(ScriptedEngine()))
    with pytest.raises(NotFoundError) as caught:
        await client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hi"}])
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_addresses_go_to_the_guarded_fetcher(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    link = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}
    response = await served.client.post(CHAT, json={"messages": [user(text("What?"), link)]})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (403, "fetching_off", "messages[0].content[1].image_url")


async def test_a_failure_in_a_stream_is_its_last_frame(serve: Serve, client_of: ClientOf) -> None:
    async def breaks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Hel")
        raise UpstreamDisconnected

    served = await serve(ScriptedEngine(breaks))
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], "stream": True})
    *_, word, failure = frames(response.text)
    assert word["choices"][0]["delta"] == {"content": "Hel"}
    assert (failure["error"]["code"], failure["error"]["type"]) == ("upstream_disconnected", "server_error")
    assert "[DONE]" not in response.text


async def test_a_quiet_stream_is_kept_alive_by_comments_alone(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker), ping_interval=0.05)
    async with served.client.stream("POST", CHAT, json={"messages": [user("Hi")], "stream": True}) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == ": ping"
        speaker.say("Hello")
        speaker.end()
        rest = [line async for line in lines if line]
    assert {line[:6] for line in rest} <= {": ping", "data: "}
    assert rest[-1] == "data: [DONE]"


async def test_a_failure_before_the_first_word_has_its_status(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.refusal = UpstreamDisconnected()
    served = await serve(engine)
    response = await served.client.post(CHAT, json={"messages": [user("Hi")], "stream": True})
    assert response.status_code == 502
    assert "x-should-retry" not in response.headers


async def test_a_client_that_leaves_stops_the_engine(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine(says_then_waits("Hello"))
    client = client_of(await serve(engine))
    stream = await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}], stream=True)
    async for _ in stream:
        break
    await stream.close()
    await engine.idle.wait()


async def test_too_long_a_conversation_is_refused_with_its_counts(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    engine.context = 512
    client = client_of(await serve(engine))
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "word " * 5000}])
    assert caught.value.code == "context_length_exceeded"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["n_ctx"] == 512


async def test_reasoning_and_probabilities_come_in_both_forms(serve: Serve) -> None:
    token = Logprob("Red", -0.1, (("Red", -0.1), ("Blue", -2.5)))

    async def thinks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield ReasoningDelta("Hm.")
        yield TextDelta("Red", (token,))
        yield Finish("length", Usage(7, 1, 3))

    served = await serve(ScriptedEngine(thinks))
    body = {"messages": [user("Hi")], "logprobs": True, "top_logprobs": 2, "reasoning_effort": "high"}
    whole = (await served.client.post(CHAT, json=body)).json()
    choice = TypeAdapter(ChatCompletion).validate_python(whole).choices[0]
    assert (choice.finish_reason, whole["choices"][0]["message"]["reasoning_content"]) == ("length", "Hm.")
    assert choice.logprobs
    assert choice.logprobs.content
    assert [top.token for top in choice.logprobs.content[0].top_logprobs] == ["Red", "Blue"]
    assert choice.logprobs.content[0].bytes == list(b"Red")
    chunks = frames((await served.client.post(CHAT, json={**body, "stream": True})).text)[:-1]
    assert chunks[1]["choices"][0]["delta"] == {"reasoning_content": "Hm."}
    assert chunks[2]["choices"][0]["logprobs"] == whole["choices"][0]["logprobs"]


async def test_several_answers_have_seeds_and_indexes_of_their_own(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    client = client_of(await serve(engine))
    answer = await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}], n=3, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [request.options.seed for request in engine.requests] == [5, 6, 7]
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 6)
    stream = await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}], n=2, stream=True)
    said: dict[int, str] = {}
    ended = []
    async for chunk in stream:
        choice = chunk.choices[0]
        said[choice.index] = said.get(choice.index, "") + (choice.delta.content or "")
        ended += [choice.index] if choice.finish_reason else []
    assert (said, ended) == ({0: "Hello there.", 1: "Hello there."}, [0, 1])


class Circle(BaseModel):
    colour: str


async def test_a_schema_is_parsed_by_the_client(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine(says('{"colour": ', '"red"}'))
    client = client_of(await serve(engine))
    answer = await client.chat.completions.parse(model="scripted", messages=[{"role": "user", "content": "Hi"}], response_format=Circle)
    assert answer.choices[0].message.parsed == Circle(colour="red")
    assert isinstance(engine.requests[0].format, dict)
    assert set(engine.requests[0].format["properties"]) == {"colour"}
    await client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": "Hi"}], response_format={"type": "json_object"}
    )
    assert engine.requests[1].format == "json"


async def calls(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    yield ToolCall("c1", "weather", '{"city": "Rome"}')
    yield ToolCall("", "weather", '{"city": "Oslo"}')
    yield Finish("tool_calls", Usage(7, 2, 0))


async def test_tools_are_passed_on_and_called(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine(calls)
    client = client_of(await serve(engine))
    asked: Any = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "tools": [WEATHER]}
    answer = await client.chat.completions.create(**asked, tool_choice={"type": "function", "function": {"name": "weather"}})
    assert engine.requests[0].tools == (Tool("weather", "Tells the weather.", CITY),)
    assert engine.requests[0].tool_choice == NamedTool("weather")
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].id == "c1"
    assert choice.message.tool_calls[1].id.startswith("call_")
    allowed: Any = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]},
    }
    stream = await client.chat.completions.create(**asked, stream=True, tool_choice=allowed)
    pieces = [call async for chunk in stream for call in (chunk.choices[0].delta.tool_calls or [])]
    assert [(piece.index, piece.function and piece.function.arguments) for piece in pieces] == [
        (0, '{"city": "Rome"}'),
        (1, '{"city": "Oslo"}'),
    ]


async def test_one_forced_tool_works_on_a_model_without_tools(serve: Serve, client_of: ClientOf) -> None:
    async def lacks_tools(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.tools:
            raise ModelLacksTools().at("tools")
        yield TextDelta('{"city": "Rome"}')
        yield Finish("stop", Usage(7, 2, 0))

    engine = ScriptedEngine(lacks_tools)
    client = client_of(await serve(engine))
    asked: Any = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "tools": [WEATHER]}
    answer = await client.chat.completions.create(**asked, tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
    assert engine.requests[-1].format == CITY
    stream = await client.chat.completions.create(**asked, tool_choice="required", stream=True)
    chunks = [chunk.choices[0] async for chunk in stream]
    assert [chunk.delta.content for chunk in chunks if chunk.delta.content] == []
    assert chunks[-1].finish_reason == "tool_calls"
    with pytest.raises(BadRequestError) as caught:
        await client.chat.completions.create(**asked)
    assert (caught.value.code, caught.value.param) == ("model_lacks_tools", "tools")


async def test_a_session_gets_what_is_new(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session = await served.session()
    client, history = client_of(served), [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    for _ in range(2):
        messages: Any = history
        answer = await client.chat.completions.create(model="scripted", messages=messages, extra_body={"session_id": session})
        history += [{"role": "assistant", "content": answer.choices[0].message.content or ""}, {"role": "user", "content": "More"}]
    assert [turn["prompt"] for turn in await served.turns(session)] == ["Hi", "More"]
    assert [message.role for message in engine.requests[1].messages] == ["system", "user", "assistant", "user"]


async def test_curl_needs_no_content_type_but_a_browser_does(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    body = json.dumps({"messages": [user("Hi")]})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await served.client.post(CHAT, content=body, headers=form)).status_code == 200
    refused = await served.client.post(CHAT, content=body, headers={**form, "Origin": served.url})
    assert refused.status_code == 400
