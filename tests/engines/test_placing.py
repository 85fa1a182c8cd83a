"""Where a template puts the picture, told from what it makes of a question with and without one."""

from __future__ import annotations

import pytest

from llava_gateway.chat import Message, TextPart
from llava_gateway.engines.placing import picture_comes_first, samples
from tests.sample_images import ask, shape


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("USER: {picture}{words} ASSISTANT:", True),
        ("<s>[INST] {picture}\n{words} [/INST]", True),
        ("USER: {words}{picture} ASSISTANT:", False),
        ("{picture}USER: {words} ASSISTANT:", True),
        ("USER: {words} ASSISTANT:", False),  # it leaves pictures out
        ("USER: {picture} ASSISTANT:", False),  # it leaves words out
    ],
)
def test_the_place_of_the_picture(template: str, first: bool) -> None:
    pictured, bare = samples(ask("What colour is it?", shape("circle", "red"), shape("square", "blue"), num_ctx=2048))
    assert [len(message.images) for message in (*pictured.messages, *bare.messages)] == [1, 0]
    assert pictured.options == bare.options
    words = bare.messages[0].text

    def rendered(picture: str) -> str:
        return template.format(picture=picture, words=words)

    assert picture_comes_first(rendered("<image>"), rendered("")) is first


def test_samples_are_small_and_keep_what_the_model_is_loaded_with() -> None:
    request = ask("What colour is it?", shape("circle", "red"), history=(Message("assistant", (TextPart("long " * 1000),)),), num_ctx=2048)
    pictured, _ = samples(request)
    assert (pictured.model, pictured.options) == (request.model, request.options)
    assert len(pictured.messages) == len(pictured.renditions) == 1
