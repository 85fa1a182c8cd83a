"""The sum of a prompt's parts."""

from __future__ import annotations

from dataclasses import replace

from llava_gateway.chat import EngineRequest, Message, Rendition, TokenCount
from llava_gateway.engines.counting import count_pieces, system_text, token_count, without_images, without_pixels
from llava_gateway.parts import TextPart
from tests.sample_images import ask, shape

FIRST = ask("What is it?", shape("circle", "red"), history=(Message("system", (TextPart("Be brief."),)),))
REQUEST = ask("And this?", shape("square", "blue"), earlier=FIRST, history=(Message("assistant", (TextPart("A circle."),)),))
RED, BLUE = REQUEST.renditions


def with_blue(rendition: Rendition) -> EngineRequest:
    return replace(REQUEST, renditions={**REQUEST.renditions, BLUE: rendition})


def test_parts_add_up_and_images_keep_their_order() -> None:
    assert REQUEST.images == (RED, BLUE)
    assert token_count(REQUEST, 30, 4) == TokenCount(4, 26, (64, 64), "exact", text_is_exact=True)
    assert token_count(REQUEST, 30, 4, costs={BLUE: 100}).images == (64, 100)


def test_the_sum_is_trusted_as_its_least_certain_part() -> None:
    measured = with_blue(replace(REQUEST.renditions[BLUE], label="measured"))
    assert token_count(measured, 30, 0).label == "measured"
    assert token_count(measured, 30, 0, label="estimated").label == "estimated"
    assert token_count(measured, 30, 0, costs={BLUE: 64}).label == "exact"


def test_an_image_of_unknown_cost_counts_nothing_and_makes_it_an_estimate() -> None:
    unknown = with_blue(replace(REQUEST.renditions[BLUE], tokens=None))
    assert token_count(unknown, 30, 0, costs={BLUE: None}) == TokenCount(0, 30, (64, 0), "estimated", text_is_exact=True)


def test_pieces_keep_their_number_without_their_pixels() -> None:
    blue = REQUEST.renditions[BLUE]
    tiled = with_blue(replace(blue, pieces=blue.pieces * 5))
    small = without_pixels(tiled)
    assert count_pieces(small) == count_pieces(tiled) == 6
    assert sum(rendition.size_bytes for rendition in small.renditions.values()) < 600
    assert small.messages == tiled.messages


def test_words_are_found_alone() -> None:
    bare = without_images(REQUEST)
    assert not bare.images
    assert [message.text for message in bare.messages] == [message.text for message in REQUEST.messages]
    assert system_text(REQUEST) == "Be brief."
