"""Answers in progress: queue places, clients that disconnect or stop reading, timers, pings, failures in the middle, and shutdown."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llava_gateway.api.native_frames import wanted_output_format
from llava_gateway.api.native_json import note_json
from llava_gateway.chat import EngineEvent, EngineRequest, Loading, PromptProgress, ReasoningDelta, TextDelta, ToolCall
from llava_gateway.errors import UpstreamDisconnected, UpstreamTimeout
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.clock import time_passes
from tests.contract.worlds import llama_children
from tests.scripted_engine import END, ScriptedEngine, says, says_then_waits
from tests.serving import Served, serving, until
from tests.synthetic_llava import ENDLESS, SyntheticPair, write_pair

FORMS = {"json": "application/json", "sse": "text/event-stream", "text": "text/plain"}


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPair:
    return write_pair(tmp_path_factory.mktemp("endless"))


def fails_after(*words: str) -> Any:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        raise UpstreamDisconnected

    return script


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/event-stream", "sse"),
        ("text/plain", "text"),
        ("text/html, text/plain;q=0.5", "text"),
        ("text/plain;q=0.5, text/event-stream;q=0.9", "sse"),
        ("text/event-stream;q=0, application/json;q=0.1", "json"),
        ("text/event-stream;q=nonsense", "sse"),
        ("image/*", "json"),
        (";;,,q=1", "json"),
    ],
)
def test_the_form_of_the_answer_is_what_accept_asks_for(accept: str, form: str) -> None:
    assert wanted_output_format(accept) == form


async def test_events_come_in_their_order_and_with_their_members(serve: Serve) -> None:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield PromptProgress(10, 20, 5)
        yield ReasoningDelta("Hm.")
        yield TextDelta(" A")
        yield TextDelta("\nb: é\r\n")
        yield ToolCall("1", "look", "{}")
        yield END

    engine, reason = ScriptedEngine(script), note("model_not_loaded", model="scripted")
    engine.load = Loading("scripted", reason, None)
    served = await serve(engine)
    async with served.stream() as events:
        *before, (last, answer) = await events.rest()
    assert before == [
        ("loading", {"model": "scripted", "reason": note_json(reason), "last_load_ms": None}),
        ("progress", {"processed": 10, "total": 20, "cached": 5}),
        ("reasoning", {"text": "Hm."}),
        ("delta", {"text": "A"}),
        ("delta", {"text": "\nb: é\r\n"}),
        ("tool_call", {"id": "1", "name": "look", "arguments": "{}"}),
    ]
    assert last == "done"
    assert answer["message"] == {"role": "assistant", "content": "A\nb: é\r\n", "reasoning": "Hm."}


async def test_words_arrive_when_they_are_said_and_not_later(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")
        await go_on.wait()
        yield END

    served = await serve(ScriptedEngine(script))
    async with served.stream() as events:
        assert await anext(events) == ("delta", {"text": "One"})
        go_on.set()
        assert (await anext(events))[0] == "done"
    go_on.clear()
    async with served.client.stream("POST", "/ask", json={"prompt": "Hi"}, headers={"Accept": "text/plain"}) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"One"
        go_on.set()
        assert b"".join([chunk async for chunk in chunks]) == b"\n"


async def test_who_waits_is_told_the_place_and_every_change_of_it(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine)
    async with served.stream() as first:
        await anext(first)
        async with served.stream() as second:
            assert await anext(second) == ("queued", {"position": 1})
            async with served.stream() as third:
                assert await anext(third) == ("queued", {"position": 2})
                await second.response.aclose()  # leaves the queue
                assert await anext(third) == ("queued", {"position": 1})
                engine.script = says("Three")
                await first.response.aclose()
                assert [name for name, _ in await third.rest()] == ["delta", "done"]
    assert len(engine.requests) == 2


@pytest.mark.parametrize("form", FORMS)
async def test_when_the_queue_is_full_the_next_is_sent_away_at_once(serve: Serve, form: str) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")), queue_size=1)
    async with served.stream() as first, served.stream() as second:
        await anext(first)
        await anext(second)
        session_id = await served.session()
        for _ in range(5):
            response = await served.client.post("/ask", json={"prompt": "Hi", "session_id": session_id}, headers={"Accept": FORMS[form]})
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["reason"]) == (503, "overloaded", "queue_full")
            assert 1 <= int(response.headers["retry-after"]) <= 60
        assert await served.turns(session_id) == []
        assert served.gateway.queues["ollama"].waiting == 1


@pytest.mark.parametrize("form", FORMS)
async def test_waiting_in_the_queue_has_an_end(serve: Serve, form: str) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")), queue_timeout=0.05)
    async with served.stream() as first:
        await anext(first)
        response = await served.client.post("/ask", json={"prompt": "Hi"}, headers={"Accept": FORMS[form]})
    if form == "sse":  # it already knows its place
        assert response.text.count("event: error") == 1
        assert '"code":"overloaded"' in response.text
    else:
        assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")


@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_leaves_frees_the_engine_at_once(serve: Serve, form: str) -> None:
    """Only the client's disconnecting can end the engine's work, which would otherwise never end."""
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine)
    session_id = await served.session()
    body = json.dumps({"prompt": "Hi", "session_id": session_id}).encode()
    head = f"POST /ask HTTP/1.1\r\nHost: localhost\r\nAccept: {FORMS[form]}\r\nContent-Type: application/json\r\n"
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: engine.running == 1)
        writer.close()
        await until(engine.idle.is_set)
        await until(lambda: not served.gateway.sessions.is_running(session_id))
    assert {turn["status"] for turn in await served.turns(session_id)} == {"cancelled"}
    assert served.gateway.queues["ollama"].active == 0


async def test_a_client_that_shuts_its_side_has_left(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b'POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"prompt":"Hi"}')
    await until(lambda: engine.running == 1)
    writer.write_eof()
    await until(lambda: (engine.running, served.gateway.queues["ollama"].active) == (0, 0))
    writer.close()


@pytest.mark.parametrize("form", ["json", "sse"])
async def test_a_real_engine_is_free_again_when_the_client_has_left(endless: SyntheticPair, form: str) -> None:
    """Otherwise the only slot would stay busy with an endless answer, and the next question would wait forever."""
    settings = Settings(port=0, gguf=endless.gguf, mmproj=endless.mmproj, models={"endless": {"num_ctx": 32768}}, token_gap_timeout=10)
    async with serving(settings) as served:
        body = {"prompt": "Hi", "options": ENDLESS}
        async with served.stream(options=ENDLESS) as events:
            while (await anext(events))[0] != "delta":
                pass
        if form == "json":
            asking = asyncio.create_task(served.client.post("/ask", json=body))
            await until(lambda: served.gateway.queues["embedded"].active == 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(20):  # the abandoned answer would take minutes
            answer = (await served.ask(options={**ENDLESS, "num_predict": 4})).json()
        assert answer["usage"]["completion_tokens"] == 4


async def test_five_hundred_clients_that_leave_at_once_leave_nothing_behind(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"), slots=8)
    served = await serve(engine, queue_size=1000)

    async def leaves() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b'POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"prompt":"Hi"}'
        )
        await writer.drain()
        await asyncio.sleep(0.001)
        writer.close()

    for _ in range(10):
        await asyncio.gather(*(leaves() for _ in range(50)))
    gate = served.gateway.queues["ollama"]
    await until(lambda: (gate.active, gate.waiting, engine.running) == (0, 0, 0))
    engine.script = says("Fine.")
    assert (await served.ask()).json()["message"]["content"] == "Fine."


async def test_a_client_that_never_reads_is_cut_off(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    said = 0

    async def floods(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        nonlocal said
        while True:
            yield TextDelta("x" * 10_000)
            said += 10_000
            await asyncio.sleep(0)

    caplog.set_level("INFO")
    engine = ScriptedEngine(floods)
    served = await serve(engine, stall_timeout=0.3)
    session_id = await served.session()
    body = json.dumps({"prompt": "Hi", "session_id": session_id}).encode()
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        head = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: engine.running == 1)
        await until(lambda: engine.running == 0)
        # The connection is closed too, although the client has still read nothing.
        await until(lambda: len(served.server.server_state.connections) <= 1)  # that of our own client
    assert "client_stalled" in caplog.text
    assert said < 16_000_000  # the buffers of the two sockets; then the engine is not read any more
    (turn,) = await served.turns(session_id)
    assert (turn["status"], len(turn["message"]["content"]) >= 10_000) == ("cancelled", True)


async def test_a_slow_reader_is_not_cut_off(serve: Serve) -> None:
    """All of it takes three times as long as the longest allowed pause."""
    served = await serve(ScriptedEngine(says(*["x" * 100_000] * 40)), stall_timeout=40)
    read = 0
    async with served.client.stream("POST", "/ask", json={"prompt": "Hi"}, headers={"Accept": "text/plain"}) as response:
        async for chunk in response.aiter_raw(65536):
            read += len(chunk)
            await time_passes(2)
    assert read == 4_000_001


async def test_a_quiet_stream_is_kept_alive_with_comments(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def quiet(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        await go_on.wait()
        yield END

    served = await serve(ScriptedEngine(quiet), ping_interval=0.02)
    async with served.stream() as events:
        rest = asyncio.create_task(events.rest())
        await until(lambda: len(events.comments) >= 2)
        go_on.set()
        assert [name for name, _ in await rest] == ["done"]
    assert events.comments[0] == ": ping"


@pytest.mark.parametrize(
    ("limits", "words", "status"), [({"first_token_timeout": 0.05}, (), 504), ({"token_gap_timeout": 0.05}, ("One",), 504)]
)
async def test_an_engine_that_falls_silent_is_given_up(serve: Serve, limits: dict[str, float], words: tuple[str, ...], status: int) -> None:
    engine = ScriptedEngine(says_then_waits(*words))
    served = await serve(engine, **limits)
    response = await served.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (status, "upstream_timeout")
    async with served.stream() as events:
        if not words:
            assert events.response.status_code == 504
        else:
            frames = await events.rest()
            assert [name for name, _ in frames] == ["delta", "error"]
            assert frames[-1][1]["status"] == 504
    assert engine.running == 0


async def test_after_a_ping_a_failure_is_an_event(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says_then_waits()), first_token_timeout=0.2, ping_interval=0.02)
    async with served.stream() as events:
        assert events.response.status_code == 200
        ((name, body),) = await events.rest()
    assert (name, body["error"]["code"]) == ("error", "upstream_timeout")


async def test_a_stream_that_fails_ends_with_exactly_one_error(serve: Serve) -> None:
    served = await serve(ScriptedEngine(fails_after("A circ")))
    session_id = await served.session()
    async with served.stream(session_id=session_id) as events:
        frames = await events.rest()  # the end of the chunks is clean, or this would raise
    assert [name for name, _ in frames] == ["delta", "error"]
    assert (frames[-1][1]["error"]["code"], frames[-1][1]["retryable"]) == ("upstream_disconnected", True)
    assert frames[-1][1]["instance"] == events.response.headers["x-request-id"]
    (turn,) = await served.turns(session_id)
    assert (turn["status"], turn["error_code"]) == ("incomplete", "upstream_disconnected")
    assert turn["message"] == {"role": "assistant", "content": "A circ"}


@pytest.mark.parametrize("form", FORMS)
async def test_a_failure_before_the_first_word_is_a_plain_error(serve: Serve, form: str) -> None:
    served = await serve(ScriptedEngine(fails_after()))
    response = await served.client.post("/ask", json={"prompt": "Hi"}, headers={"Accept": FORMS[form]})
    assert (response.status_code, response.headers["content-type"]) == (502, "application/problem+json")
    assert response.json()["error"]["code"] == "upstream_disconnected"


async def curl(served: Served, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", *arguments, f"{served.url}/ask", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_text_that_fails_ends_with_a_line_and_makes_curl_fail(serve: Serve) -> None:
    engine = ScriptedEngine(fails_after("A circ"))
    served = await serve(engine)
    status, text = await curl(served, "-H", "Accept: text/plain", "-F", "prompt=Hi")
    assert text == f"A circ\n[error upstream_disconnected] {UpstreamDisconnected().hint}\n"
    assert status == 18  # CURLE_PARTIAL_FILE
    engine.script = says("A circle.")
    assert await curl(served, "-H", "Accept: text/plain", "-F", "prompt=Hi") == (0, "A circle.\n")
    engine.refusal = UpstreamTimeout()
    status, _ = await curl(served, "-f", "-H", "Accept: text/plain", "-F", "prompt=Hi")
    assert status == 22  # CURLE_HTTP_RETURNED_ERROR


@pytest.mark.parametrize("form", FORMS)
async def test_a_bug_ends_one_answer_with_internal_error_and_no_other(serve: Serve, form: str, caplog: pytest.LogCaptureFixture) -> None:
    async def buggy(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        yield TextDelta("One")
        raise ZeroDivisionError("/etc/secret at 10.0.0.1")

    engine = ScriptedEngine(says_then_waits("Fine"), slots=2)
    served = await serve(engine)
    async with served.stream() as other:
        await anext(other)
        engine.script = buggy
        request = served.client.build_request("POST", "/ask", json={"prompt": "Hi"}, headers={"Accept": FORMS[form]})
        response = await served.client.send(request, stream=True)
        text = ""
        try:
            async for piece in response.aiter_text():
                text += piece
        except httpx2.RemoteProtocolError:
            assert form == "text"
        assert "internal_error" in text
        assert "secret" not in text
        assert "ZeroDivisionError" in caplog.text
        assert engine.running == 1


async def test_a_bug_outside_of_answers_is_told_in_the_same_words(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(ScriptedEngine())

    def broken() -> None:
        raise ZeroDivisionError("/etc/secret")

    monkeypatch.setattr(served.gateway.sessions, "list", broken)
    response = await served.client.get("/sessions")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert response.json()["instance"] == response.headers["x-request-id"]
    assert "content-security-policy" in response.headers
    assert "secret" not in response.text


async def test_the_engine_dies_in_the_middle_and_the_next_question_is_answered(endless: SyntheticPair) -> None:
    settings = Settings(port=0, gguf=endless.gguf, mmproj=endless.mmproj, models={"endless": {"num_ctx": 32768}})
    async with serving(settings) as served:
        session_id = await served.session()
        async with served.stream(session_id=session_id, options=ENDLESS) as events:
            while (await anext(events))[0] != "delta":
                pass
            (child,) = llama_children()
            os.kill(child, signal.SIGKILL)
            name, body = (await events.rest())[-1]
        assert (name, body["error"]["code"]) == ("error", "upstream_disconnected")
        (turn,) = await served.turns(session_id)
        assert (turn["status"], bool(turn["message"]["content"])) == ("incomplete", True)
        assert (await served.ask(options={"num_predict": 4})).status_code == 200


@pytest.fixture
def endless_process(endless: SyntheticPair, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start `serve` in its own process. Yields the process and its port."""
    code = (
        "import sys; from pathlib import Path; from llava_gateway.api.server import run; from llava_gateway.settings import Settings;"
        "settings = Settings(port=0, gguf=Path(sys.argv[1]), mmproj=Path(sys.argv[2]), shutdown_grace=float(sys.argv[3]),"
        " models={'endless': {'num_ctx': 65536}});"  # a small context is full within a moment
        "sys.exit(run(settings, lambda port, state: print(port, flush=True)))"
    )
    grace = "60"
    command = [sys.executable, "-c", code, str(endless.gguf), str(endless.mmproj), grace]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_signal_ends_streams_with_one_event_and_the_process_with_0(endless_process: tuple[subprocess.Popen[str], int]) -> None:
    process, port = endless_process
    headers = {"Accept": "text/event-stream"}
    body = {"prompt": "Hi", "options": {**ENDLESS, "num_predict": -1}}
    with (
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
        client.stream("POST", "/ask", json=body, headers=headers) as response,
    ):
        lines = response.iter_lines()
        while not next(lines).startswith("event: delta"):
            pass
        process.send_signal(signal.SIGTERM)
        for _ in range(50):  # it continues within the grace period
            next(lines)
        process.send_signal(signal.SIGTERM)
        events = [line for line in lines if line.startswith("event: ")]
        assert (events[-1], events.count("event: error"), events.count("event: done")) == ("event: error", 1, 0)
    assert process.wait(timeout=30) == 0, "it waits for the grace, which is longer"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("form", FORMS)
