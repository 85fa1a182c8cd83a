"""What the ways to count a prompt share: a request without its pixels, and the sum of its parts (pure)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from llava_gateway.chat import EngineRequest, ImagePart, Label, Message, Piece, TokenCount

STAND_IN = Piece(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="),
    "PNG",
    width=1,
    height=1,
)
"""What is sent for an image where only its place matters."""
_TRUST: tuple[Label, ...] = ("exact", "measured", "estimated")


def count_pieces(request: EngineRequest) -> int:
    """How many files the engine gets."""
    return sum(len(rendition.pieces) for rendition in request.shown)


def without_pixels(request: EngineRequest) -> EngineRequest:
    """The same request, small: a stand-in for every piece."""
    small = {part: replace(rendition, pieces=(STAND_IN,) * len(rendition.pieces)) for part, rendition in request.renditions.items()}
    return replace(request, renditions=small)


def without_images(request: EngineRequest) -> EngineRequest:
    """The same request, its words alone."""
    messages = tuple(
        Message(message.role, tuple(part for part in message.parts if not isinstance(part, ImagePart))) for message in request.messages
    )
    return replace(request, messages=messages, renditions={})


def system_text(request: EngineRequest) -> str:
    return "\n".join(message.text for message in request.messages if message.role == "system")


def token_count(
    request: EngineRequest, prompt: int, system: int, *, label: Label = "exact", costs: Mapping[ImagePart, int | None] | None = None
) -> TokenCount:
    """The sum. An image whose cost nobody knows counts 0, and makes all of it an estimate.

    Args:
        prompt: tokens of the prompt without its images.
        system: tokens of the system messages' own words. What the template puts around them belongs to the text.
        label: how far `prompt` can be trusted.
        costs: of images that the engine was asked about; of the others their rendition tells.
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
