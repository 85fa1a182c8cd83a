"""An answer belongs to its session: it can outlive its client, others can follow it, and any client can stop it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from llava_gateway.answers import Answer, Done
from llava_gateway.chat import ChatRequest, Message, TextDelta
from llava_gateway.gateway import running
from llava_gateway.parts import TextPart
from tests.api.conftest import Serve
from tests.api.described import Described
from tests.scripted_engine import ScriptedEngine, Speaker, says, says_then_waits
from tests.serving import Events, Served, until

ANSWER = Answer(id="answer_1", model="scripted", engine="ollama", session_id="a-session", text="One", finish_reason="stop")


async def follow(served: Served, session_id: str, stack: AsyncExitStack, **headers: str) -> Events:
    response = await stack.enter_async_context(served.client.stream("GET", f"/sessions/{session_id}/events", headers=headers))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = Events(response)
    if "Last-Event-ID" not in headers:
        assert await anext(events) == ("question", {"prompt": "Hi", "after": None, "model": None, "continues": None, "images": []})
    return events


async def ended(served: Served, session_id: str) -> dict[str, Any]:
    """Wait until the answer has ended. Returns the only turn of the session."""
    await until(lambda: served.gateway.answers.get(session_id) is None)
    (turn,) = await served.turns(session_id)
    return turn


async def test_an_answer_that_continues_outlives_its_client(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker))
    session_id = await served.session()
    speaker.say("One")
    async with served.stream(session_id=session_id, on_disconnect="continue") as events:
        await anext(events)
    await until(lambda: len(served.server.server_state.connections) <= 1)
    speaker.say(" two")
    speaker.end()
    turn = await ended(served, session_id)
    assert (turn["status"], turn["message"]["content"], turn["error_code"]) == ("complete", "One two", None)


async def test_everyone_who_follows_an_answer_gets_all_of_it(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker))
    session_id = await served.session()
    async with AsyncExitStack() as stack:
        speaker.say("One", " two")
        asker = await stack.enter_async_context(served.stream(session_id=session_id))
        assert [await anext(asker), await anext(asker)] == [("delta", {"text": "One"}), ("delta", {"text": " two"})]
        readers = [await follow(served, session_id, stack) for _ in range(3)]
        speaker.say(" three")
        speaker.end()
        heard = [await reader.rest() for reader in readers]
        assert [data["text"] for name, data in heard[0] if name == "delta"] == ["One", " two", " three"]
        assert heard[0][-1][0] == "done"
        assert heard[0] == heard[1] == heard[2]
        assert (await asker.rest())[-1] == heard[0][-1]


async def test_the_question_that_is_being_answered_is_told_as_described(serve: Serve, red_circle: bytes) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")))
    described = Described((await served.client.get("/openapi.json")).json())
    image_id = (await served.client.post("/images", files={"image": red_circle})).json()["id"]
    session_id = await served.session()
    async with served.stream(session_id=session_id, images=[{"image_id": image_id}]) as asker:
        await anext(asker)
        async with served.client.stream("GET", f"/sessions/{session_id}/events") as response:
            name, data = await anext(Events(response))
    assert (name, data["prompt"], [image["id"] for image in data["images"]]) == ("question", "Hi", [image_id])
    described.validate({"event": name, "data": data}, {"$ref": "#/components/schemas/FollowedEvent"})


async def test_a_reader_goes_on_behind_the_last_event_it_got(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker))
    session_id = await served.session()
    async with AsyncExitStack() as stack:
        speaker.say("One", " two")
        asker = await stack.enter_async_context(served.stream(session_id=session_id))
        await anext(asker)
        running_answer = served.gateway.answers.get(session_id)
        assert running_answer is not None
        behind = await follow(served, session_id, stack, **{"Last-Event-ID": f"{running_answer.key}-0"})
        of_another = await follow(served, session_id, stack, **{"Last-Event-ID": "00000000-0"})
        of_nothing = await follow(served, session_id, stack, **{"Last-Event-ID": "never"})
        speaker.end()
        assert await anext(behind) == ("delta", {"text": " two"})
        for events in (of_another, of_nothing):
            assert [await anext(events), await anext(events)][1] == ("delta", {"text": "One"})


async def test_each_event_has_an_id(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says("One", " two")))
    session_id = await served.session()
    body = {"prompt": "Hi", "session_id": session_id}
    response = await served.client.post("/ask", json=body, headers={"Accept": "text/event-stream"})
    ids = [line.removeprefix("id: ") for line in response.text.splitlines() if line.startswith("id: ")]
    assert [each.split("-")[1] for each in ids] == ["0", "1", "2"]
    assert len({each.split("-")[0] for each in ids}) == 1


async def test_where_nothing_is_answered_there_is_nothing_to_follow(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    session_id = await served.session()
    assert (await served.client.get(f"/sessions/{session_id}/events")).status_code == 204
    assert (await served.client.post(f"/sessions/{session_id}/cancel")).json() == {"cancelled": False}
    for method, what in (("GET", "events"), ("POST", "cancel")):
        response = await served.client.request(method, f"/sessions/unknown/{what}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "session_not_found")


@pytest.mark.parametrize("on_disconnect", ["cancel", "continue"])
async def test_a_stopped_answer_keeps_its_words_and_says_so_to_all(serve: Serve, on_disconnect: str) -> None:
    engine = ScriptedEngine(says_then_waits("Half of"))
    served = await serve(engine)
    session_id = await served.session()
    async with AsyncExitStack() as stack:
        asker = await stack.enter_async_context(served.stream(session_id=session_id, on_disconnect=on_disconnect))
        await anext(asker)
        reader = await follow(served, session_id, stack)
        response = await served.client.post(f"/sessions/{session_id}/cancel")
        assert response.json() == {"cancelled": True}
        assert engine.running == 0
        (turn,) = await served.turns(session_id)
        assert (turn["status"], turn["message"]["content"], turn["error_code"]) == ("cancelled", "Half of", None)
        for events in (asker, reader):
            name, body = (await events.rest())[-1]
            assert (name, body["error"]["code"]) == ("error", "answer_cancelled")
    assert (await served.client.post(f"/sessions/{session_id}/cancel")).json() == {"cancelled": False}


async def test_who_waits_for_the_whole_answer_is_told_that_it_was_stopped(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("Half of"))
    served = await serve(engine)
    session_id = await served.session()
    asking = asyncio.create_task(served.ask(session_id=session_id))
    await until(lambda: engine.running == 1)
    await served.client.post(f"/sessions/{session_id}/cancel")
    response = await asking
    assert (response.status_code, response.json()["error"]["code"]) == (409, "answer_cancelled")


async def test_an_answer_whose_client_left_says_why_it_ended(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("Half of"))
    served = await serve(engine)
    session_id = await served.session()
    async with AsyncExitStack() as stack:
        async with served.stream(session_id=session_id) as events:
            await anext(events)
            reader = await follow(served, session_id, stack)
        name, body = (await reader.rest())[-1]
        assert (name, body["error"]["code"], body["error"]["reason"]) == ("error", "answer_cancelled", "client_left")
    turn = await ended(served, session_id)
    assert (turn["status"], turn["error_code"]) == ("cancelled", "client_left")


async def test_an_answer_that_nobody_reads_ends_after_a_while(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("Half of"))
    served = await serve(engine, on_disconnect="continue", abandoned_timeout=0.05)
    session_id = await served.session()
    async with served.stream(session_id=session_id) as events:
        await anext(events)
    turn = await ended(served, session_id)
    assert (turn["status"], turn["error_code"]) == ("cancelled", "answer_abandoned")
    assert engine.running == 0


async def test_a_reader_keeps_an_answer_from_being_abandoned(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker), on_disconnect="continue", abandoned_timeout=0.5)
    session_id = await served.session()
    async with AsyncExitStack() as stack:
        speaker.say("One")
        async with served.stream(session_id=session_id) as events:
            await anext(events)
            reader = await follow(served, session_id, stack)
        answer = served.gateway.answers.get(session_id)
        assert answer is not None
        await until(lambda: len(answer._read_to) == 1)
        assert answer._alarm is None
        speaker.end()
        assert (await reader.rest())[-1][0] == "done"


async def test_only_a_session_can_keep_an_answer(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    response = await served.ask(on_disconnect="continue")
    error = response.json()["error"]
    assert (response.status_code, error["reason"], error["param"]) == (422, "on_disconnect_without_session", "on_disconnect")
    assert (await served.ask(on_disconnect="cancel")).status_code == 200
    assert (await served.ask(on_disconnect="stay")).json()["error"]["param"] == "on_disconnect"


async def test_a_form_can_say_it_too(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/ask", files={"prompt": (None, "Hi"), "on_disconnect": (None, "continue")})
    assert response.json()["error"]["reason"] == "on_disconnect_without_session"


async def test_a_second_question_finds_the_session_busy(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")))
    session_id = await served.session()
    async with served.stream(session_id=session_id, on_disconnect="continue") as events:
        await anext(events)
    response = await served.ask(session_id=session_id)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "session_busy")
    await served.client.post(f"/sessions/{session_id}/cancel")


async def test_the_next_question_may_follow_at_once(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says("One")))
    session_id = await served.session()
    for _ in range(5):
        async with served.stream(session_id=session_id) as events:
            while (await anext(events))[0] != "done":
                pass
            # Asked before the first stream is read to its end.
            response = await served.ask(session_id=session_id)
        assert response.status_code == 200


async def test_a_session_is_free_when_a_reader_gets_the_end() -> None:
    async def one_word(request: Any) -> AsyncGenerator[Any]:
        yield TextDelta("One")
        yield Done(ANSWER)

    answers = running.RunningAnswers(asking(one_word), 60)
    for _ in range(3):
        assert [event async for _, event in answers.start(chat_request()).read()] == [TextDelta("One"), Done(ANSWER)]


async def test_an_event_that_has_not_come_is_not_waited_for() -> None:
    async def one_word(request: Any) -> AsyncGenerator[Any]:
        yield TextDelta("One")
        yield Done(ANSWER)

    answer = running.RunningAnswers(asking(one_word), 60).start(chat_request())
    assert [number async for number, _ in answer.read(7)] == [0, 1]


async def test_an_answer_does_not_run_far_ahead_of_its_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LEAD", 3)
    said = 0

    async def floods(request: Any) -> AsyncGenerator[Any]:
        nonlocal said
        while True:
            said += 1
            yield TextDelta(str(said))

    answer = running.RunningAnswer(chat_request(), asking(floods), 60, lambda: None)
    events = answer.read()
    assert (await anext(events))[0] == 0
    for _ in range(100):
        await asyncio.sleep(0)
    assert said <= 6
    for _ in range(50):
        await anext(events)
    assert 50 <= said <= 60
    await answer.cancel("answer_cancelled")
    await events.aclose()


async def test_a_deleted_session_ends_an_answer_that_nobody_reads(serve: Serve) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await serve(engine)
    session_id = await served.session()
    async with served.stream(session_id=session_id, on_disconnect="continue") as events:
        await anext(events)
    await served.client.delete(f"/sessions/{session_id}")
    await engine.idle.wait()
    await until(lambda: served.gateway.answers.get(session_id) is None)


def chat_request() -> ChatRequest:
    return ChatRequest((Message("user", (TextPart("Hi"),)),), session_id="a-session")


def asking(script: Any) -> Any:
    @asynccontextmanager
    async def ask(request: Any) -> AsyncGenerator[Any]:
        async with aclosing(script(request)) as events:
            yield events

    return ask
