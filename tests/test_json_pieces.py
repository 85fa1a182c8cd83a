"""JSON written in pieces equals JSON written at once, and no piece is long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_gateway import json_pieces as module
from llava_gateway.json_pieces import in_pieces, json_pieces

LETTERS = 'é图𝄞"\\\n\x00 a' * 40


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "",
        None,
        {"a": {}, "b": [], "c": [[], {}, ""]},
        {"turns": [{"prompt": LETTERS, "n": number, "x": 1.5, "ok": True, "no": None} for number in range(50)]},
        {LETTERS: (LETTERS, [LETTERS])},
    ],
)
def test_a_value_reads_as_if_it_were_written_at_once(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setattr(module, "PIECE", 16)
    written = b"".join(json_pieces(value))
    assert written.decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_no_piece_is_long() -> None:
    pieces = list(json_pieces({"turns": [{"prompt": "x" * 1_000_000, "answers": ["y" * 1000] * 1000}]}))
    assert len(pieces) > 20
    assert max(map(len, pieces)) < 3 * module.PIECE


def test_short_parts_are_put_together() -> None:
    assert [*map(len, in_pieces(["x"] * module.PIECE + ["y"]))] == [module.PIECE, 1]
    assert list(in_pieces([])) == []


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        list(json_pieces({"a": [float("nan")]}))
