"""Lets the answer of a session's last turn go on: what is asked for that, and how its words are joined (pure).

If the engine can, the model writes on behind its own words (a prefill). Otherwise it is asked for the rest.
"""

from __future__ import annotations

from dataclasses import replace

from llava_gateway.chat import ChatRequest, Message
from llava_gateway.context.words import is_chinese, rest_question
from llava_gateway.errors import InvalidRequest
from llava_gateway.parts import TextPart
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn

FIRST_CJK = "\u2e80"
"""From here on, characters are of scripts without spaces between words, nearly all of them."""


def continued_turn(request: ChatRequest, session: Session) -> Turn | None:
    """Return the turn whose answer the request continues; None if it is a question. Raises InvalidRequest."""
    if request.continues is None:
        return None
    turn = session.turns[-1] if session.turns else None
    if turn is None or not turn.answer:
        raise InvalidRequest("nothing_to_continue").at("turn")
    if turn.id != request.continues:
        raise InvalidRequest("turn_not_last", values={"last": turn.id}).at("turn")
    if not turn.is_cut:
        raise InvalidRequest("answer_whole").at("turn")
    return turn


def resumed(request: ChatRequest, turn: Turn) -> ChatRequest:
    """Return the request that asks the turn's question again, with the beginning of its answer.

    The notes that recall images are left out: the prompt gets the same ones again. Options of the request go before those of the turn.
    """
    question = Message("user", tuple(part for part in turn.parts if not (isinstance(part, TextPart) and part.recalls is not None)))
    begun = Message("assistant", (TextPart(turn.answer),))
    return replace(request, messages=(question, begun), model=turn.model or None, options=request.options.over(turn.options))


def asking_for_the_rest(request: ChatRequest) -> ChatRequest:
    """Return the request with a message that asks for the rest, for an engine that can't go on behind the model's words."""
    chinese = is_chinese(request.messages[0].text_without_notes + request.messages[-1].text)
    return replace(request, messages=(*request.messages, Message("user", (TextPart(rest_question(chinese=chinese), note=True),))))


def joint(text: str) -> str:
    """Return what goes between the words so far and the first ones of the rest, which may begin with a space or not."""
    return "" if text[-1:].isspace() or text[-1:] >= FIRST_CJK else " "
