"""One turn as a value: its title and its size in memory."""

from __future__ import annotations

import pytest

from llava_gateway.answers import Sent
from llava_gateway.images.info import ImageInfo
from llava_gateway.notes import note
from llava_gateway.parts import ImagePart, Part, TextPart
from llava_gateway.sessions.turn import TITLE_MAX_CHARS, Turn, title_of

RED = ImagePart("a" * 64)


def text(words: str) -> tuple[Part, ...]:
    return (TextPart(words),)


@pytest.mark.parametrize(
    ("parts", "title"),
    [
        (text("What  is\nthis?"), "What is this?"),
        ((RED, TextPart("What is this?")), "What is this?"),
        ((RED,), "Picture"),
        ((), ""),
        (text("这是什么？"), "这是什么？"),
        (text("word " * 40), "word word word word word word word word word word word word…"),
        (text("一" * 200), "一" * TITLE_MAX_CHARS + "…"),
    ],
)
def test_a_title_is_the_first_words_of_a_question(parts: tuple[Part, ...], title: str) -> None:
    assert title_of(parts) == title


def test_bytes_grow_with_what_is_kept_beside_the_text() -> None:
    assert Turn(text(""), warnings=(note("x", name="é" * 100), note("yy"))).bytes - Turn(text("")).bytes == 207
    assert Turn(text(""), sent=(Sent(336, 336, "PNG", 576),) * 4).bytes > Turn(text("")).bytes + 4 * 100
    file = ImageInfo(336, 336, 336, 336, "PNG", 576, (note("x", name="é" * 100),))
    assert Turn(text(""), files=(file,) * 4).bytes > Turn(text("")).bytes + 4 * 300
