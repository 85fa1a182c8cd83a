"""Test the notes that we add to a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llava_gateway.context import words


@pytest.mark.parametrize(
    ("text", "chinese"),
    [("What is it?", False), ("这是什么？", True), ("用 Python 写", False), ("图中的 API 是什么意思？", True), ("123", False), ("", False)],
)
def test_the_language_of_a_text(text: str, chinese: bool) -> None:
    assert words.is_chinese(text) is chinese


def test_long_descriptions_are_cut_at_a_word_on_one_line() -> None:
    told = words.one_line("A red\ncircle " * 40)
    assert len(told) <= words.TRACE_MAX_CHARS
    assert told.removesuffix("…").split()[-1] in ("A", "red", "circle")
    assert "\n" not in told
    assert words.one_line("长" * 500) == "长" * (words.TRACE_MAX_CHARS - 1) + "…"


def test_traces_speak_the_language_of_the_description() -> None:
    assert words.image_trace(2, "白色背景上有一个红色圆形。") == "（图片2已不再显示。它的内容是：白色背景上有一个红色圆形。）"
    assert words.image_trace(2, "") == "(Picture 2 is no longer shown.)"


def test_traces_without_words_speak_the_language_of_the_talk() -> None:
    assert words.image_trace(2, "", chinese=True) == "（图片2已不再显示。）"
    assert words.image_trace(2, "3", chinese=True) == "（图片2已不再显示。它的内容是：3）"
    assert words.image_trace(2, "A red circle.", chinese=True).startswith("(Picture 2 ")
    assert words.anchor(2, "3", chinese=True) == "（图片2在前面，内容是：3）"


@pytest.mark.parametrize("description", ["A red circle.", "白色背景上有一个红色圆形。"])
def test_a_line_that_calls_to_mind_speaks_as_the_description(description: str) -> None:
    line = words.anchor(12, description)
    assert words.is_chinese(line) is words.is_chinese(description)
    assert "12" in line


@pytest.mark.parametrize(
    ("text", "chinese"), [("图" * 100_000, True), ("a" * 100_000, False), ("1" * 100_000, None), (" " * 100_000 + "图", True)]
)
def test_of_a_long_text_the_ends_are_looked_at(text: str, chinese: bool | None) -> None:
    class Long(str):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            raise AssertionError("all of it is looked at")

    assert words.language_of(Long(text)) is chinese
    assert words.is_chinese(Long(text)) is bool(chinese)
