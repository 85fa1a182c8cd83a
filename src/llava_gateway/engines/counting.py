"""Shared by all token counters: requests without image data, and the sum of a prompt's parts (pure)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from llava_gateway.chat import EngineRequest, Label, Message, Piece, Rendition, TokenCount
from llava_gateway.parts import ImagePart

STAND_IN = Piece(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="),
    "PNG",
    width=1,
    height=1,
)
"""A tiny image that stands in where only the image's place in the prompt matters."""
_TRUST: tuple[Label, ...] = ("exact", "measured", "estimated")


def count_pieces(request: EngineRequest) -> int:
    """Return how many image files the engine gets."""
    return sum(len(rendition.pieces) for rendition in request.shown)


def without_pixels(request: EngineRequest) -> EngineRequest:
    """Return the same request with a tiny stand-in for each image file."""

    def small(rendition: Rendition) -> Rendition:
        return replace(rendition, pieces=tuple(replace(STAND_IN, label=piece.label) for piece in rendition.pieces))

    return replace(request, renditions={part: small(rendition) for part, rendition in request.renditions.items()})


def without_images(request: EngineRequest) -> EngineRequest:
    """Return the same request with only its words."""
    messages = tuple(
        Message(message.role, tuple(part for part in message.parts if not isinstance(part, ImagePart))) for message in request.messages
    )
    return replace(request, messages=messages, renditions={})


def system_text(request: EngineRequest) -> str:
    return "\n".join(message.text for message in request.messages if message.role == "system")


def token_count(
    request: EngineRequest, prompt: int, system: int, *, label: Label = "exact", costs: Mapping[ImagePart, int | None] | None = None
) -> TokenCount:
    """Add up the tokens of a prompt. An image of unknown cost counts 0, and makes the whole count an estimate.

    Args:
        prompt: tokens of the prompt without its images.
        system: tokens of the system messages' own words. The words that the template puts around them belong to the text.
        label: how reliable `prompt` is.
        costs: tokens of the images that the engine counted itself. The renditions know the others.
    """
    images, labels = [], [label]
    for part in request.images:
        rendition = request.renditions[part]
        asked = (costs or {}).get(part)
        images.append((rendition.tokens or 0) if asked is None else asked)
        if asked is None:
            labels.append("estimated" if rendition.tokens is None else rendition.label)
    system = min(system, prompt)
    return TokenCount(system, prompt - system, tuple(images), max(labels, key=_TRUST.index), label == "exact")
