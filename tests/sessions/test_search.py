"""Searching sessions: what is found, where, and with which text around it."""

from __future__ import annotations

import pytest

from llava_gateway.parts import ImagePart, Part, TextPart
from llava_gateway.sessions.search import AROUND, MOST_MATCHES, Match, search
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn


def session_with_turns(*pairs: tuple[str, str], title: str = "Untold") -> Session:
    session = Session(title=title)
    for prompt, answer in pairs:
        parts: tuple[Part, ...] = (ImagePart("a" * 64), TextPart("An invoice, says a program.", note=True), TextPart(prompt))
        session = session.with_turn(Turn(parts, answer))
    return session


def places(session: Session, words: str) -> list[tuple[int | None, str]]:
    return [(match.turn, match.place) for _, matches in search([session], words) for match in matches]


def test_titles_questions_and_answers_of_all_branches_are_searched() -> None:
    session = session_with_turns(("What is red?", "A circle."), ("And blue?", "The red one is left."), title="Red things")
    assert places(session, "red") == [(None, "title"), (1, "prompt"), (2, "answer")]
    assert places(session.after(0).with_turn(Turn((TextPart("x"),), "y")), "blue") == [(2, "prompt")]
    assert places(session, "green") == []


def test_only_sessions_with_a_match_come_in_the_order_given() -> None:
    one, two, three = session_with_turns(("cat", "")), session_with_turns(("dog", "")), session_with_turns(("a cat", ""))
    assert [found for found, _ in search([three, two, one], "CAT")] == [three.summary, one.summary]


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("Das ist GRÖSSER", "größer", ""),
        ("Größer", "GRÖßER", "Größer"),
        ("Quittung über 20 €", "ÜBER 20", "über 20"),
        ("U\u0308ber", "über", "Über"),
        ("这张图片里有一个红色的圆形。", "红色的", "红色的"),
        ("two  \n words", "two words", "two  \n words"),
        ("1+1 (a) [b]", "(a) [b]", "(a) [b]"),
        ("a.c", ".", "."),
        ("Ямщик", "ямЩИК", "Ямщик"),
    ],
)
def test_letters_are_found_in_either_case_and_nothing_is_a_pattern(text: str, words: str, found: str) -> None:
    shown = [match.text for _, matches in search([session_with_turns((text, ""))], words) for match in matches]
    assert shown == ([found] if found else [])


def test_what_stands_around_it_is_shown() -> None:
    ((_, (match,)),) = search([session_with_turns(("", "一" * 100 + "红" + "二" * 10))], "红")
    assert match == Match(1, "answer", "…" + "一" * AROUND, "红", "二" * 10)


def test_one_session_shows_only_its_first_matches() -> None:
    ((_, matches),) = search([session_with_turns(*[("red", "red")] * 20)], "red")
    assert len(matches) == MOST_MATCHES


def test_our_own_notes_beside_a_question_are_not_found() -> None:
    assert places(session_with_turns(("What is it?", "")), "invoice") == []
