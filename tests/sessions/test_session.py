"""A conversation as a value: what the model is told next, what a fork keeps, what a title is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llava_gateway.answers import Sent
from llava_gateway.chat import ImagePart, Message, Part, Sight, TextPart, asked
from llava_gateway.context.window import Rules, Window
from llava_gateway.errors import TurnNotFound
from llava_gateway.images.info import ImageInfo
from llava_gateway.notes import note
from llava_gateway.sessions.session import TITLE_MAX_CHARS, Session, Turn, new_id, title_of

RED, BLUE = ImagePart("a" * 64), ImagePart("b" * 64)


def text(words: str) -> tuple[Part, ...]:
    return (TextPart(words),)


def told(session: Session, parts: tuple[Part, ...]) -> tuple[Message, ...]:
    return session.conversation(parts).messages(Window(), Rules())


def test_ids_are_128_random_bits() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(found)) == 16 for found in ids)


def test_the_model_is_told_the_system_prompt_the_turns_and_the_question_in_order() -> None:
    session = Session(system="Be brief.").with_turn(Turn((RED, TextPart("What is it?")), "A circle."))
    assert told(session, (BLUE, TextPart("And this?"))) == (
        Message("system", text("Be brief.")),
        Message("user", (RED, TextPart("What is it?"))),
        Message("assistant", text("A circle.")),
        Message("user", (TextPart("Picture 2:", note=True), BLUE, TextPart("And this?"))),
    )


def test_without_a_system_prompt_the_question_comes_first() -> None:
    assert told(Session(), text("Hi")) == (Message("user", text("Hi")),)


def test_the_parts_of_unanswered_turns_go_into_the_next_question() -> None:
    session = Session().with_turn(Turn((RED, TextPart("What is it?")), "", "cancelled")).with_turn(Turn(text("Well?"), "", "incomplete"))
    assert told(session, text("Hello?")) == (Message("user", (RED, TextPart("What is it?"), TextPart("Well?"), TextPart("Hello?"))),)
    answered = session.with_turn(Turn(text("Hello?"), "A circle."))
    assert [message.role for message in told(answered, text("Thanks"))] == ["user", "assistant", "user"]


def test_a_partial_answer_is_told_as_far_as_it_came() -> None:
    session = Session().with_turn(Turn(text("Count."), "One, two", "cancelled"))
    assert told(session, text("Go on"))[1] == Message("assistant", text("One, two"))


def test_a_changed_detail_leaves_each_turn_what_it_looked_at() -> None:
    half = ImagePart(RED.image_id, Sight(region=(0.5, 0, 0.5, 0.5), max_image_tokens=576))
    session = Session().with_turn(Turn((RED, TextPart("What is it?")), "A circle.")).with_turn(Turn((half, TextPart("And here?")), "Red."))
    changed = replace(session, sights={RED.image_id: Sight("high")})
    assert [part for message in told(changed, text("Well?")) for part in message.images] == [
        ImagePart(RED.image_id, Sight("high")),
        ImagePart(RED.image_id, Sight("high", region=(0.5, 0, 0.5, 0.5))),
    ]


def test_a_turn_makes_a_new_value() -> None:
    before = Session()
    after = before.with_turn(Turn(text("Hi"), "Hello"))
    assert (before.turns, len(after.turns), after.id) == ((), 1, before.id)
    assert after.updated_at >= before.updated_at


def test_images_are_listed_once_in_order_of_appearance() -> None:
    session = Session().with_turn(Turn((BLUE, RED, BLUE))).with_turn(Turn((RED, TextPart("again"))))
    assert session.image_ids == (BLUE.image_id, RED.image_id)


def test_a_fork_has_the_first_turns_and_an_id_of_its_own() -> None:
    session = Session(title="Shapes", system="Be brief.", model="demo", engine="embedded")
    for number in range(3):
        session = session.with_turn(Turn(text(str(number)), "yes"))
    fork = session.forked(2)
    assert [turn.prompt for turn in fork.turns] == ["0", "1"]
    assert fork.id != session.id
    assert (fork.title, fork.system, fork.model, fork.engine) == ("Shapes", "Be brief.", "demo", "embedded")
    assert session.forked(0).turns == ()


def test_a_fork_says_nothing_of_images_that_it_does_not_have() -> None:
    session = Session().with_turn(Turn((BLUE,))).with_turn(Turn((RED,)))
    sights = {BLUE.image_id: Sight("low"), RED.image_id: Sight("high")}
    fork = replace(session, pins={BLUE.image_id: False, RED.image_id: True}, sights=sights).forked(1)
    assert (fork.pins, fork.sights) == ({BLUE.image_id: False}, {BLUE.image_id: Sight("low")})


@pytest.mark.parametrize("at", [-1, 1])
def test_a_fork_beyond_the_turns_is_refused(at: int) -> None:
    with pytest.raises(IndexError):
        Session().forked(at)


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


def test_the_first_turn_gives_the_title_only_where_there_is_none() -> None:
    assert Session().with_turn(Turn(text("Hi"))).title == "Hi"
    assert Session(title="Mine").with_turn(Turn(text("Hi"))).title == "Mine"


def test_bytes_grow_with_the_text_in_utf_8() -> None:
    small, large = Turn(text("")), Turn(text("é" * 100), "x" * 50)
    assert large.bytes - small.bytes == 250
    assert Session().with_turn(large).text_bytes >= 250


def test_bytes_grow_with_what_is_kept_beside_the_text() -> None:
    assert Turn(text(""), warnings=(note("x", name="é" * 100), note("yy"))).bytes - Turn(text("")).bytes == 207
    assert Turn(text(""), sent=(Sent(336, 336, "PNG", 576),) * 4).bytes > Turn(text("")).bytes + 4 * 100
    file = ImageInfo(336, 336, 336, 336, "PNG", 576, (note("x", name="é" * 100),))
    assert Turn(text(""), files=(file,) * 4).bytes > Turn(text("")).bytes + 4 * 300


def branched() -> Session:
    """Turns 1, 2, 3; then 4 and 5 in the place of 2: 1-2-3 and 1-4-5."""
    session = Session(summary="Long ago", summary_of=2, tokens=9, window=Window(start=1))
    for words in ("one", "two", "three"):
        session = session.with_turn(Turn(text(words), "yes"))
    return session.after(1).with_turn(Turn(text("four"), "yes")).with_turn(Turn(text("five"), "yes"))


def path(session: Session) -> list[int]:
    return [turn.id for turn in session.turns]


def test_a_turn_in_the_place_of_another_begins_a_branch_and_loses_nothing() -> None:
    session = branched()
    assert path(session) == [1, 4, 5]
    assert [turn.id for turn in session.every_turn] == [1, 2, 3, 4, 5]
    assert [turn.parent for turn in session.every_turn] == [0, 1, 2, 1, 4]
    assert session.siblings == {0: (1,), 1: (2, 4), 2: (3,), 4: (5,)}
    assert [message.text for message in told(session, text("next"))][::2] == ["one", "four", "five", "next"]


def test_a_branch_is_gone_back_to_where_it_was_left() -> None:
    session = branched()
    assert path(session.on_branch(2)) == [1, 2, 3]
    assert path(session.on_branch(2).on_branch(4)) == [1, 4, 5]
    again = session.after(4).with_turn(Turn(text("six"), "yes"))  # 1-4-6, left last, beside 1-4-5
    assert path(again.on_branch(2).on_branch(4)) == [1, 4, 6]
    assert path(again.on_branch(5).on_branch(2).on_branch(4)) == [1, 4, 5]
    assert path(again.on_branch(3)) == [1, 2, 3]
    assert again.on_branch(1) is again


def test_even_the_first_turn_has_branches() -> None:
    session = branched().after(0).with_turn(Turn(text("six"), "yes"))
    assert (path(session), session.siblings[0], session.title) == ([6], (1, 6), "one")
    assert path(session.on_branch(1)) == [1, 4, 5]


def test_what_was_told_on_another_branch_is_not_taken_for_told() -> None:
    session = branched()
    for changed in (session, session.on_branch(2), session.after(1)):
        assert (changed.window, changed.tokens, changed.summary, changed.summary_of) == (Window(), None, "", -1)
    kept = Session(tokens=9, summary="Long ago").with_turn(Turn(text("one"), "yes"))
    assert (kept.after(1).tokens, kept.on_branch(1).summary) == (9, "Long ago")


@pytest.mark.parametrize("missing", [6, 99])
def test_a_turn_that_is_not_there_can_be_neither_followed_nor_shown(missing: int) -> None:
    for go in (branched().after, branched().on_branch):
        with pytest.raises(TurnNotFound):
            go(missing)
    with pytest.raises(TurnNotFound):
        branched().on_branch(0)


def test_a_fork_has_the_current_branch_alone() -> None:
    fork = branched().forked(3)
    assert (path(fork), fork.aside) == ([1, 4, 5], ())
    assert fork.with_turn(Turn(text("six"), "yes")).turns[-1].parent == 5


def test_budgets_and_images_are_those_of_all_branches() -> None:
    session = Session().with_turn(Turn((RED, TextPart("What?")), "A circle.")).after(0).with_turn(Turn((BLUE,), "x" * 1000))
    assert (session.image_ids, session.every_image_id) == ((BLUE.image_id,), (RED.image_id, BLUE.image_id))
    assert session.turn_count == 2
    assert session.text_bytes > session.on_branch(1).forked(1).text_bytes + 1000


def test_a_request_is_asked_where_it_says() -> None:
    session = branched()
    assert path(session.under(asked(*text("Hi"), after=1))) == [1]
    assert session.under(asked(*text("Hi"))) is session
