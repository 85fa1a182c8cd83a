"""Tests of /api/chat and /api/generate: what reaches the engine, and what the client gets, line by line."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from llava_gateway.api.ollama.memory import MOST_BYTES, Exchange, packed, unpacked
from llava_gateway.chat import (
    CompletionRequest,
    EngineEvent,
    EngineRequest,
    Finish,
    Loading,
    Logprob,
    Message,
    PromptProgress,
    ReasoningDelta,
    TextDelta,
    Timings,
    Tool,
    ToolCall,
    Usage,
)
from llava_gateway.errors import ContextLengthExceeded, UpstreamIncomplete
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from tests.api.conftest import Serve
from tests.scripted_engine import HELLO, Script, ScriptedEngine, says, says_then_waits
from tests.serving import Served

HI = [{"role": "user", "content": "Hi"}]


def lines(response: httpx2.Response) -> list[dict[str, Any]]:
    """Parse every line of a body; a blank one would be an error."""
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text[:-1].split("\n")]


async def chat(served: Served, **body: Any) -> httpx2.Response:
    return await served.client.post("/api/chat", json={"model": "scripted", "messages": HI, **body})


async def generate(served: Served, **body: Any) -> httpx2.Response:
    return await served.client.post("/api/generate", json={"model": "scripted", "prompt": "Hi", **body})


async def everything(_: EngineRequest) -> AsyncGenerator[EngineEvent]:
    """Send every kind of event."""
    yield PromptProgress(1, 2)
    yield ReasoningDelta("Hm.")
    yield TextDelta("Once ")
    yield TextDelta('"upon"', (Logprob("upon", -0.5, (("upon", -0.5), ("é", -1.5))),))
    yield ToolCall("call_1", "look", '{"at": "the sky"}')
    yield Finish("length", Usage(9, 3, 8), Timings(load_ms=1, prompt_ms=2, generation_ms=3))


async def test_chat_streams_lines_with_the_fields_of_ollama(serve: Serve) -> None:
    engine = ScriptedEngine(everything)
    engine.load = Loading("scripted")
    served = await serve(engine)
    *pieces, last = lines(await chat(served, logprobs=True, top_logprobs=2))
    assert [list(piece) for piece in pieces[:2]] == [["model", "created_at", "message", "done"]] * 2
    assert [piece["message"] for piece in pieces] == [
        {"role": "assistant", "content": "", "thinking": "Hm."},
        {"role": "assistant", "content": "Once "},
        {"role": "assistant", "content": '"upon"'},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "function": {"index": 0, "name": "look", "arguments": {"at": "the sky"}}}],
        },
    ]
    upon = {"token": "upon", "logprob": -0.5, "bytes": [117, 112, 111, 110]}
    assert pieces[2]["logprobs"] == [{**upon, "top_logprobs": [upon, {"token": "é", "logprob": -1.5, "bytes": [195, 169]}]}]
    assert list(last) == [
        *("model", "created_at", "message", "done", "done_reason", "total_duration", "load_duration"),
        *("prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration", "eval_count", "eval_duration"),
    ]
    assert last["message"] == {"role": "assistant", "content": ""}
    assert (last["done"], last["done_reason"], last["prompt_eval_count"], last["prompt_eval_cached_count"]) == (True, "length", 9, 8)
    assert (last["prompt_eval_duration"], last["eval_count"], last["eval_duration"]) == (2_000_000, 3, 3_000_000)


async def test_chat_in_one_body_has_everything(serve: Serve) -> None:
    served = await serve(ScriptedEngine(everything))
    response = await chat(served, stream=False, logprobs=True)
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer)[:7] == ["model", "created_at", "message", "done", "done_reason", "logprobs", "total_duration"]
    assert answer["message"]["content"] == 'Once "upon"'
    assert answer["message"]["thinking"] == "Hm."
    assert answer["message"]["tool_calls"][0]["function"]["arguments"] == {"at": "the sky"}
    assert answer["llava_gateway"]["timings"]["load_ms"] == 1


async def test_generate_streams_responses(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    *pieces, last = lines(await generate(served))
    assert [piece["response"] for piece in pieces] == ["Hello", " there."]
    assert [list(piece) for piece in pieces] == [["model", "created_at", "response", "done"]] * 2
    assert list(last)[:6] == ["model", "created_at", "response", "done", "done_reason", "context"]


async def test_the_object_of_the_gateway_comes_on_request(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    assert "llava_gateway" not in lines(await chat(served))[-1]
    asked = lines(await chat(served, llava_gateway=True, options={"mirostat": 1}, shift=False))
    assert [warning["values"]["option"] for warning in asked[-1]["llava_gateway"]["warnings"]] == ["mirostat", "shift"]


async def test_names_are_given_back_as_the_client_wrote_them(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/api/chat", json={"model": "", "name": "Scripted:latest", "messages": HI})
    assert {line["model"] for line in lines(response)} == {"Scripted:latest"}


async def test_any_content_type_is_json_unless_a_browser_sends_it(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    body = json.dumps({"model": "scripted", "messages": HI, "stream": False})
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await served.client.post("/api/chat", content=body, headers=form)).status_code == 200
    refused = await served.client.post("/api/chat", content=body, headers={**form, "sec-fetch-site": "same-origin"})
    assert refused.status_code == 400
    assert isinstance(refused.json()["error"], str)


async def test_null_means_not_there(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    nothing = dict.fromkeys(("options", "format", "keep_alive", "tools", "think", "stream", "logprobs", "suffix"))
    assert len(lines(await generate(served, **nothing, template="", system="", images=None))) == 3
    assert engine.requests[0].options == Options()


async def test_every_part_of_a_conversation_reaches_the_engine(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    called = {"function": {"name": "look", "arguments": {"at": "it"}}, "id": "call_1"}
    given = [
        {"role": "Developer", "content": "Be brief."},
        {"role": "user", "content": "What is it?", "images": [base64.b64encode(red_circle).decode()]},
        {"role": "assistant", "content": "", "thinking": "Let me look.", "tool_calls": [called]},
        {"role": "tool", "content": "a circle", "tool_name": "look", "tool_call_id": "call_1"},
    ]
    tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
    await chat(served, messages=given, tools=[tool], think="max", options={"temperature": 0.5, "stop": "x"}, keep_alive=90.5)
    request = engine.requests[0]
    system, user, assistant, result = request.messages
    assert system == Message("system", (TextPart("Be brief."),))
    assert [type(part) for part in user.parts] == [ImagePart, TextPart]
    assert assistant.parts == (ReasoningPart("Let me look."), ToolCallPart("call_1", "look", '{"at": "it"}'))
    assert result.parts == (ToolResultPart("call_1", "look"), TextPart("a circle"))
    assert request.tools == (Tool("look", "Looks.", {"type": "object"}),)
    assert (request.think, request.keep_alive, request.logprobs) == ("high", "90.500000s", None)
    assert request.options == Options(temperature=0.5, stop=("x",))


async def test_tool_calls_without_ids_get_them(serve: Serve) -> None:
    engine = ScriptedEngine()
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in ("look", "read", "look")]
    results = [{"role": "tool", "content": text, "tool_name": name} for text, name in (("a", "read"), ("b", ""), ("c", "look"), ("d", "x"))]
    await chat(await serve(engine), messages=[*HI, {"role": "assistant", "tool_calls": calls}, *results])
    _, assistant, *answers = engine.requests[0].messages
    assert [call.id for call in assistant.tool_calls] == ["call_1_0", "call_1_1", "call_1_2"]
    assert [message.parts[0] for message in answers] == [
        ToolResultPart("call_1_1", "read"),
        ToolResultPart("call_1_0", "look"),
        ToolResultPart("call_1_2", "look"),
        ToolResultPart("", "x"),
    ]


async def test_no_tools_means_none(serve: Serve) -> None:
    engine = ScriptedEngine()
    await chat(await serve(engine), tools=[])
    assert engine.requests[0].tools == ()


async def test_images_come_in_every_spelling(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    plain = base64.b64encode(red_circle).decode()
    spellings = [
        plain,
        f"data:image/png;base64,{plain}",
        plain.replace("+", "-").replace("/", "_").rstrip("="),
        {"data": plain},
        {"type": "Buffer", "data": list(red_circle)},
    ]
    for image in spellings:
        assert (await generate(served, images=[image])).status_code == 200, image
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": f"data:;base64,{plain}"}},
        {"type": "input_image", "image_url": plain},
        {"type": "text", "text": "this?"},
    ]
    assert (await chat(served, messages=[{"role": "user", "content": parts}])).status_code == 200
    sent = [piece.data for request in engine.requests for shown in request.shown for piece in shown.pieces]
    assert len(sent) == len(spellings) + 2
    assert len(set(sent)) == 1
    assert [type(part) for part in engine.requests[-1].messages[0].parts] == [TextPart, ImagePart, ImagePart, TextPart]


async def test_nothing_of_ours_is_added_to_a_conversation(serve: Serve, red_circle: bytes, blue_square: bytes) -> None:
    engine = ScriptedEngine()
    images = [base64.b64encode(image).decode() for image in (red_circle, blue_square)]
    await chat(await serve(engine), messages=[{"role": "user", "content": "Compare.", "images": images}])
    assert engine.requests[0].messages[0].text == "Compare."


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"num_predict": 0}, Options(num_predict=-1)),
        ({"num_predict": -2}, Options(num_predict=-1)),
        ({"seed": 2**32 + 7}, Options(seed=7)),
        ({"num_ctx": 4096.0, "stop": ["", "x"]}, Options(num_ctx=4096, stop=("x",))),
        ({"temperature": None, "numa": True}, Options()),
    ],
)
async def test_options_mean_what_they_mean_to_ollama(serve: Serve, given: dict[str, Any], meant: Options) -> None:
    engine = ScriptedEngine()
    await chat(await serve(engine), options=given)
    assert engine.requests[0].options == meant


@pytest.mark.wording
async def test_truncate_decides_what_a_long_conversation_becomes(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.context = 600
    served = await serve(engine)
    long = [{"role": role, "content": "word " * 150} for role in ("user", "assistant") * 3]
    for truncate in (None, False):
        refused = await chat(served, messages=[*long, *HI], truncate=truncate)
        assert refused.status_code == 400
        assert "600" in refused.json()["error"]
    last = lines(await chat(served, messages=[*long, *HI], truncate=True, llava_gateway=True))[-1]
    assert last["llava_gateway"]["context"]["dropped"]


async def test_an_image_without_a_prompt_is_a_question(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine(says("Red."))
    served = await serve(engine)
    answer = (await generate(served, prompt="", images=[base64.b64encode(red_circle).decode()], stream=False)).json()
    assert (answer["response"], answer["done_reason"]) == ("Red.", "stop")
    assert (len(engine.requests[0].images), engine.loads) == (1, [])


async def test_an_empty_request_loads_or_unloads_the_model(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    loaded = await chat(served, messages=[], options={"num_ctx": 2048}, keep_alive="10m")
    assert list(loaded.json()) == ["model", "created_at", "message", "done", "done_reason"]
    assert loaded.json()["done_reason"] == "load"
    (request,) = engine.loads
    assert (request.options, request.keep_alive) == (Options(num_ctx=2048), "10m")
    for keep_alive in (0, "0s", 0.0):
        unloaded = await generate(served, prompt="", keep_alive=keep_alive)
        assert (unloaded.json()["response"], unloaded.json()["done_reason"]) == ("", "unload")
    assert engine.unloaded == ["scripted"] * 3
    assert engine.requests == []


async def test_context_carries_the_conversation(serve: Serve, red_circle: bytes) -> None:
    engine = ScriptedEngine(says("A circle."))
    served = await serve(engine)
    first = await generate(served, prompt="What is it?", images=[base64.b64encode(red_circle).decode()], stream=False)
    context = first.json()["context"]
    assert all(0 <= number < 2**31 for number in context)
    second = await generate(served, prompt="Sure?", context=context, system="Be brief.", stream=False)
    system, *history, question = engine.requests[-1].messages
    assert [message.text for message in (system, *history, question)] == ["Be brief.", "What is it?", "A circle.", "Sure?"]
    assert [part.image_id for part in history[0].images] == [image["id"] for image in first.json()["llava_gateway"]["images"]]
    assert second.json()["context"][: len(context) - 1] == context[:-1]


async def test_images_of_a_context_that_are_gone_are_reported(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    context = packed([Exchange("What is it?", ("0" * 64,), "A circle.")])
    answer = (await generate(served, prompt="Sure?", context=context, stream=False)).json()
    assert [warning["code"] for warning in answer["llava_gateway"]["warnings"]] == ["context_images_gone"]


def test_a_long_conversation_gets_no_context() -> None:
    assert unpacked(packed([Exchange("é", (), "a" * 1000)])) == (Exchange("é", (), "a" * 1000),)
    assert packed([Exchange("Hi", (), "a" * MOST_BYTES)]) == []


@pytest.mark.parametrize("context", [[1, 2, 3], [0x6C6C76, 1], [0x6C6C76, -1], [0x6C6C76, 2**40]])
@pytest.mark.wording
async def test_a_context_of_another_server_is_rejected(serve: Serve, context: list[int]) -> None:
    response = await generate(await serve(ScriptedEngine()), context=context)
    assert response.status_code == 400
    assert "/api/chat" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "nope"}, "model 'nope' not found"),
        ({"model": ""}, "model is required"),
    ],
)
async def test_errors_that_clients_look_for(serve: Serve, body: dict[str, Any], said: str) -> None:
    served = await serve(ScriptedEngine())
    for ask in (chat, generate):
        response = await ask(served, **body)
        assert response.status_code == (404 if body["model"] else 400)
        assert response.json() == {"error": said}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "Hi"},
        {"messages": [{"role": "wizard", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
        {"messages": [{"role": "user", "content": "Hi", "images": ["/home/me/photo.jpg"]}]},
        {"messages": [{"role": "user", "content": "Hi", "images": [{"type": "Buffer", "data": [256]}]}]},
        {"messages": [{"role": "user", "content": "Hi", "images": [base64.b64encode(b"no image at all").decode()]}]},
        {"options": {"temperature": "hot"}},
        {"options": [1]},
        {"keep_alive": "soon"},
        {"format": "xml"},
        {"format": {"type": 7}},
        {"think": "hard"},
        {"tools": [{"type": "function"}]},
        {"logprobs": True, "top_logprobs": 21},
        {"stream": "yes"},
        {"_debug_render_only": True},
    ],
)
async def test_wrong_values_are_400_with_a_sentence(serve: Serve, body: dict[str, Any]) -> None:
    engine = ScriptedEngine()
    response = await chat(await serve(engine), **body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert isinstance(response.json()["error"], str)
    assert engine.requests == []


class CompletingEngine(ScriptedEngine):
    """A scripted engine that takes prompts outside of conversations too."""

    def __init__(self, script: Script = HELLO) -> None:
        super().__init__(script)
        self.prompts: list[CompletionRequest] = []

    @asynccontextmanager
    async def complete(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        self.prompts.append(request)
        async with self.chat(EngineRequest(request.model, ())) as events:
            yield events


async def test_special_prompts_reach_an_engine_that_takes_them(serve: Serve, red_circle: bytes) -> None:
    engine = CompletingEngine()
    served = await serve(engine, keep_alive="7m")
    image = base64.b64encode(red_circle).decode()
    *pieces, last = lines(await generate(served, prompt="[img-0] Hi", raw=True, images=[image], options={"top_k": 3}))
    assert [piece["response"] for piece in pieces] == ["Hello", " there."]
    assert list(last)[:5] == ["model", "created_at", "response", "done", "done_reason"]
    assert "context" not in last
    await generate(served, prompt="Hi", template="{{ .Prompt }}", system="Be brief.", suffix="!", stream=False)
    raw, templated = engine.prompts
    assert (raw.prompt, raw.raw, len(raw.images), raw.keep_alive, raw.options) == ("[img-0] Hi", True, 1, "7m", Options(top_k=3))
    assert (templated.template, templated.system, templated.suffix) == ("{{ .Prompt }}", "Be brief.", "!")


async def test_a_special_prompt_fails_as_a_question_does(serve: Serve) -> None:
    async def breaks(_: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Once")

    engine = CompletingEngine(breaks)
    served = await serve(engine)
    first, last = lines(await generate(served, raw=True))
    assert (first["response"], list(last)) == ("Once", ["error"])
    assert 'outcome="upstream_incomplete"' in (await served.client.get("/metrics")).text
    engine.refusal = ContextLengthExceeded(values={"n_prompt_tokens": 5000, "n_ctx": 4096})
    assert (await generate(served, raw=True)).status_code == 400


async def test_a_client_that_leaves_ends_a_special_prompt(serve: Serve) -> None:
    engine = CompletingEngine(says_then_waits("Once"))
    served = await serve(engine)
    body = {"model": "scripted", "prompt": "Hi", "raw": True}
    async with served.client.stream("POST", "/api/generate", json=body) as response:
        assert "Once" in await anext(response.aiter_lines())
    await engine.idle.wait()
    assert engine.running == 0


@pytest.mark.parametrize("field", [{"raw": True}, {"template": "{{ .Prompt }}"}, {"suffix": "}"}])
@pytest.mark.wording
async def test_special_prompts_are_400_for_other_engines(serve: Serve, field: dict[str, Any]) -> None:
    response = await generate(await serve(ScriptedEngine()), **field)
    assert response.status_code == 400
    assert response.json()["error"].startswith(next(iter(field)))


@pytest.mark.parametrize("beside", [{"system": "Be brief."}, {"template": "x"}, {"context": [1]}, {"images": [{"image_id": "0" * 64}]}])
@pytest.mark.wording
async def test_what_can_not_go_with_a_raw_prompt(serve: Serve, beside: dict[str, Any]) -> None:
    engine = CompletingEngine()
    response = await generate(await serve(engine), raw=True, **beside)
    assert (response.status_code, engine.prompts) == (400, [])
    assert next(iter(beside)) in response.json()["error"]


async def test_a_failure_in_a_stream_is_its_last_line(serve: Serve) -> None:
    async def breaks(_: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Once")
        raise UpstreamIncomplete

    served = await serve(ScriptedEngine(breaks))
    first, last = lines(await chat(served))
    assert first["message"]["content"] == "Once"
    assert list(last) == ["error"]
    assert isinstance(last["error"], str)


@pytest.mark.wording
async def test_a_failure_before_the_stream_is_a_status(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.refusal = ContextLengthExceeded(values={"n_prompt_tokens": 5000, "n_ctx": 4096})
    response = await chat(await serve(engine))
    assert response.status_code == 400
    assert "5000" in response.json()["error"]


async def test_a_format_is_followed(demo: httpx2.Client, red_circle: bytes) -> None:
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    body = {
        "model": "demo",
        "prompt": "What color is the circle?",
        "images": [base64.b64encode(red_circle).decode()],
        "format": schema,
        "stream": False,
        "options": {"num_predict": 60},
    }
    answer = demo.post("/api/generate", json=body).json()
    assert list(json.loads(answer["response"])) == ["colour"]
    words = demo.post("/api/generate", json={**body, "format": ""}).json()
    assert "red" in words["response"]


async def test_an_empty_list_of_parts_is_an_empty_message(serve: Serve) -> None:
    engine = ScriptedEngine()
    assert (await chat(await serve(engine), messages=[{"role": "user", "content": []}])).status_code == 200
    assert engine.requests[0].messages == (Message("user", (TextPart(""),)),)


def test_a_history_that_comes_again_is_in_the_cache(demo: httpx2.Client, red_circle: bytes) -> None:
    asked = {"role": "user", "content": "What color is the circle?"}
    shown = {**asked, "images": [base64.b64encode(red_circle).decode()]}
    body = {"model": "demo", "stream": False}
    first = demo.post("/api/chat", json={**body, "messages": [shown]}).json()
    second = demo.post("/api/chat", json={**body, "messages": [shown, first["message"], asked]}).json()
    assert first["message"]["content"] == second["message"]["content"] == "The circle is red."
    assert second["prompt_eval_cached_count"] >= first["prompt_eval_count"]
