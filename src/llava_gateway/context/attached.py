"""Which messages are asked together, where their images are in the request, and which images take their place (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llava_gateway.chat import Message
from llava_gateway.errors import Place
from llava_gateway.parts import Attached, ImagePart, Sight


def asked_together(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """Group the messages that lie between two assistant messages. Each assistant message is a group of its own."""
    group: list[Message] = []
    for message in messages:
        if group and "assistant" in (message.role, group[-1].role):
            yield tuple(group)
            group = []
        group.append(message)
    if group:
        yield tuple(group)


def places(messages: Sequence[Message], first: int | None) -> list[Place]:
    """Return the place of each image: its index in the question, or the index of its message in the conversation and its index in that."""
    if first is None:
        return [("image", number) for number in range(sum(len(message.attachments) for message in messages))]
    return [("message", place, "image", number) for place, one in enumerate(messages, first) for number in range(len(one.attachments))]


def with_images(message: Message, images: Iterator[ImagePart]) -> Message:
    """Replace each image of the message with the next of `images`. Removes the images that are left when `images` ends."""
    if not message.attachments:
        return message
    parts = (next(images, None) if isinstance(part, Attached) else part for part in message.parts)
    return replace(message, parts=tuple(part for part in parts if part is not None))


def in_common(sights: Sequence[Sight]) -> tuple[Sight, tuple[str, ...]]:
    """Return the sight that all images share, for the sheet, and the names of the fields that can't apply to it."""
    shared = {name: value for name, value in sights[0].to_json().items() if name != "region"}
    shared = {name: value for name, value in shared.items() if all(getattr(sight, name) == value for sight in sights)}
    every = dict.fromkeys(name for sight in sights for name in sight.to_json() if getattr(sight, name) != getattr(Sight(), name))
    return Sight(**shared), tuple(name for name in every if name not in shared)
