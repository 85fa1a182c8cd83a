"""Test a conversation as it is sent to the model."""

from __future__ import annotations

import pytest

from llava_gateway.chat import Message
from llava_gateway.context import prompt
from llava_gateway.context.prompt import anchors
from llava_gateway.context.window import Rules, Window
from llava_gateway.parts import ImagePart, TextPart
from tests.context.talk import conversation, exchange
from tests.session_values import a_session

RED, BLUE, GREEN = (ImagePart(name) for name in ("red", "blue", "green"))


def said(text: str) -> TextPart:
    return TextPart(text)


def note(text: str) -> TextPart:
    return TextPart(text, note=True)


EXCHANGES = (
    exchange(0, (RED, said("What is it?")), "A red circle.", 10, (64,), 1),
    exchange(1, (said("Thanks"),), "You are welcome.", 900, (), 2),
    exchange(2, (BLUE, said("And this?")), "A blue square.", 10, (64,), 2),
    exchange(3, (said("Fine"),), "Yes.", 900, (), 3),
)
TALK = conversation("Be brief.", EXCHANGES, (said("Which is round?"),))


def test_all_of_it_with_numbers_from_the_second_image_on() -> None:
    assert TALK.messages(Window(), Rules()) == (
        Message("system", (said("Be brief."),)),
        Message("user", (RED, said("What is it?"))),
        Message("assistant", (said("A red circle."),)),
        Message("user", (said("Thanks"),)),
        Message("assistant", (said("You are welcome."),)),
        Message("user", (note("Picture 2:"), BLUE, said("And this?"))),
        Message("assistant", (said("A blue square."),)),
        Message("user", (said("Fine"),)),
        Message("assistant", (said("Yes."),)),
        Message("user", (said("Which is round?"),)),
    )


def test_what_the_window_leaves_out_is_not_told_and_the_rest_begins_as_before() -> None:
    whole, cut = TALK.messages(Window(), Rules()), TALK.messages(Window(start=3), Rules())
    assert cut == (*whole[:3], *whole[5:])


def test_an_image_that_is_gone_leaves_its_description_behind_those_that_stay() -> None:
    messages = TALK.messages(Window(start=3), Rules("pin_images", {"red": False}))
    assert messages[1] == Message("user", (note("Picture 2:"), BLUE, said("And this?")))
    trace = note("(Picture 1 is no longer shown. It was described as: A red circle.)")
    assert messages[3] == Message("user", (trace, said("Fine")))
    everything = TALK.messages(Window(start=4), Rules("sliding"))
    assert [part.text for part in everything[1].parts if isinstance(part, TextPart)] == [
        "(Picture 1 is no longer shown. It was described as: A red circle.)",
        "(Picture 2 is no longer shown. It was described as: A blue square.)",
        "Which is round?",
    ]


def test_of_images_that_went_long_ago_one_line_tells() -> None:
    lines = {
        1: ["(An earlier picture is no longer shown.)", "(Picture 2 is no longer shown. It was described as: A blue square.)"],
        0: ["(2 earlier pictures are no longer shown.)"],
    }
    for traces, expected in lines.items():
        messages = TALK.messages(Window(start=4, traces=traces), Rules("sliding"))
        assert [part.text for part in messages[1].parts if isinstance(part, TextPart)] == [*expected, "Which is round?"]


def test_what_is_gone_is_told_of_in_the_language_of_its_question_where_the_answer_has_no_words() -> None:
    counted = (exchange(0, (RED, said("有几个圆？")), "3", 10, (64,), 1), exchange(1, (BLUE, said("这个呢？")), "1", 10, (64,), 2))
    talk = conversation("", counted, (said("What is it?"),))
    for traces, expected in {2: "（图片1已不再显示。它的内容是：3）", 0: "（更早的2张图片也已不再显示。）"}.items():
        (question,) = talk.messages(Window(start=2, traces=traces), Rules("sliding"))
        assert question.parts[0] == note(expected)
    gone = conversation("", (), (RED, said("图里有什么？"))).messages(Window(gone=frozenset({1})), Rules())
    assert gone[0].parts[0] == note("（图片1已不再显示。）")


def test_one_of_two_images_of_a_turn_leaves_its_trace_in_its_place() -> None:
    both = (exchange(0, (RED, BLUE, said("Compare.")), "They differ.", 10, (64, 64), 1),)
    messages = conversation("", both, (said("How?"),)).messages(Window(start=1, gone=frozenset({1})), Rules())
    assert messages[0].parts == (
        note("(Picture 1 is no longer shown. It was described as: They differ.)"),
        note("Picture 2:"),
        BLUE,
        said("Compare."),
    )


