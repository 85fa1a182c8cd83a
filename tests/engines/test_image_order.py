"""Where a template puts the image, found from its prompts with and without one."""

from __future__ import annotations

import pytest

from llava_gateway.chat import Message
from llava_gateway.engines.image_order import image_comes_first, samples
from llava_gateway.parts import TextPart
from tests.sample_images import ask, shape


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("USER: {image}{words} ASSISTANT:", True),
        ("<s>[INST] {image}\n{words} [/INST]", True),
        ("USER: {words}{image} ASSISTANT:", False),
        ("{image}USER: {words} ASSISTANT:", True),
        ("USER: {words} ASSISTANT:", False),  # drops the image
        ("USER: {image} ASSISTANT:", False),  # drops the words
    ],
)
def test_the_place_of_the_image(template: str, first: bool) -> None:
    with_image, bare = samples(ask("What colour is it?", shape("circle", "red"), shape("square", "blue"), num_ctx=2048))
    assert [len(message.images) for message in (*with_image.messages, *bare.messages)] == [1, 0]
    assert with_image.options == bare.options
    words = bare.messages[0].text

    def rendered(image: str) -> str:
        return template.format(image=image, words=words)

    assert image_comes_first(rendered("<image>"), rendered("")) is first


def test_samples_are_small_and_keep_what_the_model_is_loaded_with() -> None:
    request = ask("What colour is it?", shape("circle", "red"), history=(Message("assistant", (TextPart("long " * 1000),)),), num_ctx=2048)
    with_image, _ = samples(request)
    assert (with_image.model, with_image.options) == (request.model, request.options)
    assert len(with_image.messages) == len(with_image.renditions) == 1
