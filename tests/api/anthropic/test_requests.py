"""The body of /v1/messages as a request: messages, blocks, tools and options, and what is wrong with them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from llava_gateway.api.anthropic.requests import Asked, read_count, read_messages
from llava_gateway.chat import ChatRequest, NamedTool, Tool
from llava_gateway.errors import GatewayError, ImageError, InvalidRequest
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Link, ReasoningPart, Selection, TextPart, ToolCallPart, ToolResultPart, Upload
from llava_gateway.settings import Settings
from tests.api.anthropic.conftest import HELLO, base64_of, image, text, user

SETTINGS = Settings(prompt_max_chars=1000)
DATA = b"\x89PNG one"
ID = "ab" * 32
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


def asked(**body: Any) -> Asked:
    return read_messages({"model": "m", "max_tokens": 9, "messages": HELLO, **body}, SETTINGS)


def read(**body: Any) -> ChatRequest:
    return asked(**body).question


def parts(*content: dict[str, Any]) -> list[object]:
    (message,) = read(messages=[user(*content)]).messages
    return [*message.parts]


def refused(**body: Any) -> GatewayError:
    with pytest.raises((InvalidRequest, ImageError, GatewayError)) as caught:
        asked(**body)
    return caught.value


def test_the_order_of_messages_and_blocks_is_kept() -> None:
    request = read(
        system="Be brief.",
        messages=[
            user(text("a"), image(DATA), text("b"), image(DATA)),
            {"role": "assistant", "content": "c"},
            {"role": "system", "content": [text("d")]},
            {"role": "user", "content": "e"},
        ],
    )
    assert [(message.role, [type(part) for part in message.parts]) for message in request.messages] == [
        ("system", [TextPart]),
        ("user", [TextPart, Upload, TextPart, Upload]),
        ("assistant", [TextPart]),
        ("system", [TextPart]),
        ("user", [TextPart]),
    ]
    assert (request.model, request.annotate, request.session_id) == ("m", False, None)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"type": "base64", "media_type": "image/png", "data": base64_of(DATA)}, Upload(DATA)),
        ({"type": "base64", "data": f"data:image/png;base64,{base64_of(DATA)}"}, Upload(DATA)),
        ({"type": "url", "url": "https://host.example/a.png"}, Link("https://host.example/a.png")),
        ({"type": "url", "url": f"data:image/png;base64,{base64_of(DATA)}"}, Upload(DATA)),
        ({"type": "file", "file_id": ID}, ImagePart(ID)),
    ],
)
@pytest.mark.parametrize("block", ["image", "document"])
def test_a_source_becomes_an_image(block: str, source: dict[str, Any], part: object) -> None:
    assert parts({"type": block, "source": source, "cache_control": {"type": "ephemeral"}}) == [part]


def test_the_text_of_a_document_is_text() -> None:
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "T", "context": "C"}
    inside = {"type": "document", "source": {"type": "content", "content": [text("x"), image(DATA)]}}
    bare = {"type": "document", "source": {"type": "content", "content": "y"}}
    said = parts(plain, inside, bare)
    assert said == [TextPart("T"), TextPart("C"), TextPart("words"), TextPart("x"), Upload(DATA), TextPart("y")]


def test_a_client_may_choose_pages_and_detail() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "data": base64_of(DATA)}, "pages": "2-3", "detail": "low"}
    (page, picture) = parts(pdf, image(DATA, region=[0, 0, 0.5, 0.5]))
    assert isinstance(page, Upload)
    assert (page.selection, page.sight.detail) == (Selection(pages=((2, 3),)), "low")
    assert isinstance(picture, Upload)
    assert picture.sight.region == (0, 0, 0.5, 0.5)


def test_calls_results_and_thoughts_keep_their_places() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "é"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("seen"), image(DATA)], "is_error": False}
    other = {"type": "tool_result", "tool_use_id": "t2"}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    request = read(
        tools=[TOOL],
        messages=[*HELLO, {"role": "assistant", "content": [thought, hidden, text("a"), call]}, user(result, other, text("And?"))],
    )
    _, assistant, *rest = request.messages
    assert assistant.parts == (ReasoningPart("Hm."), TextPart("a"), ToolCallPart("t1", "look", '{"at": "é"}'))
    assert [(message.role, message.parts) for message in rest] == [
        ("tool", (ToolResultPart("t1", "look"), TextPart("seen"), Upload(DATA))),
        ("tool", (ToolResultPart("t2"),)),
        ("user", (TextPart("And?"),)),
    ]


def test_the_beginning_of_the_answer_is_the_last_message() -> None:
    assert read(messages=[*HELLO, {"role": "assistant", "content": "The"}]).messages[-1].role == "assistant"
    assert read(messages=[*HELLO, {"role": "assistant", "content": ""}]).messages[-1].role == "user"
    empty = read(messages=[*HELLO, {"role": "assistant", "content": []}, *HELLO])
    assert [message.role for message in empty.messages] == ["user", "assistant", "user"]


def test_options_have_our_names() -> None:
    request = read(max_tokens=5, temperature=0.5, top_p=0.9, top_k=4, stop_sequences=["a", "b"], seed=7, num_ctx=2048, keep_alive="5m")
    assert request.options == Options(num_predict=5, temperature=0.5, top_p=0.9, top_k=4, stop=("a", "b"), seed=7, num_ctx=2048)
    assert (request.keep_alive, request.names_stop) == ("5m", True)
    assert read(max_tokens=None, stop_sequences=[]).options == Options()
    assert read(max_tokens=10**6).options.num_predict == 131072


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (None, "auto"),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, NamedTool("look")),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, meant: object) -> None:
    request = read(tools=[{**TOOL, "type": "custom", "strict": True}], tool_choice=choice)
    assert request.tools == (Tool("look", "Looks.", {"type": "object"}),)
    assert request.tool_choice == meant


@pytest.mark.parametrize(
    ("thinking", "output", "think"),
    [
        (None, {"effort": "low"}, None),
        ({"type": "disabled"}, None, False),
        ({"type": "enabled", "budget_tokens": 2000}, None, True),
        ({"type": "adaptive"}, {"effort": "max"}, "high"),
    ],
)
def test_how_hard_the_model_thinks(thinking: Any, output: Any, think: object) -> None:
    assert read(thinking=thinking, output_config=output).think == think


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_schema_is_the_format(field: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    chosen = {"type": "json_schema", "schema": schema}
    assert read(**{field: chosen if field == "output_format" else {"format": chosen}}).format == schema


def test_fields_that_change_nothing_are_tolerated() -> None:
    request = read(metadata={"user_id": "u"}, service_tier="auto", cache_control={"type": "ephemeral"}, betas=["x"], fallbacks=[])
    assert request.warnings == ()


def test_other_unknown_fields_are_reported() -> None:
    (warning,) = read(context_management={"edits": [{}]}).warnings
    assert (warning.code, warning.values) == ("option_ignored", {"option": "context_management"})


def test_fields_inside_blocks_that_have_no_effect_are_reported() -> None:
    cited = {"type": "document", "source": {"type": "text", "data": "a"}, "citations": {"enabled": True}}
    plain = {**cited, "citations": {"enabled": False}}
    request = read(messages=[user(cited, plain)], output_config={"effort": "low"})
    assert [warning.values["option"] for warning in request.warnings] == ["output_config.effort", "citations"]
    assert read(thinking={"type": "adaptive"}, output_config={"effort": "low"}).warnings == ()


def test_the_model_is_told_that_a_tool_failed() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "No disk.", "is_error": True}
    assert read(messages=[user(result)]).messages[0].parts == (ToolResultPart("t1"), TextPart("Error:"), TextPart("No disk."))


def test_only_a_streamed_answer_needs_a_count_first() -> None:
    assert asked(stream=True).question.counted
    assert not asked().question.counted
    assert not read_count({"messages": HELLO}, SETTINGS).question.counted


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [user()]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages.0.role"),
        ({"messages": [user({"type": "video"})]}, "messages.0.content.0"),
        ({"messages": [user(text("a"), {"text": "b"})]}, "messages.0.content.1"),
        ({"messages": [user({"type": "text", "text": 3})]}, "messages.0.content.0.text"),
        ({"messages": [user({"type": "text", "text": "a" * 1001})]}, "messages.0.content.0.text"),
        ({"messages": [user({"type": "tool_use", "id": "a", "name": "b", "input": {}})]}, "messages.0.content.0"),
        ({"messages": [user({"type": "image", "source": {"type": "ftp"}})]}, "messages.0.content.0.source"),
        ({"messages": [user({"type": "image", "source": {"type": "base64"}})]}, "messages.0.content.0.source.data"),
        ({"messages": [user({"type": "image", "source": {"type": "url"}})]}, "messages.0.content.0.source.url"),
        ({"messages": [user({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}})]}, "messages.0.content.0.source"),
        ({"messages": [user({"type": "image", "source": {"type": "base64", "data": "!"}})]}, "messages.0.content.0.source"),
        ({"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]}, "messages.0.content.0.source.file_id"),
        ({"messages": [user({"type": "document", "source": {"type": "text"}})]}, "messages.0.content.0.source.data"),
        ({"messages": [user({"type": "document", "source": {"type": "content"}})]}, "messages.0.content.0.source.content"),
        ({"messages": [{"role": "system", "content": [{"type": "image"}]}, *HELLO]}, "messages.0.content.0"),
        ({"system": [{"type": "image"}]}, "system.0"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_k": "x"}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
        ({"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]}, "tools.1"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "must"}}, "tool_choice.type"),
        ({"mcp_servers": [{"url": "https://host.example"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"stream": "yes"}, "stream"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "odd"}}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:40],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    assert refused(**body).param == param


def test_the_image_at_fault_is_named_in_the_words_of_the_body() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [text("seen"), image(DATA)]}
    several = asked(system="S", messages=[user(result, text("a"), image(DATA)), {"role": "assistant", "content": "b"}, *HELLO])
    one = asked(messages=[user(text("a"), image(DATA), image(DATA))])
    found = [several.placed(ImageError().at("message", place, "image", 0)).param for place in range(5)]
    assert found == [None, "messages.0.content.0.content.1", "messages.0.content.2", None, None]
    assert one.placed(ImageError().at("image", 1)).param == "messages.0.content.2"
    assert one.placed(ImageError().at("image", 9)).param is None
    assert one.placed(ImageError().at("model")).param == "model"


def test_an_image_in_base64_is_decoded_once() -> None:
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "PNG")
    assert parts(image(file.getvalue())) == [Upload(file.getvalue())]
