"""Finds out from rendered prompts whether a model's template keeps an image before the words that follow it (pure).

Some templates collect the words of a message first. Then two questions about an image have no common beginning that contains the
image, so nothing could be read ahead.
"""

from __future__ import annotations

from dataclasses import replace

from llava_gateway.chat import EngineRequest, Message
from llava_gateway.parts import TextPart

_WORDS = "Where is the picture?"
BEGUN = (Message("user", (TextPart(_WORDS),)), Message("assistant", (TextPart("It is right behind"),)))
"""A question and the beginning of its answer, to see whether a template leaves that open."""


def samples(request: EngineRequest) -> tuple[EngineRequest, EngineRequest]:
    """Return a question about one of the request's images, and the same words without it. The request must have an image."""
    part, rendition = next(iter(request.renditions.items()))
    piece = replace(rendition, pieces=rendition.pieces[:1])
    words = TextPart(_WORDS)
    return (
        replace(request, messages=(Message("user", (part, words)),), renditions={part: piece}),
        replace(request, messages=(Message("user", (words,)),), renditions={}),
    )


def image_comes_first(with_image: str, without: str) -> bool:
    """Return whether the image comes before the words, given the prompts of both samples, however the prompt marks an image."""
    head, found, tail = with_image.partition(_WORDS)
    bare_head, _, bare_tail = without.partition(_WORDS)
    return bool(found) and head != bare_head and tail == bare_tail
