"""Build conversations for the tests of the window and the prompt."""

from __future__ import annotations

from llava_gateway.chat import Message
from llava_gateway.context.prompt import Conversation
from llava_gateway.context.window import Exchange
from llava_gateway.parts import Part, TextPart


def exchange(turn: int, parts: tuple[Part, ...], answer: str, tokens: int, images: tuple[int, ...] = (), first: int = 1) -> Exchange:
    """Build an exchange of a question and its answer."""
    return Exchange(turn, (Message("user", parts), Message("assistant", (TextPart(answer),))), tokens, images, first)


def conversation(system: str, exchanges: tuple[Exchange, ...], question: tuple[Part, ...]) -> Conversation:
    """Build a conversation as a session has it."""
    head = (Message("system", (TextPart(system),)),) if system else ()
    return Conversation(head, exchanges, (Message("user", question),))
