"""Reading a streamed answer: stop texts, token probabilities, and the repeated beginning of an answer.

tests/contract shows what real servers send. These lines were captured from them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, Logprob, Message, ReasoningDelta, TextDelta
from llava_gateway.engines.openai_answer import read_events
from llava_gateway.errors import UpstreamProtocolError
from llava_gateway.parts import ReasoningPart, TextPart
from tests.sample_images import ask

STOPS = ask("Hello", stop=("END", "USER:"))
BEGUN = replace(STOPS, messages=(*STOPS.messages, Message("assistant", (TextPart("It is "),))))


def chunk(content: str | None = None, finish: str | None = None, more: dict[str, Any] | None = None, **choice: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}], **(more or {})}


async def read(*chunks: dict[str, Any], request: EngineRequest = STOPS, echoes: bool = False) -> list[EngineEvent]:
    async def lines() -> AsyncIterator[bytes]:
        for each in chunks:
            yield b"data: " + json.dumps(each).encode()

    return [event async for event in read_events(lines(), failed=print, request=request, echoes=echoes)]


@pytest.mark.parametrize(
    ("last", "stop"),
    [
        (chunk(finish="stop", more={"__verbose": {"stopping_word": "USER:"}}), "USER:"),
        (chunk(finish="stop", more={"__verbose": {"stopping_word": ""}}), None),
        (chunk(finish="stop", stop_reason="END"), "END"),
        (chunk(finish="stop", stop_reason=2), None),
        (chunk(finish="stop", stop_reason=None), None),
        (chunk(finish="stop", matched_stop="END"), "END"),
        (chunk(finish="stop", matched_stop=151645), None),
        (chunk(finish="stop", stop_reason="<|im_end|>"), None),
        (chunk(finish="stop"), None),
    ],
    ids=["llama.cpp", "llama.cpp end", "vLLM", "vLLM token", "vLLM end", "SGLang", "SGLang token", "of the template", "not told"],
)
async def test_the_stop_text_that_ended_an_answer_is_named(last: dict[str, Any], stop: str | None) -> None:
    assert (await read(chunk("Hi"), last))[-1] == Finish("stop", stop=stop)


TOKEN = {
    "token": " red",
    "logprob": -0.5,
    "bytes": [32],
    "top_logprobs": [{"token": " red", "logprob": -0.5}, {"token": " a", "logprob": -1}],
}


@pytest.mark.parametrize(
    ("wanted", "read_as"),
    [
        (None, ()),
        (0, (Logprob(" red", -0.5),)),
        (1, (Logprob(" red", -0.5, ((" red", -0.5),)),)),
        (5, (Logprob(" red", -0.5, ((" red", -0.5), (" a", -1.0))),)),
    ],
)
async def test_as_many_alternatives_come_as_were_wanted(wanted: int | None, read_as: tuple[Logprob, ...]) -> None:
    request = replace(STOPS, logprobs=wanted)
    events = await read(chunk(" red", logprobs={"content": [TOKEN]}), chunk(finish="stop"), request=request)
    assert events == [TextDelta(" red", read_as), Finish("stop")]


@pytest.mark.parametrize("given", [[5], [{}], [{"token": "a", "logprob": "much"}], [{"token": "a", "logprob": 0, "top_logprobs": 5}]])
async def test_odd_probabilities_are_a_protocol_error(given: list[Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        await read(chunk("a", logprobs={"content": given}), request=replace(STOPS, logprobs=2))


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (("It is red", "."), ["red", "."]),
        (("It is ", "red"), ["red"]),
        (("Red", "It is red"), ["Red", "It is red"]),
        (("It is red", "It is big"), ["red", "It is big"]),
    ],
    ids=["with the first word", "alone", "not repeated", "said again"],
)
async def test_a_beginning_that_the_server_repeats_is_left_out(pieces: tuple[str, ...], told: list[str]) -> None:
    chunks = [*map(chunk, pieces), chunk(finish="stop")]
    events = await read(*chunks, request=BEGUN, echoes=True)
    assert [event.text for event in events if isinstance(event, TextDelta)] == told
    untouched = await read(*chunks, request=BEGUN, echoes=False)
    assert [event.text for event in untouched if isinstance(event, TextDelta)] == list(pieces)


async def test_a_thought_that_the_server_repeats_is_left_out() -> None:
    request = replace(STOPS, messages=(*STOPS.messages, Message("assistant", (ReasoningPart("Hm"),))))
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm, round"}, "finish_reason": None}]}
    assert await read(thought, chunk("A"), chunk(finish="stop"), request=request, echoes=True) == [
        ReasoningDelta(", round"),
        TextDelta("A"),
        Finish("stop"),
    ]
