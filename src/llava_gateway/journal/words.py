"""The words of a text as the search index keeps them, and a query for the index (pure).

SQLite's own tokenizers split text at spaces, so they find no word inside a Chinese sentence; its trigram tokenizer finds none of two
characters. A run of Chinese characters is therefore indexed as its overlapping pairs, and a query as a phrase of such pairs.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, kana and hangul: scripts that put no spaces between words, or that are searched by syllables."""
_RUN = re.compile(rf"(?:(?=[{_WIDE}])\w)+|[^\W_{_WIDE}]+")


def index_words(text: str) -> str:
    """Return the text as words that are separated by spaces: Latin words as they are, runs of Chinese characters as pairs and, at the
    end, the last character alone."""
    return " ".join(word for run in _RUN.findall(_normal(text)) for word in _words(run, whole=True))


def query_of(text: str) -> str:
    """Return the FTS5 query that finds the text as a phrase whose last word may continue; "" if the text has no words."""
    runs = _RUN.findall(_normal(text))
    words = [word for run in runs for word in _words(run, whole=run is not runs[-1])]
    return f'"{" ".join(words)}" *' if words else ""


def _words(run: str, *, whole: bool) -> list[str]:
    if run[0] < "\u2e80":
        return [run]
    pairs = [first + second for first, second in pairwise(run)]
    return [*pairs, run[-1]] if whole or not pairs else pairs


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
