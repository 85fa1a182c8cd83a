"""JSON is parsed as Python parses it, whatever its length, even if its long texts are taken out and put back."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.api import documents
from llava_gateway.api.documents import OF_A_BODY, Bounds, parse_json
from llava_gateway.api.threads import LARGE
from llava_gateway.errors import BodyTooLarge, InvalidJSON, InvalidRequest

LETTERS = ["a", "é", "图", "𝄞", '"', "\\", "/", "\n", "\t", "{", "[", ",", ":", " ", "0"]


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a text of a few letters a long one that is read in many steps."""
    monkeypatch.setattr(documents, "LONG_TEXT", 8)
    monkeypatch.setattr(documents, "_STEP", 16)


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.choice(["text", "text", "number", "list", "object"] if depth < 4 else ["text", "number"])
    if kind == "text":
        return "".join(rng.choices(LETTERS[: rng.choice([1, 4, len(LETTERS)])], k=rng.choice([0, 3, 9, 40, 300])))
    if kind == "number":
        return rng.choice([0, -1, 1.5, 1e300, True, False, None])
    if kind == "list":
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {f"{number}{'k' * rng.randrange(5)}": value(rng, depth + 1) for number in range(rng.randrange(5))}


@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize("seed", range(100))
def test_documents_are_read_as_python_reads_them(seed: int) -> None:
    rng = random.Random(seed)
    made = value(rng)
    written = json.dumps(made, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    if rng.random() < 0.5:
        written = written.replace("/", "\\/")
    assert parse_json(written.encode(), bounds=Bounds(10_000, 1_000_000)) == made


@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize("seed", range(100))
def test_damaged_documents_are_refused_as_python_refuses_them(seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(json.dumps([value(rng), "text" * 20], ensure_ascii=False).encode())
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(raw))
        raw[at : at + rng.randrange(3)] = rng.choice([b"", b'"', b"\\", b"\\u00", b"\\ud800", b"\x01", b"\xff", b"\xe5", b",", b"]", b" "])
    try:
        json.dumps(json.loads(raw), ensure_ascii=False).encode()
        fine = True
    except ValueError:
        fine = False
    if fine:
        assert parse_json(bytes(raw), bounds=Bounds(10_000, 1_000_000)) == json.loads(bytes(raw))
        return
    with pytest.raises(InvalidRequest) as refused:
        parse_json(bytes(raw), bounds=Bounds(10_000, 1_000_000))
    assert len(str(refused.value.values)) < 200


def test_values_are_counted_outside_of_texts() -> None:
    most = OF_A_BODY.values
    assert len(parse_json(b"[%b0]" % (b"0," * (most - 1)))) == most
    for many in (b"[%b0]" % (b"0," * most), b"[%b]" % (b"[]," * most), b'{"a":[%b""]}' % (b'"",' * most)):
        with pytest.raises(InvalidJSON) as refused:
            parse_json(many)
        assert (refused.value.reason, refused.value.values["most"]) == ("json_values", most)
    text = '[{,"\\' * most
    assert parse_json(json.dumps([text]).encode()) == [text]


def test_what_stands_beside_long_texts_is_bounded() -> None:
    for blanks in (b"[%b]" % (b" " * OF_A_BODY.size), b'["%b",%b1]' % (b"A" * 2000, b"\n" * OF_A_BODY.size)):
        with pytest.raises(InvalidJSON) as refused:
            parse_json(blanks)
        assert refused.value.reason == "json_bytes"


@pytest.mark.parametrize("part", [b"A", b"\\n"])
def test_the_longest_text_is_bounded(part: bytes) -> None:
    bounds = replace(OF_A_BODY, text=1_000_000)
    document = b'{"a":"%b"}'
    taken = part * ((bounds.text - 1) // len(part))
    assert len(parse_json(document % taken, bounds=bounds)["a"]) == len(taken) // len(part)
    with pytest.raises(BodyTooLarge) as refused:
        parse_json(document % (taken + part), bounds=bounds)
    assert (refused.value.reason, refused.value.values) == ("json_text_bytes", {"most_bytes": bounds.text})


def test_a_long_name_is_no_field() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(b'{"%b" :1}' % (b"x" * 100_000))
    assert (refused.value.code, refused.value.param) == ("unknown_field", "x" * 64)


def test_where_a_long_document_is_wrong() -> None:
    long = b"A" * 100_000
    for raw, reason, values in [
        (b'{"a":"%b"\n,}' % long, "json_syntax", {"line": 2}),
        (b'{"a":"%b' % long, "json_open_text", {}),
        (b'{"a":"%b\n"}' % long, "json_control_character", {}),
        (b'{"a":"%b\\x"}' % long, "json_escape", {}),
        (b'{"a":"\\ud800%b"}' % long, "json_surrogate", {}),
        (b'{"a":"%b\\u0000"}' % long, "json_nul", {}),
        (b'{"a":"%b\xe9"}' % long, "json_not_utf8", {}),
        (b"[%b.0]" % (b"0" * 99_999), "json_syntax", {"line": 1, "column": 3}),
        (b"[1%b.0]" % (b"0" * 99_999), "json_long_number", {"number": f"1{'0' * 39}"}),
        (f'{{"a":"{long.decode()}"}}'.encode("utf-16"), "json_utf16", {}),
    ]:
        with pytest.raises(InvalidJSON) as refused:
            parse_json(raw)
        assert (refused.value.reason, refused.value.values) == (reason, values)


@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize("at", range(14, 20))
def test_a_letter_that_is_cut_off_where_a_step_ends_is_refused(at: int) -> None:
    for tail in (b"b" * 40, "图".encode() * 9):
        for letter in ("é", "图", "𝄞"):
            raw = b'["%b%b"]' % (b"a" * at, letter.encode()[:-1] + tail)
            with pytest.raises(InvalidJSON) as refused:
                parse_json(raw, bounds=Bounds(5, 1_000_000))
            assert refused.value.reason == "json_not_utf8"


def test_a_mark_can_not_be_guessed() -> None:
    """A text that looks like a mark of another document stays unchanged."""
    long = "A" * 100_000
    guesses = [f"{'0' * 32}{number}" for number in range(3)]
    assert parse_json(json.dumps([long, *guesses, long]).encode()) == [long, *guesses, long]


@pytest.mark.parametrize(
    ("raw", "quick"),
    [
        (json.dumps({"prompt": "Hi", "images": ["QUJD" * 200_000]}), True),
        ('{"a": "' + "é" * 300_000 + '"}', True),
        ('{"a": "' + "x" * 300_000, True),
        ("[" + " " * LARGE + "]", False),
        ("1" * (LARGE + 1), False),
        ('{"a": 1}' + "[" * LARGE, False),
        (json.dumps(["x"] * 300), False),
        (json.dumps({"images": ["a\\/" * LARGE]}), False),
        (json.dumps({"images": ["QUJD" * 300_000]}), False),
    ],
)
def test_documents_with_a_few_plain_texts_are_parsed_quickly(raw: str, quick: bool) -> None:
    """Anything else may take longer than the event loop can wait."""
    assert documents.is_quickly_parsed(raw.encode()) is quick
