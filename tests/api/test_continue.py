"""An answer that was stopped, broke off or reached its length limit goes on in place: one turn, whose text grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, TextDelta, Timings, Usage
from llava_gateway.errors import GatewayError, UpstreamDisconnected, UpstreamUnavailable
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, Speaker, says, says_then_waits
from tests.serving import Served, until

LENGTH = Finish("length", Usage(7, 2, 0), Timings(prompt_ms=1.0, generation_ms=10.0))


def says_until(limit: Finish, *words: str) -> Any:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        yield limit

    return script


def breaks_after(*words: str) -> Any:
    async def script(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        for word in words:
            yield TextDelta(word)
        raise UpstreamDisconnected

    return script


async def go_on(served: Served, session_id: str, **body: Any) -> httpx2.Response:
    return await served.client.post(f"/sessions/{session_id}/continue", json=body)


async def cut_at(served: Served, engine: ScriptedEngine, *words: str, **body: Any) -> str:
    """Ask in a new session; the answer reaches its length limit. Returns the session's id."""
    session_id = await served.session()
    engine.script = says_until(LENGTH, *words)
    assert (await served.ask(session_id=session_id, **body)).json()["finish_reason"] == "length"
    return session_id


async def test_the_last_answer_of_a_full_session_can_go_on(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine, session_max_turns=1)
    session_id = await cut_at(served, engine, "One")
    engine.script = says(" two")
    assert (await go_on(served, session_id)).json()["message"]["content"] == "One two"
    assert (await served.ask(session_id=session_id)).json()["error"]["code"] == "session_full"


def test_the_rest_follows_the_model_s_own_words(demo: httpx2.Client, red_circle: bytes) -> None:
    """With the real llama.cpp, both parts together are the answer that it gives at once."""
    image_id = demo.post("/images", files={"image": red_circle}).json()["id"]
    question = {"prompt": "Describe this image.", "images": [{"image_id": image_id}], "options": {"temperature": 0}}
    whole = demo.post("/ask", json=question).json()["message"]["content"]
    session_id = demo.post("/sessions", json={}).json()["id"]
    question["options"] = {"temperature": 0, "num_predict": 3}
    cut = demo.post(f"/sessions/{session_id}/turns", json=question).json()
    assert cut["finish_reason"] == "length"
    assert whole.startswith(cut["message"]["content"])
    rest = demo.post(f"/sessions/{session_id}/continue", json={"options": {"num_predict": 64}}).json()
    assert (rest["message"]["content"], rest["finish_reason"], rest["turn_id"]) == (whole, "stop", cut["turn_id"])
    (turn,) = demo.get(f"/sessions/{session_id}").json()["turns"]
    assert (turn["message"]["content"], turn["status"], turn["images"][0]["id"]) == (whole, "complete", image_id)
    assert turn["usage"] == {name: cut["usage"][name] + part for name, part in _rest_of(turn, cut).items()}
    # The engine has all of it in its cache, but for the last tokens.
    assert _rest_of(turn, cut)["cached_tokens"] >= cut["usage"]["prompt_tokens"] - 1


def _rest_of(turn: dict[str, Any], cut: dict[str, Any]) -> dict[str, int]:
    return {name: count - cut["usage"][name] for name, count in turn["usage"].items()}


