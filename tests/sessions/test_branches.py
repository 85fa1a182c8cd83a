"""The turns of a session as a tree: which path is sent, what lies beside it, and how to move from one path to another."""

from __future__ import annotations

import pytest

from llava_gateway.chat import Message, user_request
from llava_gateway.context.window import Rules, Window
from llava_gateway.errors import TurnNotFound
from llava_gateway.parts import ImagePart, Part, TextPart
from llava_gateway.sessions.session import PromptState, Session
from llava_gateway.sessions.turn import Turn
from tests.session_values import a_session

RED, BLUE = ImagePart("a" * 64), ImagePart("b" * 64)


def text(words: str) -> tuple[Part, ...]:
    return (TextPart(words),)


def messages_sent(session: Session, parts: tuple[Part, ...]) -> tuple[Message, ...]:
    return session.conversation(parts).messages(Window(), Rules())


def branched() -> Session:
    """Return a session with the turns 1, 2, 3, then 4 and 5 in place of 2: the paths 1-2-3 and 1-4-5."""
    session = a_session(summary="Long ago", summary_of=2, tokens=9, window=Window(start=1))
    for words in ("one", "two", "three"):
        session = session.with_turn(Turn(text(words), "yes"))
    return session.after(1).with_turn(Turn(text("four"), "yes")).with_turn(Turn(text("five"), "yes"))


def path(session: Session) -> list[int]:
    return [turn.id for turn in session.turns]


def test_a_turn_in_the_place_of_another_begins_a_branch_and_loses_nothing() -> None:
    session = branched()
    assert path(session) == [1, 4, 5]
    assert [turn.id for turn in session.branches.every_turn] == [1, 2, 3, 4, 5]
    assert [turn.parent for turn in session.branches.every_turn] == [0, 1, 2, 1, 4]
    assert session.branches.siblings == {0: (1,), 1: (2, 4), 2: (3,), 4: (5,)}
    assert [message.text for message in messages_sent(session, text("next"))][::2] == ["one", "four", "five", "next"]


def test_a_branch_is_gone_back_to_where_it_was_left() -> None:
    session = branched()
    assert path(session.on_branch(2)) == [1, 2, 3]
    assert path(session.on_branch(2).on_branch(4)) == [1, 4, 5]
    again = session.after(4).with_turn(Turn(text("six"), "yes"))  # 1-4-6 beside 1-4-5, and left last
    assert path(again.on_branch(2).on_branch(4)) == [1, 4, 6]
    assert path(again.on_branch(5).on_branch(2).on_branch(4)) == [1, 4, 5]
    assert path(again.on_branch(3)) == [1, 2, 3]
    assert again.on_branch(1) is again


def test_even_the_first_turn_has_branches() -> None:
    session = branched().after(0).with_turn(Turn(text("six"), "yes"))
    assert (path(session), session.branches.siblings[0], session.title) == ([6], (1, 6), "one")
    assert path(session.on_branch(1)) == [1, 4, 5]


def test_what_was_told_on_another_branch_is_not_taken_for_told() -> None:
    session = branched()
    for changed in (session, session.on_branch(2), session.after(1)):
        assert changed.prompt_state == PromptState(Window(), None, "", -1)
    kept = a_session(tokens=9, summary="Long ago").with_turn(Turn(text("one"), "yes"))
    assert (kept.after(1).prompt_state.tokens, kept.on_branch(1).prompt_state.summary) == (9, "Long ago")


@pytest.mark.parametrize("missing", [6, 99])
def test_a_turn_that_is_not_there_can_be_neither_followed_nor_shown(missing: int) -> None:
    for go in (branched().after, branched().on_branch):
        with pytest.raises(TurnNotFound):
            go(missing)
    with pytest.raises(TurnNotFound):
        branched().on_branch(0)


def test_a_fork_has_the_current_branch_alone() -> None:
    fork = branched().forked(3)
    assert (path(fork), fork.branches.aside) == ([1, 4, 5], ())
    assert fork.with_turn(Turn(text("six"), "yes")).turns[-1].parent == 5


def test_budgets_and_images_are_those_of_all_branches() -> None:
    session = Session().with_turn(Turn((RED, TextPart("What?")), "A circle.")).after(0).with_turn(Turn((BLUE,), "x" * 1000))
    assert (session.image_ids, session.every_image_id) == ((BLUE.image_id,), (RED.image_id, BLUE.image_id))
    assert session.branches.turn_count == 2
    assert session.text_bytes > session.on_branch(1).forked(1).text_bytes + 1000


def test_a_request_is_asked_where_it_says() -> None:
    session = branched()
    assert path(session.under(user_request(*text("Hi"), after=1))) == [1]
    assert session.under(user_request(*text("Hi"))) is session
