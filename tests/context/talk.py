"""Conversations to cut and to write down."""

from __future__ import annotations

from llava_gateway.chat import Message, Part, TextPart
from llava_gateway.context.prompt import Conversation
from llava_gateway.context.window import Exchange


def exchange(turn: int, parts: tuple[Part, ...], answer: str, tokens: int, images: tuple[int, ...] = (), first: int = 1) -> Exchange:
    """A question and its answer."""
    return Exchange(turn, (Message("user", parts), Message("assistant", (TextPart(answer),))), tokens, images, first)


def conversation(system: str, exchanges: tuple[Exchange, ...], question: tuple[Part, ...]) -> Conversation:
    """As a session has it."""
    head = (Message("system", (TextPart(system),)),) if system else ()
    return Conversation(head, exchanges, (Message("user", question),))
