"""A session's defaults apply to its turns, and a turn's own values take precedence."""

from __future__ import annotations

from typing import Any

import pytest

from llava_gateway.chat import EngineRequest
from llava_gateway.options import Options
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served

PRESETS = {"receipts": {"temperature": 0.0, "top_k": 5, "glossary": ["SKU: stock number"]}}
SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}}}


async def request_for_turn(served: Served, engine: ScriptedEngine, session: str, **body: Any) -> EngineRequest:
    """Return the request that the engine gets for a turn of the session."""
    assert (await served.ask(session_id=session, **body)).status_code == 200
    return engine.requests[-1]


async def change(served: Served, session: str, **body: Any) -> dict[str, Any]:
    response = await served.client.patch(f"/sessions/{session}", json=body)
    assert response.status_code == 200, response.text
    changed: dict[str, Any] = response.json()
    return changed


async def test_options_of_a_session_hold_in_its_turns_and_those_of_a_turn_win(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine, preset="receipts", presets=PRESETS)
    session = await served.session(options={"temperature": 0.4, "stop": ["END"], "keep_alive": "1h"}, format=SCHEMA)
    first = await request_for_turn(served, engine, session)
    assert first.options == Options(temperature=0.4, top_k=5, stop=("END",))
    assert (first.format, first.keep_alive) == (SCHEMA, "1h")
    second = await request_for_turn(served, engine, session, options={"temperature": 1, "stop": None}, keep_alive=0, format=None)
    assert second.options == Options(temperature=1, top_k=5)
    assert (second.format, second.keep_alive) == (None, 0)
    changed = await change(served, session, options={"seed": 1}, format=None)
    assert (changed["options"], changed["format"]) == ({"seed": 1}, None)
    assert (await request_for_turn(served, engine, session)).options == Options(temperature=0.0, top_k=5, seed=1)


async def test_a_preset_that_a_turn_names_wins_over_the_sessions_options(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine, presets=PRESETS)
    session = await served.session(preset="balanced", options={"temperature": 1.5, "seed": 7})
    assert (await request_for_turn(served, engine, session)).options.temperature == 1.5
    told = (await request_for_turn(served, engine, session, preset="receipts")).options
    assert (told.temperature, told.top_k, told.seed) == (0.0, 5, 7)


async def test_the_glossary_of_a_preset_comes_and_goes_with_it(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine, presets=PRESETS)
    session = await served.session()
    assert (await change(served, session, preset="receipts"))["glossary"] == ["SKU: stock number"]
    assert "SKU: stock number" in (await request_for_turn(served, engine, session)).messages[0].text
    assert (await change(served, session, preset="balanced"))["glossary"] == []
    await change(served, session, glossary=["VAT: tax"])
    assert (await change(served, session, preset="factual"))["glossary"] == ["VAT: tax"]
    back = await change(served, session, preset=None, policy=None)
    assert (back["preset"], back["policy"], back["glossary"]) == (None, None, ["VAT: tax"])


async def test_the_detail_of_a_session_is_that_of_its_images(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    session = await served.session(detail="high")
    path = f"/sessions/{session}"
    kept = (await served.client.get(path)).json()
    assert {name: kept[name] for name in ("preset", "options", "detail", "format")} == {
        "preset": None,
        "options": {},
        "detail": "high",
        "format": None,
    }
    fork = (await served.client.post(f"{path}/fork")).json()
    assert fork["detail"] == "high"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"options": {"temperature": 3}}, "options.temperature"),
        ({"options": {"warmth": 1}}, "options.warmth"),
        ({"options": {"keep_alive": "soon"}}, "keep_alive"),
        ({"options": {"image_size": [1]}}, "options.image_size"),
        ({"preset": "mine"}, "preset"),
        ({"format": {"type": 5}}, "format"),
        ({"detail": "most"}, "detail"),
    ],
)
async def test_what_no_turn_could_be_asked_with_is_refused_at_once(serve: Serve, body: dict[str, Any], param: str) -> None:
    served = await serve(ScriptedEngine())
    session = await served.session()
    for response in (await served.client.post("/sessions", json=body), await served.client.patch(f"/sessions/{session}", json=body)):
        assert (response.status_code in (400, 422), response.json()["error"]["param"]) == (True, param)
