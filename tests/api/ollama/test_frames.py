"""Tests of the bytes of a line."""

from __future__ import annotations

import json

from llava_gateway.api.ollama.frames import ChatFrames, GenerateFrames, go_time
from llava_gateway.chat import ReasoningDelta, TextDelta
from llava_gateway.errors import UpstreamIncomplete

AT = 1_700_000_000_000_000_000


def test_times_are_written_as_go_writes_them() -> None:
    assert go_time(AT) == "2023-11-14T22:13:20Z"
    assert go_time(AT + 500_000_000) == "2023-11-14T22:13:20.5Z"
    assert go_time(AT + 1) == "2023-11-14T22:13:20.000000001Z"


def test_each_line_has_its_own_time() -> None:
    times = iter([AT, AT + 1_000, AT + 1_000_000_000])
    frames = GenerateFrames("demo", stream=True, clock=lambda: next(times))
    lines = [frames.event(event) for event in (TextDelta("a"), ReasoningDelta("b"), TextDelta("c"))]
    assert lines[0] == b'{"model":"demo","created_at":"2023-11-14T22:13:20.000000000Z","response":"a","done":false}\n'
    assert [json.loads(line)["created_at"][17:] for line in lines] == ["20.000000000Z", "20.000001000Z", "21.000000000Z"]


def test_any_text_and_any_name_are_json() -> None:
    frames = ChatFrames('a"b\\é', stream=True)
    for text in ('"', "\\", "\n", "\u2028", "é", "😀", "\x00"):
        line = frames.event(TextDelta(text))
        assert line.count(b"\n") == 1
        found = json.loads(line)
        assert (found["model"], found["message"]["content"]) == ('a"b\\é', text)


def test_an_error_is_a_line_with_a_text() -> None:
    line = ChatFrames("demo", stream=True).failed(UpstreamIncomplete(), "req_1")
    assert line.endswith(b"\n")
    assert list(json.loads(line)) == ["error"]
