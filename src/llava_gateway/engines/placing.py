"""Tells from rendered prompts whether a model's template leaves an image before the words that follow it (pure).

Some templates collect the words of a message first. Then two questions about an image share no prompt up to the image's end, and
there is nothing in it that could be read before the question is known.
"""

from __future__ import annotations

from dataclasses import replace

from llava_gateway.chat import EngineRequest, Message, TextPart

_WORDS = "Where is the picture?"


def samples(request: EngineRequest) -> tuple[EngineRequest, EngineRequest]:
    """A question about one of the request's images, and the same words without it; the rest as in `request`, which must have one."""
    part, rendition = next(iter(request.renditions.items()))
    piece = replace(rendition, pieces=rendition.pieces[:1])
    words = TextPart(_WORDS)
    return (
        replace(request, messages=(Message("user", (part, words)),), renditions={part: piece}),
        replace(request, messages=(Message("user", (words,)),), renditions={}),
    )


def image_comes_first(with_image: str, without: str) -> bool:
    """Whether the image stands before the words, given the prompts of both samples: what it is written as need not be known."""
    head, found, tail = with_image.partition(_WORDS)
    bare_head, _, bare_tail = without.partition(_WORDS)
    return bool(found) and head != bare_head and tail == bare_tail
