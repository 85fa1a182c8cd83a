"""A session as a value: what is sent to the model next, and what a fork keeps."""

from __future__ import annotations

import pytest

from llava_gateway.chat import Message
from llava_gateway.context.window import Rules, Window
from llava_gateway.parts import ImagePart, Part, Sight, TextPart
from llava_gateway.sessions.session import Session, new_id
from llava_gateway.sessions.turn import Turn
from tests.session_values import a_session, changing

RED, BLUE = ImagePart("a" * 64), ImagePart("b" * 64)


def text(words: str) -> tuple[Part, ...]:
    return (TextPart(words),)


def messages_sent(session: Session, parts: tuple[Part, ...]) -> tuple[Message, ...]:
    return session.conversation(parts).messages(Window(), Rules())


def test_ids_are_128_random_bits() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(found)) == 16 for found in ids)


def test_the_model_is_told_the_system_prompt_the_turns_and_the_question_in_order() -> None:
    session = a_session(system="Be brief.").with_turn(Turn((RED, TextPart("What is it?")), "A circle."))
    assert messages_sent(session, (BLUE, TextPart("And this?"))) == (
        Message("system", text("Be brief.")),
        Message("user", (RED, TextPart("What is it?"))),
        Message("assistant", text("A circle.")),
        Message("user", (TextPart("Picture 2:", note=True), BLUE, TextPart("And this?"))),
    )


def test_without_a_system_prompt_the_question_comes_first() -> None:
    assert messages_sent(Session(), text("Hi")) == (Message("user", text("Hi")),)


def test_the_parts_of_unanswered_turns_go_into_the_next_question() -> None:
    session = Session().with_turn(Turn((RED, TextPart("What is it?")), "", "cancelled")).with_turn(Turn(text("Well?"), "", "incomplete"))
    assert messages_sent(session, text("Hello?")) == (
        Message("user", (RED, TextPart("What is it?"), TextPart("Well?"), TextPart("Hello?"))),
    )
    answered = session.with_turn(Turn(text("Hello?"), "A circle."))
    assert [message.role for message in messages_sent(answered, text("Thanks"))] == ["user", "assistant", "user"]


def test_a_partial_answer_is_told_as_far_as_it_came() -> None:
    session = Session().with_turn(Turn(text("Count."), "One, two", "cancelled"))
    assert messages_sent(session, text("Go on"))[1] == Message("assistant", text("One, two"))


def test_a_changed_detail_leaves_each_turn_what_it_looked_at() -> None:
    half = ImagePart(RED.image_id, Sight(region=(0.5, 0, 0.5, 0.5), max_image_tokens=576))
    session = Session().with_turn(Turn((RED, TextPart("What is it?")), "A circle.")).with_turn(Turn((half, TextPart("And here?")), "Red."))
    changed = changing(sights={RED.image_id: Sight("high")})(session)
    assert [part for message in messages_sent(changed, text("Well?")) for part in message.images] == [
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
    session = a_session(title="Shapes", system="Be brief.", model="demo", engine="embedded")
    for number in range(3):
        session = session.with_turn(Turn(text(str(number)), "yes"))
    fork = session.forked(2)
    assert [turn.prompt for turn in fork.turns] == ["0", "1"]
    assert fork.id != session.id
    assert (fork.title, fork.defaults.system, fork.model, fork.engine) == ("Shapes", "Be brief.", "demo", "embedded")
    assert session.forked(0).turns == ()


def test_a_fork_says_nothing_of_images_that_it_does_not_have() -> None:
    session = Session().with_turn(Turn((BLUE,))).with_turn(Turn((RED,)))
    sights = {BLUE.image_id: Sight("low"), RED.image_id: Sight("high")}
    fork = changing(pins={BLUE.image_id: False, RED.image_id: True}, sights=sights)(session).forked(1)
    assert (fork.branches.pins, fork.branches.sights) == ({BLUE.image_id: False}, {BLUE.image_id: Sight("low")})


@pytest.mark.parametrize("at", [-1, 1])
def test_a_fork_beyond_the_turns_is_refused(at: int) -> None:
    with pytest.raises(IndexError):
        Session().forked(at)


def test_the_first_turn_gives_the_title_only_where_there_is_none() -> None:
    assert Session().with_turn(Turn(text("Hi"))).title == "Hi"
    assert Session(title="Mine").with_turn(Turn(text("Hi"))).title == "Mine"


def test_bytes_grow_with_the_text_in_utf_8() -> None:
    small, large = Turn(text("")), Turn(text("é" * 100), "x" * 50)
    assert large.bytes - small.bytes == 250
    assert Session().with_turn(large).text_bytes >= 250
