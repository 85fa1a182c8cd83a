"""POST /v1/responses and what becomes of stored responses, with OpenAI's own client and types."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from llava_gateway.api.openai.responses_store import KEPT, ResponseStore
from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Logprob, Message, ReasoningDelta, TextDelta, ToolCall, Usage
from llava_gateway.errors import ModelLacksTools, NotFound, UpstreamDisconnected
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Upload
from tests.api.conftest import Serve
from tests.api.openai.conftest import ClientOf
from tests.api.openai.spoken import BLUE, RED, data_url, frames
from tests.scripted_engine import END, ScriptedEngine, says

RESPONSES = "/v1/responses"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": CITY}


def asks(*parts: Any) -> dict[str, Any]:
    """Return a message by the user: texts, and images as bytes."""
    content = [
        {"type": "input_text", "text": part}
        if isinstance(part, str)
        else {"type": "input_image", "image_url": data_url(part), "detail": "auto"}
        for part in parts
    ]
    return {"role": "user", "content": content}


def shown(message: Message) -> list[str]:
    def words(part: Part) -> str:
        return "image" if isinstance(part, ImagePart) else part.text if isinstance(part, TextPart) else str(part)

    return [words(part) for part in message.parts]


async def test_an_answer_is_a_response(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    body = {"model": "scripted", "input": "Hi", "instructions": "Be brief.", "metadata": {"a": "b"}, "max_output_tokens": 50, "top_p": 0.5}
    raw = (await served.client.post(RESPONSES, json=body)).json()
    response = TypeAdapter(Response).validate_python(raw)
    assert (response.status, response.output_text, response.incomplete_details) == ("completed", "Hello there.", None)
    assert (response.instructions, response.metadata, response.max_output_tokens, response.top_p) == ("Be brief.", {"a": "b"}, 50, 0.5)
    assert response.usage
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 2, 9)
    assert set(raw["llava_gateway"]) == {"images", "context", "warnings", "timings"}


async def test_items_become_messages(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    items = [
        {"role": "developer", "content": "Be brief."},
        asks("Look:", RED, "and", BLUE),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I should look."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "Here:"}, *asks(RED)["content"]]},
    ]
    response = await served.client.post(RESPONSES, json={"input": items, "instructions": "In English."})
    assert response.status_code == 200, response.text
    system, user, assistant, tool = engine.requests[0].messages
    assert shown(system) == ["In English.\n", "Be brief."]
    assert shown(user) == ["Look:", "image", "and", "image"]
    assert assistant.parts == (ReasoningPart("I should look."), TextPart("Wait."), ToolCallPart("c1", "look", "{}"))
    assert tool.parts[:2] == (ToolResultPart("c1", "look"), TextPart("Here:"))
    assert len(tool.images) == 1


async def test_options_reach_the_engine(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    body = {"input": "Hi", "temperature": 0, "top_p": 0.5, "max_output_tokens": 9, "num_ctx": 4096, "reasoning": {"effort": "low"}}
    assert (await served.client.post(RESPONSES, json=body)).status_code == 200
    assert engine.requests[0].options == Options(temperature=0, top_p=0.5, num_predict=9, num_ctx=4096)
    assert engine.requests[0].think == "low"


async def test_events_come_in_order_with_their_numbers(serve: Serve) -> None:
    async def speaks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield ReasoningDelta("Hm.")
        yield TextDelta("Red", (Logprob("Red", -0.1),))
        yield TextDelta(" circle.")
        yield ToolCall("c1", "look", '{"at": 1}')
        yield Finish("tool_calls", Usage(7, 4, 0))

    served = await serve(ScriptedEngine(speaks))
    response = await served.client.post(RESPONSES, json={"input": "Hi", "stream": True})
    events = frames(response.text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [line.removeprefix("event: ") for line in response.text.split("\n") if line.startswith("event: ")] == [
        event["type"] for event in events
    ]
    for event in events:
        TypeAdapter(ResponseStreamEvent).validate_python(event)
    assert [event["type"].removeprefix("response.") for event in events] == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_text.delta", "reasoning_text.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    done = events[-1]["response"]
    assert [item["type"] for item in done["output"]] == ["reasoning", "message", "function_call"]
    assert done["output"] == [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == [0, 1, 2]
    assert done["output"][1]["content"][0]["text"] == "Red circle."


async def test_the_client_helper_streams(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(await serve(ScriptedEngine()))
    async with client.responses.stream(model="scripted", input="Hi") as stream:
        words = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert (words, final.output_text, final.status) == (["Hello", " there."], "Hello there.", "completed")


async def test_an_answer_without_words_is_an_empty_message(serve: Serve) -> None:
    async def thinks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield ReasoningDelta("Hm.")
        yield END

    served = await serve(ScriptedEngine(thinks))
    events = frames((await served.client.post(RESPONSES, json={"input": "Hi", "stream": True})).text)
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]
    whole = (await served.client.post(RESPONSES, json={"input": "Hi"})).json()
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_answer_is_incomplete(serve: Serve, stream: bool) -> None:
    async def cut(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Hello")
        yield Finish("length", Usage(7, 1, 0))

    served = await serve(ScriptedEngine(cut))
    response = await served.client.post(RESPONSES, json={"input": "Hi", "stream": stream})
    body = response.json() if not stream else frames(response.text)[-1]["response"]
    if stream:
        assert frames(response.text)[-1]["type"] == "response.incomplete"
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][0]["status"] == "incomplete"
    TypeAdapter(Response).validate_python(body)


async def test_a_failure_in_a_stream_is_response_failed(serve: Serve) -> None:
    async def breaks(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("Hel")
        raise UpstreamDisconnected

    served = await serve(ScriptedEngine(breaks))
    events = frames((await served.client.post(RESPONSES, json={"input": "Hi", "stream": True})).text)
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.failed"
    failed = TypeAdapter(Response).validate_python(events[-1]["response"])
    assert failed.error
    assert (failed.status, failed.error.code) == ("failed", "server_error")


async def test_a_conversation_goes_on_with_its_image(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    client = client_of(await serve(engine))
    items: Any = [asks("What is this?", RED)]
    first = await client.responses.create(model="scripted", input=items, instructions="Be brief.")
    second = await client.responses.create(model="scripted", input="Which colour?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    question, answer, more = engine.requests[1].messages
    assert (shown(question), shown(answer), shown(more)) == (["What is this?", "image"], ["Hello there."], ["Which colour?"])
    third = await client.responses.create(model="scripted", input="Sure?", previous_response_id=second.id, store=False)
    assert len(engine.requests[2].messages) == 5
    with pytest.raises(NotFoundError) as caught:
        await client.responses.create(model="scripted", input="Sure?", previous_response_id=third.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_an_earlier_item_may_be_named(serve: Serve) -> None:
    """The AI SDK names what the model said instead of sending it again."""
    engine = ScriptedEngine()
    served = await serve(engine)
    first = (await served.client.post(RESPONSES, json={"input": "Hi"})).json()
    items = [asks("Hi"), {"type": "item_reference", "id": first["output"][0]["id"]}, asks("More")]
    assert (await served.client.post(RESPONSES, json={"input": items})).status_code == 200
    assert [shown(message) for message in engine.requests[1].messages] == [["Hi"], ["Hello there."], ["More"]]


async def test_a_stored_response_is_found_and_deleted(serve: Serve, client_of: ClientOf) -> None:
    served = await serve(ScriptedEngine())
    client = client_of(served)
    items: Any = [asks("What is this?", RED), {"role": "assistant", "content": "A circle."}, asks("Sure?")]
    made = await client.responses.create(model="scripted", input=items)
    found = await client.responses.retrieve(made.id)
    assert found.model_dump() == made.model_dump()
    listed = await client.responses.input_items.list(made.id, order="asc")
    rows = [item.model_dump() for item in listed.data]
    for row in (await served.client.get(f"{RESPONSES}/{made.id}/input_items")).json()["data"]:
        TypeAdapter(ResponseItem).validate_python(row)
    assert [row["role"] for row in rows] == ["user", "assistant", "user"]
    assert rows[0]["content"][1]["image_url"] == data_url(RED)
    page = await client.responses.input_items.list(made.id, order="asc", limit=1, after=rows[0]["id"])
    assert ([item.id for item in page.data], page.has_more) == ([rows[1]["id"]], True)
    assert (await served.client.get("/sessions")).json()["sessions"] == []
    await client.responses.delete(made.id)
    with pytest.raises(NotFoundError) as caught:
        await client.responses.retrieve(made.id)
    assert caught.value.code == "response_not_found"


async def test_tokens_are_counted_without_an_answer(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    client = client_of(await serve(engine))
    count = await client.responses.input_tokens.count(model="scripted", input="Hello there, how are you?")
    assert count.input_tokens > 0
    assert engine.requests == []


class Circle(BaseModel):
    colour: str


async def test_a_schema_is_parsed_by_the_client(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine(says('{"colour": "red"}'))
    client = client_of(await serve(engine))
    parsed = await client.responses.parse(model="scripted", input="Hi", text_format=Circle)
    assert parsed.output_parsed == Circle(colour="red")
    assert isinstance(engine.requests[0].format, dict)


async def test_one_forced_tool_works_on_a_model_without_tools(serve: Serve, client_of: ClientOf) -> None:
    async def lacks_tools(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        if request.tools:
            raise ModelLacksTools().at("tools")
        yield TextDelta('{"city": "Rome"}')
        yield END

    engine = ScriptedEngine(lacks_tools)
    client = client_of(await serve(engine))
    tools: Any = [WEATHER]
    made = await client.responses.create(model="scripted", input="Hi", tools=tools, tool_choice={"type": "function", "name": "weather"})
    (call,) = made.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Rome"}
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}]
    await client.responses.create(model="scripted", input=result, previous_response_id=made.id)
    _, called, told = engine.requests[-1].messages
    assert called.parts == (ToolCallPart(call.call_id, "weather", '{"city": "Rome"}'),)
    assert told.parts == (ToolResultPart(call.call_id, "weather"), TextPart("Sunny."))


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": None}, "invalid_request", "input"),
        ({"input": []}, "invalid_request", "input"),
        ({"input": ["Hi"]}, "invalid_request", "input[0]"),
        ({"input": [{"type": "item_reference", "id": "a"}]}, "not_found", "input[0].id"),
        ({"input": [{"type": "web_search_call", "id": "a"}]}, "invalid_request", "input[0].type"),
        ({"input": [{"role": "wizard", "content": "Hi"}]}, "invalid_request", "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "invalid_request", "input[0].content[0].image_url"),
        ({"input": [asks(RED[:60])]}, "image_parse_error", "input[0].content[0].image_url"),
        ({"input": [{"type": "function_call_output", "output": "a"}]}, "invalid_request", "input[0].call_id"),
        ({"conversation": "conv_1"}, "invalid_request", "conversation"),
        ({"background": True}, "invalid_request", "background"),
        ({"prompt": {"id": "p"}}, "invalid_request", "prompt"),
        ({"truncation": "some"}, "invalid_request", "truncation"),
        ({"max_output_tokens": 0}, "invalid_option", "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "invalid_format", "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "invalid_format", "text.format.type"),
        ({"reasoning": {"effort": "huge"}}, "invalid_option", "reasoning.effort"),
        ({"session_id": "abc"}, "conflicting_fields", "session_id"),
        ({"model": "nope"}, "model_not_found", "model"),
    ],
)
async def test_what_is_wrong_is_named(serve: Serve, body: dict[str, Any], code: str, param: str) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post(RESPONSES, json={"input": "Hi", **body})
    error = response.json()["error"]
    assert response.status_code in (400, 404), response.text
    assert (error["code"], error["param"]) == (code, param), error["message"]


async def test_an_overflow_is_refused_unless_it_may_be_cut(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    engine.context = 1024
    client = client_of(await serve(engine))
    turns: Any = [{"role": role, "content": "word " * 100} for _ in range(8) for role in ("user", "assistant")]
    items = [*turns, {"role": "user", "content": "And?"}]
    with pytest.raises(BadRequestError) as caught:
        await client.responses.create(model="scripted", input=items)
    assert caught.value.code == "context_length_exceeded"
    cut = await client.responses.create(model="scripted", input=items, truncation="auto")
    assert cut.model_extra
    assert cut.model_extra["llava_gateway"]["context"]["dropped"]


def test_the_store_is_bounded_and_forgets_in_time() -> None:
    now = 0.0
    store = ResponseStore(10_000, lambda: now)
    shared = (Message("user", (Upload(b"x" * 3000),)),)
    store.add({"id": "a", "output": []}, shared, shared)
    store.add({"id": "b", "output": []}, (), (*shared, Message("user", (TextPart("y" * 500),))))
    assert store.held == 2 * 2009 + 3000 + 500
    store.add({"id": "c", "output": []}, (), (Message("user", (TextPart("z" * 2000),)),))
    with pytest.raises(NotFound):
        store.get("a")
    assert store.held == 2 * 2009 + 3000 + 500 + 2000
    store.delete("b")
    assert store.held == 2009 + 2000
    now = KEPT + 1
    with pytest.raises(NotFound):
        store.get("c")


def test_the_store_counts_what_a_response_repeats() -> None:
    store = ResponseStore(10_000)
    for name in ("a", "b"):
        store.add({"id": name, "output": [], "metadata": {"note": "x" * 9000}}, (), (Message("user", (ReasoningPart("y" * 500),)),))
    with pytest.raises(NotFound):
        store.get("a")
    assert 9500 < store.held < 12_500
    store.delete("b")
    assert store.held == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata", {"note": "x" * 300_000}),
        ("user", "x" * 300_000),
        ("text", {"format": {"type": "text", "about": "x" * 300_000}}),
        ("tools", [{"type": "function", "name": "look", "description": "x" * 300_000}]),
    ],
)
async def test_what_a_response_repeats_has_a_limit(serve: Serve, field: str, value: Any) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/v1/responses", json={"model": "scripted", "input": "Hi", field: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