def test_the_language_of_what_has_no_images_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detecting the language would take longer than everything else, and the same conversation is written many times."""
    looked_at: list[str] = []
    monkeypatch.setattr(prompt, "language_of", looked_at.append)
    talk = conversation("Be brief.", tuple(exchange(turn, (said(f"Question {turn}"),), "Yes.", 10, (), 1) for turn in range(100)), ())
    assert len(talk.messages(Window(), Rules())) == 202
    assert looked_at == []


def test_several_images_of_a_question_have_numbers_in_the_questions_language() -> None:
    english = conversation("", (), (RED, BLUE, said("Compare."))).messages(Window(), Rules())
    assert english[0].parts == (note("Picture 1:"), RED, note("Picture 2:"), BLUE, said("Compare."))
    chinese = conversation("", EXCHANGES, (GREEN, said("这张图片里有什么？"))).messages(Window(), Rules())
    assert chinese[-1].parts[0] == note("图片3：")


def test_the_glossary_follows_the_system_prompt() -> None:
    session = a_session(system="Be brief.", glossary=("kubectl: a tool",))
    messages = session.conversation((said("?"),)).messages(Window(), Rules())
    assert messages[0].text == "Be brief.\n\nNames and terms that may occur:\n- kubectl: a tool"
    assert a_session(glossary=("词",)).conversation((said("?"),)).messages(Window(), Rules())[0].text == "可能出现的名称和术语：\n- 词"


def test_a_summary_stands_where_the_text_stood() -> None:
    talk = conversation("", EXCHANGES, (said("So?"),))
    messages = talk.messages(Window(start=3, summary="They spoke of a circle."), Rules("summarise"))
    assert messages[-3].parts[0] == note("(Summary of what was said before: They spoke of a circle.)")
    assert not any(
        part.text.startswith("(Summary")
        for message in talk.messages(Window(), Rules())
        for part in message.parts
        if isinstance(part, TextPart)
    )


def test_images_are_called_back_to_mind_once_they_are_far_behind() -> None:
    lines = anchors(TALK, Window(), Rules(), after=800)
    assert [line.text for line in lines] == [
        "(Picture 1 is further up; it shows: A red circle.)",
        "(Picture 2 is further up; it shows: A blue square.)",
    ]
    assert all(line.note for line in lines)
    assert anchors(TALK, Window(), Rules(), after=1000) == ()
    assert [line.recalls for line in lines] == [1, 2]
    recalled = (*EXCHANGES, exchange(4, (*lines, said("Which?")), "Both.", 20, (), 3))
    assert anchors(conversation("", recalled, (said("So?"),)), Window(), Rules(), after=800) == ()
    assert anchors(TALK, Window(), Rules(), after=0) == ()


def test_nothing_is_called_back_where_an_image_has_just_been_given() -> None:
    talk = conversation("", EXCHANGES, (GREEN, said("And this?")))
    assert anchors(talk, Window(), Rules(), after=800) == ()


def test_what_called_an_image_to_mind_goes_with_it() -> None:
    """Otherwise the prompt says both that the image is shown and that it is not."""
    recalled = (
        TextPart("(Picture 1 is further up; it shows: A red circle.)", note=True, recalls=1),
        TextPart("(Picture 2 is further up; it shows: A blue square.)", note=True, recalls=2),
    )
    talk = conversation("", (*EXCHANGES, exchange(4, (*recalled, said("Which?")), "Both.", 20, (), 3)), (said("So?"),))
    gone = Rules("pin_images", {"red": False})
    assert talk.messages(Window(start=3), gone)[-3].parts == (recalled[1], said("Which?"))
    assert talk.messages(Window(start=3), Rules())[-3].parts == (*recalled, said("Which?"))


def test_the_numbers_before_images_are_the_same_before_the_question_is_typed() -> None:
    """The question then sends the same bytes that were read ahead."""
    chinese = (exchange(0, (RED, said("这是什么？")), "圆形。", 10, (64,), 1),)
    for unasked in (".", "。"):
        for before, question, label in ((chinese, "还有呢？", "图片2："), (EXCHANGES[:1], "And this?", "Picture 2:")):
            for words in (unasked, question):
                messages = conversation("", before, (BLUE, said(words))).messages(Window(), Rules())
                assert messages[-1].parts[0] == note(label)
    first = [conversation("", (), (RED, BLUE, said(words))).messages(Window(), Rules())[0].parts[0] for words in (".", "。")]
    assert first == [note("Picture 1:"), note("图片1：")]
