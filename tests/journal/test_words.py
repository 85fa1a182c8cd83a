"""The search index: which words it keeps, and which texts a query finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from llava_gateway.journal.words import index_words, query_of


@pytest.fixture
def index() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("""CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize="unicode61 remove_diacritics 2")""")
    yield connection
    connection.close()


def test_chinese_is_indexed_in_pairs_and_latin_in_words() -> None:
    assert index_words("宫保鸡丁 costs 38 yuan.") == "宫保 保鸡 鸡丁 丁 costs 38 yuan"
    assert index_words("！？ …") == ""


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("菜单上有宫保鸡丁。", "鸡丁", True),
        ("菜单上有宫保鸡丁。", "宫保鸡丁", True),
        ("菜单上有宫保鸡丁。", "丁", True),
        ("菜单上有宫保鸡丁。", "鸡保", False),
        ("菜单上有宫保鸡丁。", "宫鸡", False),
        ("一张2026年的发票", "2026年", True),
        ("A red circle, and a blue one", "red circle", True),
        ("A red circle, and a blue one", "circle and", True),
        ("A red circle, and a blue one", "RED CIR", True),
        ("A red circle, and a blue one", "blue circle", False),
        ("你好。世界、『再见』", "你好世界", False),
        ("你好。世界、『再见』", "你好，世界", True),
        ("你好。世界、『再见』", "世界 再见", True),
        ("Das Café", "cafe", True),
        ("カタカナ と ひらがな", "タカ", True),
        ("한국어 문장", "국어", True),
        ('quotes " and * AND NOT (x)', '" AND NOT', True),
        ('quotes " and * AND NOT (x)', "quotes NOT x", False),
        ("U\u0308ber", "über", True),
    ],
)
def test_a_query_finds_a_phrase_whose_last_word_may_continue(index: sqlite3.Connection, text: str, query: str, found: bool) -> None:
    index.execute("INSERT INTO words (rowid, text) VALUES (1, ?)", (index_words(text),))
    hits = index.execute("SELECT rowid FROM words WHERE words MATCH ?", (query_of(query),)).fetchall()
    assert bool(hits) is found


def test_a_text_without_words_makes_no_query() -> None:
    assert query_of(" .,!？ ") == ""
