"""Chat completions: POST /v1/chat/completions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from llava_gateway.answers import Answer, Done
from llava_gateway.api.bodies import FieldError, Items, parse_body
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.forced_tool import asking
from llava_gateway.api.openai.common import Common, OpenBody, chat_request, format_of, read_common, think_of
from llava_gateway.api.openai.errors import Spelling
from llava_gateway.api.openai.files import FileShelf, shelf_of
from llava_gateway.api.openai.frames import ChunkFrames, Completion, WholeFrames
from llava_gateway.api.openai.messages import Messages, read_messages
from llava_gateway.api.openai.parts import PartReader
from llava_gateway.api.openai.tools import choice_of, tools_of
from llava_gateway.api.stream import AnswerResponse, Sender, WatchedResponse
from llava_gateway.chat import ChatRequest, Message, Tool, ToolChoice
from llava_gateway.errors import ConflictingFields, InvalidRequest, UpstreamIncomplete
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings

MOST_CHOICES = 4
_NOT_BOOLEAN = FieldError("field_not_boolean")


class StreamOptions(OpenBody):
    include_usage: Annotated[bool | None, _NOT_BOOLEAN] = None


class ChatBody(OpenBody):
    """The fields of a chat completion that are read here; `common.py` reads the others."""

    model: str | None = Field(None, max_length=256)
    messages: Items[Any] = Field(min_length=1)
    stream: Annotated[bool | None, _NOT_BOOLEAN] = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    logprobs: Annotated[bool | None, _NOT_BOOLEAN] = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: Any = None
    tools: Any = None
    tool_choice: Any = None
    reasoning_effort: Any = None
    think: Any = None
    functions: Any = None


KNOWN = frozenset(ChatBody.model_fields) - {"functions"}


@dataclass(frozen=True, slots=True)
class ChatRead:
    """A request as it was read, before anything of a session is filled in."""

    body: ChatBody
    common: Common
    chat: Messages
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    spelling: Spelling


def read_chat(given: Any, settings: Settings, shelf: FileShelf) -> ChatRead:
    """Read the body of a request. Raises InvalidRequest, ImageError."""
    body = parse_body(ChatBody, given)
    if body.functions and not body.tools:  # beside tools, they are ignored with a warning
        raise InvalidRequest("functions_outdated", param="functions")
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs_alone", param="top_logprobs")
    answer_format, format_name = format_of(body.response_format, "response_format")
    common = read_common(given, KNOWN, answer_format)
    tools, choice = choice_of(body.tool_choice, tools_of(body.tools))
    chat = read_messages(body.messages, PartReader(settings, shelf.data, common.beside))
    others = {"format": format_name, "think": "reasoning_effort", "images": "messages"}
    return ChatRead(body, common, chat, tools, choice, Spelling(chat.names, common.called, others))


async def chat_completions(request: Request) -> Response:
    """Answer with a chat completion, or with its chunks."""
    gateway = gateway_of(request)
    asked = await read_any_json(request, partial(read_chat, settings=gateway.settings, shelf=shelf_of(request)))
    body, session_id = asked.body, asked.common.beside.session_id
    session = gateway.sessions.get(session_id) if session_id else None
    question, spelling = _question(asked, session, gateway.settings)
    model = await gateway.pool.choose(question.model, session.model if session else "", session.engine if session else None)
    completion = Completion(model)
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    frames = ChunkFrames(completion, spelling, include_usage=include_usage) if body.stream else WholeFrames(completion, spelling)
    if body.n is not None and body.n > 1:
        return ChoicesResponse(gateway, _seeded(question, body.n), frames, request_id(request))
    on_disconnect = asked.common.beside.on_disconnect or gateway.settings.on_disconnect
    return AnswerResponse(gateway, question, frames, request_id(request), on_disconnect)


def _question(asked: ChatRead, session: Session | None, settings: Settings) -> tuple[ChatRequest, Spelling]:
    """Return the request for the gateway, and the client's names of its parts."""
    body = asked.body
    messages, spelling, system = asked.chat.messages, asked.spelling, None
    if session is not None:
        messages, spelling, system = _in_session(asked)
    fields = {
        "model": body.model or None,
        "system": system,
        "tools": asked.tools,
        "tool_choice": asked.tool_choice,
        "think": think_of(body.think, "think") if body.think is not None else think_of(body.reasoning_effort, "reasoning_effort"),
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
    }
    return chat_request(asked.common, messages, settings, session, **fields), spelling


def _in_session(asked: ChatRead) -> tuple[tuple[Message, ...], Spelling, str | None]:
    """Return what is new in a session, which has the rest already: the messages behind the last answer, and the system prompt.

    Raises InvalidRequest, ConflictingFields.
    """
    if asked.body.n is not None and asked.body.n > 1:
        raise ConflictingFields("fields_differ", values={"one": "n", "other": "session_id"}, param="n")
    messages = asked.chat.messages
    if asked.tools or any(message.role == "tool" for message in messages):
        raise InvalidRequest("tools_in_session", param="tools" if asked.tools else "messages")
    begin = max((index + 1 for index, message in enumerate(messages) if message.role == "assistant"), default=0)
    new = [index for index in range(begin, len(messages)) if messages[index].role == "user"]
    if not new:
        raise InvalidRequest("nothing_new", param="messages")
    system = "\n\n".join(message.text for message in messages if message.role == "system") or None
    spelling = replace(asked.spelling, images=tuple(asked.spelling.images[index] for index in new))
    return tuple(messages[index] for index in new), spelling, system


def _seeded(question: ChatRequest, count: int) -> tuple[ChatRequest, ...]:
    """Return the question for each of several answers: with other seeds, so that the answers differ."""
    seed = question.options.seed
    if seed is None or seed < 0:
        return (question,) * count
    return tuple(replace(question, options=replace(question.options, seed=seed + index)) for index in range(count))


class ChoicesResponse(WatchedResponse):
    """The response with several answers to one question, asked one after the other: the engine has read the prompt after the first."""

    def __init__(self, gateway: Gateway, questions: tuple[ChatRequest, ...], frames: WholeFrames, request_id: str) -> None:
        super().__init__(gateway.settings, frames, request_id)
        self._gateway = gateway
        self._questions = questions
        self._choices = frames

    async def send_all(self, out: Sender) -> None:
        answers = [await self._answer(question, out) for question in self._questions]
        if isinstance(self._choices, ChunkFrames):
            await out.write(self._choices.end(answers), self._choices.media_type)
            await out.end()
        else:
            await out.respond(self._choices.all(answers))

    async def _answer(self, question: ChatRequest, out: Sender) -> Answer:
        frames = self._choices
        async with asking(self._gateway, question) as events:
            async for event in events:
                if isinstance(event, Done):
                    if isinstance(frames, ChunkFrames):
                        await out.write(frames.end_of_choice(event.answer), frames.media_type)
                    return event.answer
                if frame := frames.event(event):
                    await out.write(frame, frames.media_type or "")
        raise UpstreamIncomplete
