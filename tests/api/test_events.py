"""One event stream tells everything that changes in the gateway, so that no client has to ask again and again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from llava_gateway.sessions.session import Session
from tests.api.conftest import Serve
from tests.api.described import Described
from tests.scripted_engine import ScriptedEngine, Speaker, says_then_waits
from tests.serving import Events, Served, until


@asynccontextmanager
async def news(served: Served, **headers: str) -> AsyncIterator[Events]:
    async with served.client.stream("GET", "/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


async def state(events: Events) -> dict[str, dict[str, Any]]:
    """Read the current state, with which every stream begins."""
    return dict([await anext(events) for _ in range(4)])


async def test_it_begins_with_the_current_state(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")))
    session_id = await served.session(title="Shapes")
    async with served.stream(session_id=session_id) as answer:
        await anext(answer)
        async with news(served) as events:
            told = await state(events)
    listed = await served.client.get("/sessions")
    assert told["ready"] == (await served.client.get("/readyz")).json()
    assert told["running"] == {"sessions": [session_id]}
    assert told["sessions"]["changed"] is None
    assert told["sessions"]["etag"] != listed.headers["etag"]  # the answer was kept meanwhile
    assert set(told) == {"ready", "models", "running", "sessions"}


async def test_events_come_as_described(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    described = Described((await served.client.get("/openapi.json")).json())
    schema = described.description["paths"]["/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]
    async with news(served) as events:
        told = await state(events)
        await served.session()
        changed = await anext(events)
    for name, data in (*told.items(), changed):
        described.validate({"event": name, "data": data}, schema)


async def test_a_change_of_the_list_is_told_with_its_tag_and_the_sessions(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    async with news(served) as events:
        told = await state(events)
        session_id = await served.session()
        created = await anext(events)
        await served.client.patch(f"/sessions/{session_id}", json={"title": "Shapes"})
        renamed = await anext(events)
        await served.client.delete(f"/sessions/{session_id}")
        deleted = await anext(events)
        await served.client.post(f"/sessions/{session_id}/restore")
        restored = await anext(events)
    changes = (created, renamed, deleted, restored)
    assert [(name, data["changed"]) for name, data in changes] == [("sessions", [session_id])] * 4
    assert len({told["sessions"]["etag"], *(data["etag"] for _, data in changes)}) == 5
    assert restored[1]["etag"] == (await served.client.get("/sessions")).headers["etag"]


async def test_the_beginning_and_the_end_of_an_answer_are_told(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker))
    session_id = await served.session()
    async with news(served) as events:
        await state(events)
        speaker.say("One")
        async with served.stream(session_id=session_id) as answer:
            await anext(answer)
            assert await anext(events) == ("running", {"sessions": [session_id]})
            speaker.end()
            told = dict([await anext(events), await anext(events)])
    assert told["running"] == {"sessions": []}
    assert told["sessions"]["changed"] == [session_id]
    assert told["sessions"]["etag"] == (await served.client.get("/sessions")).headers["etag"]


async def test_changes_of_the_engines_and_models_are_told(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine, engine_poll_interval=0.01)
    async with news(served) as events:
        revisions = [(await state(events))["models"]["revision"]]
        engine.up = False
        name, ready = await anext(events)
        assert (name, ready["ready"], ready["engines"][0]["ok"]) == ("ready", False, False)
        revisions.append((await anext(events))[1]["revision"])
        engine.up = True
        engine.installed = (replace(engine.installed[0], loaded=True),)
        name, ready = await anext(events)
        assert (name, ready["ready"], ready["model"]) == ("ready", True, "scripted")
        revisions.append((await anext(events))[1]["revision"])
    assert len(set(revisions)) == 3


async def test_many_changes_in_a_row_are_told_together(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    async with news(served) as events:
        await state(events)
        with_one, *others = [served.gateway.sessions.create(session).id for session in sessions(50)]
        name, data = await anext(events)
    assert (name, sorted(data["changed"])) == ("sessions", sorted((with_one, *others)))


async def test_all_readers_are_told(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    async with news(served) as one, news(served) as other:
        await state(one)
        await state(other)
        await served.session()
        assert await anext(one) == await anext(other)
    await until(lambda: not served.gateway.news._readers)


async def test_a_quiet_stream_is_kept_alive(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), ping_interval=0.05)
    async with news(served) as events:
        await state(events)
        waiting = asyncio.create_task(anext(events))
        await until(lambda: events.comments[:2] == [": ping", ": ping"])
        await served.session()
        assert (await waiting)[0] == "sessions"


async def test_it_ends_when_the_gateway_stops_and_does_not_delay_that(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), shutdown_grace=3600.0)
    async with news(served) as events:
        await state(events)
        served.server.should_exit = True
        (name, body), *more = await events.rest()
        assert (name, body["error"]["code"], more) == ("error", "shutting_down", [])
    await until(lambda: not served.server.server_state.connections)


async def test_no_new_stream_begins_while_the_gateway_stops(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")), shutdown_grace=3600.0)
    async with served.stream() as answer:
        await anext(answer)
        draining = asyncio.create_task(served.gateway.drain())
        await until(lambda: served.gateway.closing)
        response = await served.client.get("/events")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")
    await draining


async def test_a_reader_that_stalls_is_cut_off(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), stall_timeout=0.2)
    for session in sessions(2000):
        served.gateway.sessions.create(session)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", served.port))
        await asyncio.get_running_loop().sock_sendall(reader, b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await until(lambda: bool(served.gateway.news._readers))
        ids = [session.id for session in served.gateway.sessions.list()]

        def gone() -> bool:
            for session_id in ids:
                served.gateway.news.session_changed(session_id)
            return not served.gateway.news._readers

        await until(gone)
    assert (await served.client.get("/healthz")).status_code == 200


async def test_it_needs_the_key(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), api_key="secret")
    response = await served.client.get("/events")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    async with news(served, Authorization="Bearer secret") as events:
        assert (await state(events))["ready"]["ready"] is True


def sessions(count: int) -> list[Session]:
    return [Session(title=f"Session {number}") for number in range(count)]