async def test_a_shutdown_ends_every_kind_of_answer(serve: Serve, form: str) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine, shutdown_grace=0.1)
    session_id = await served.session()
    request = served.client.build_request("POST", "/ask", json={"prompt": "Hi", "session_id": session_id}, headers={"Accept": FORMS[form]})
    sending = asyncio.create_task(served.client.send(request, stream=True))
    await until(lambda: engine.running == 1)
    served.server.handle_exit(signal.SIGTERM, None)
    response = await sending
    text = ""
    try:
        async for piece in response.aiter_text():
            text += piece
    except httpx2.RemoteProtocolError:
        assert form == "text"
    assert text.count("shutting_down") >= 1
    assert response.status_code == (503 if form == "json" else 200)
    assert engine.running == 0
    (turn,) = served.gateway.sessions.get(session_id).turns
    assert (turn.answer, turn.status, turn.error_code) == ("One", "incomplete", "shutting_down")


async def test_at_a_shutdown_new_questions_are_refused_and_nothing_is_ready(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    served.gateway.stop_accepting()
    refused = await served.ask()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert (await served.client.get("/readyz")).status_code == 503


async def test_a_client_that_never_reads_does_not_hold_up_the_shutdown(serve: Serve) -> None:
    async def floods(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        while True:
            yield TextDelta("x" * 10_000)
            await asyncio.sleep(0)

    engine = ScriptedEngine(floods)
    async with serving(Settings(port=0, shutdown_grace=0.1, stall_timeout=600), [engine]) as served:
        with closing(socket.create_connection(("127.0.0.1", served.port))) as client:
            head = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nContent-Type: application/json\r\n"
            client.sendall(head + b'Content-Length: 15\r\n\r\n{"prompt":"Hi"}')
            connections = served.server.server_state.connections
            await until(lambda: any(isinstance(one, HttpToolsProtocol) and one.flow.write_paused for one in connections))
            served.server.handle_exit(signal.SIGTERM, None)
            await until(lambda: engine.closed)
