"""Test the estimate of tokens that the engine has not counted."""

from __future__ import annotations

import pytest

from llava_gateway.context.tokens import MESSAGE_TOKENS, Scale, bound


@pytest.mark.parametrize("text", ["", "What is in this picture?", "图片里有什么？", "\N{SNOWMAN}" * 9])
def test_nothing_has_more_tokens_than_bytes(text: str) -> None:
    assert Scale().estimate(text) <= bound(text) == len(text.encode())


def test_a_model_that_counts_twice_as_many_is_reckoned_so() -> None:
    text = "x" * 1000
    scale = Scale().learned(Scale().estimate(text), 600)
    assert (scale.seen, scale.estimate(text), scale.message(text)) == (True, 600, 600 + MESSAGE_TOKENS)
    assert 300 < scale.learned(scale.estimate(text), 300).estimate(text) < 600


def test_nothing_is_learned_from_nothing() -> None:
    assert Scale().learned(0, 10) == Scale().learned(10, 0) == Scale()