async def test_only_the_new_words_are_streamed_and_the_turn_grows_in_place(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A", " red")
    (before,) = await served.turns(session_id)
    engine.script = says(" circle", ".")
    response = await served.client.post(f"/sessions/{session_id}/continue", headers={"Accept": "text/plain"})
    assert response.text == " circle.\n"
    (turn,) = await served.turns(session_id)
    assert (turn["message"]["content"], turn["status"], turn["finish_reason"]) == ("A red circle.", "complete", "stop")
    same = ("id", "after", "siblings", "prompt", "created_at")
    assert [turn[name] for name in same] == [before[name] for name in same]
    asked = engine.requests[-1]
    assert [(message.role, message.text) for message in asked.messages] == [("user", "Hi"), ("assistant", "A red")]


async def test_tokens_and_times_are_sums_over_all_parts(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A")
    engine.script = says_until(Finish("stop", Usage(9, 5, 8), Timings(prompt_ms=2.0, generation_ms=30.0)), " circle.")
    answer = (await go_on(served, session_id)).json()
    (turn,) = await served.turns(session_id)
    assert turn["usage"] == answer["usage"] == {"prompt_tokens": 16, "completion_tokens": 7, "cached_tokens": 8}
    assert (turn["timings"]["prompt_ms"], turn["timings"]["generation_ms"]) == (3.0, 40.0)
    assert answer["context"]["used"] == 14
    assert (await served.client.get(f"/sessions/{session_id}")).json()["tokens"] == 14


async def test_what_is_unknown_of_a_part_is_unknown_of_the_turn(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine(breaks_after("A red")))
    session_id = await served.session()
    await served.ask(session_id=session_id)
    engine.script = says(" circle.")
    await go_on(served, session_id)
    (turn,) = await served.turns(session_id)
    assert (turn["status"], turn["error_code"], turn["message"]["content"]) == ("complete", None, "A red circle.")
    assert turn["usage"]["completion_tokens"] is None
    assert turn["timings"]["first_token_ms"] is not None


async def test_a_stopped_answer_goes_on_and_can_be_stopped_again(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await served.session()
    for path, words, so_far in (("turns", "One", "One"), ("continue", " two", "One two"), ("continue", " three", "One two three")):
        engine.script = says_then_waits(words)
        async with served.client.stream(
            "POST", f"/sessions/{session_id}/{path}", json={"prompt": "Hi"} if path == "turns" else {}, headers={"Accept": "text/plain"}
        ) as response:
            assert await anext(response.aiter_text()) == words
            await served.client.post(f"/sessions/{session_id}/cancel")
        (turn,) = await served.turns(session_id)
        assert (turn["message"]["content"], turn["status"], turn["error_code"]) == (so_far, "cancelled", None)


async def test_others_follow_it_and_know_which_turn_goes_on(serve: Serve) -> None:
    speaker = Speaker()
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A")
    engine.script = speaker
    asking = asyncio.create_task(go_on(served, session_id))
    speaker.say(" circle")
    await until(lambda: engine.running == 1)
    async with served.client.stream("GET", f"/sessions/{session_id}/events") as response:
        text = response.aiter_text()
        told = await anext(text)
        assert '"prompt":"Hi","after":null,"model":"scripted","continues":1' in told
        speaker.end()
        told += "".join([piece async for piece in text])
    assert '{"text":" circle"}' in told
    assert '"content":"A circle"' in told
    assert (await asking).status_code == 200


@pytest.mark.parametrize("failure", [breaks_after(), UpstreamUnavailable()], ids=["breaks", "refuses"])
async def test_a_continuation_that_fails_keeps_the_turn_as_it_was(serve: Serve, failure: Any) -> None:  # a script or an error
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A red")
    before = await served.turns(session_id)
    if isinstance(failure, GatewayError):
        engine.refusal = failure
    else:
        engine.script = failure
    assert (await go_on(served, session_id)).status_code >= 500
    assert await served.turns(session_id) == before


async def test_words_that_came_before_a_failure_are_kept(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A")
    engine.script = breaks_after(" red")
    assert (await go_on(served, session_id)).status_code == 502
    (turn,) = await served.turns(session_id)
    assert (turn["message"]["content"], turn["status"], turn["error_code"]) == ("A red", "incomplete", "upstream_disconnected")


async def test_options_of_the_turn_stay_in_effect(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A", options={"temperature": 0.5, "num_predict": 2})
    engine.script = says(" circle")
    await go_on(served, session_id, options={"num_predict": 64})
    options = engine.requests[-1].options
    assert (options.temperature, options.num_predict) == (0.5, 64)


@pytest.mark.parametrize(
    ("begun", "rest", "whole", "asked"),
    [
        ("A red", " circle.", "A red circle.", "Your last answer was cut off."),
        ("A red", "circle.", "A red circle.", "Your last answer was cut off."),
        ("一个红色", "的圆。", "一个红色的圆。", "你的上一个回答没有写完。"),
    ],
)
async def test_a_model_whose_template_closes_the_answer_is_asked_for_the_rest(
    serve: Serve, begun: str, rest: str, whole: str, asked: str
) -> None:
    served = await serve(engine := ScriptedEngine())
    engine.prefills = False
    session_id = await cut_at(served, engine, begun)
    engine.script = says(rest)
    assert (await go_on(served, session_id)).json()["message"]["content"] == whole
    question, answer, wish = engine.requests[-1].messages
    assert [(question.role, question.text), (answer.role, answer.text)] == [("user", "Hi"), ("assistant", begun)]
    assert wish.role == "user"
    assert wish.text.startswith(asked)
    (turn,) = await served.turns(session_id)
    assert (turn["prompt"], turn["message"]["content"]) == ("Hi", whole)


async def test_what_can_t_go_on_is_refused_with_the_reason(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await served.session()

    async def refusal(**body: Any) -> str:
        response = await go_on(served, session_id, **body)
        assert response.status_code == 422
        return str(response.json()["error"]["reason"])

    assert await refusal() == "nothing_to_continue"
    await served.ask(session_id=session_id)
    assert await refusal() == "answer_whole"
    engine.script = says_until(LENGTH, "A")
    await served.ask(session_id=session_id)
    assert await refusal(turn=1) == "turn_not_last"
    assert await refusal(prompt="Hi") == "no_field"
    assert (await go_on(served, "unknown")).json()["error"]["code"] == "session_not_found"
    engine.script = says(" circle")
    assert (await go_on(served, session_id, turn=2)).status_code == 200


async def test_a_turn_on_another_branch_goes_on_after_going_there(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A")
    engine.script = says("Another.")
    await served.ask(session_id=session_id, after=0)
    assert (await go_on(served, session_id, turn=1)).json()["error"]["reason"] == "turn_not_last"
    await served.client.patch(f"/sessions/{session_id}", json={"branch": 1})
    engine.script = says(" circle")
    await go_on(served, session_id, turn=1)
    (turn,) = await served.turns(session_id)
    assert (turn["id"], turn["siblings"], turn["message"]["content"]) == (1, [1, 2], "A circle")


async def test_the_next_question_gets_the_whole_answer(serve: Serve) -> None:
    served = await serve(engine := ScriptedEngine())
    session_id = await cut_at(served, engine, "A")
    engine.script = says(" circle")
    await go_on(served, session_id)
    await served.ask(session_id=session_id, prompt="And now?")
    assert [message.text for message in engine.requests[-1].messages] == ["Hi", "A circle", "And now?"]
