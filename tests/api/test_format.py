"""JSON answers: a string of JSON, and a warning if it was cut off."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import httpx2
import pytest

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, TextDelta, Usage
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

SCHEMA = {"type": "object", "properties": {"shape": {"type": "string", "maxLength": 40}}, "required": ["shape"]}


def test_a_format_answer_is_a_string_of_json(demo: httpx2.Client, red_circle: bytes) -> None:
    form = {"prompt": "What is this?", "format": json.dumps(SCHEMA), "num_predict": "200"}
    answer = demo.post("/ask", files={"image": red_circle}, data=form).json()
    assert isinstance(json.loads(answer["message"]["content"])["shape"], str)
    assert "format_cut" not in [warning["code"] for warning in answer["warnings"]]


def test_json_that_was_cut_off_is_warned_of(demo: httpx2.Client) -> None:
    answer = demo.post("/ask", json={"prompt": "Hello", "format": SCHEMA, "options": {"num_predict": 2}}).json()
    assert (answer["finish_reason"], [warning["code"] for warning in answer["warnings"]]) == ("length", ["format_cut"])
    plain = demo.post("/ask", json={"prompt": "Hello", "options": {"num_predict": 1}}).json()
    assert (plain["finish_reason"], plain["warnings"]) == ("length", [])


@pytest.mark.parametrize(("text", "warned"), [('{"a": 1}', False), ('{"a": ', True)])
async def test_it_is_json_that_counts_and_the_session_keeps_the_warning(serve: Serve, text: str, warned: bool) -> None:
    async def script(_: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta(text)
        yield Finish("length", Usage(7, 2, 0))

    served = await serve(ScriptedEngine(script))
    session = await served.session(format="json")
    answer = (await served.client.post(f"/sessions/{session}/turns", json={"prompt": "Hi"})).json()
    assert [warning["code"] for warning in answer["warnings"]] == ["format_cut"] * warned
    assert (await served.turns(session))[0]["warnings"] == answer["warnings"]
