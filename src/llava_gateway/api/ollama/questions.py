"""POST /api/chat and /api/generate: questions, and requests without one, which load or unload a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.answers import Answer
from llava_gateway.api.bodies import parse_body
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.native_json import check_length
from llava_gateway.api.ollama.bodies import ChatBody, GenerateBody, QuestionBody
from llava_gateway.api.ollama.buffers import with_base64
from llava_gateway.api.ollama.frames import ChatFrames, GenerateFrames, OllamaFrames
from llava_gateway.api.ollama.memory import Exchange, packed, remembered, unpacked
from llava_gateway.api.ollama.messages import images_of, messages_of, tools_of
from llava_gateway.api.ollama.names import find_model
from llava_gateway.api.ollama.options import keep_alive_of, options_of
from llava_gateway.api.stream import AnswerResponse, Sender, WatchedResponse, numbered, send_answer
from llava_gateway.chat import ChatRequest, CompletionRequest, Message, Think, Tool
from llava_gateway.engines.ollama_prompt import unloads_at_once
from llava_gateway.errors import InvalidRequest
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import Note, note
from llava_gateway.options import Policy
from llava_gateway.parts import Link, TextPart, Upload
from llava_gateway.settings import Settings

router = APIRouter()


@router.post("/api/chat", include_in_schema=False)
async def chat(request: Request) -> Response:
    """Answer the last message of a conversation. Without messages, load the model, or unload it with a keep_alive of 0."""
    gateway = gateway_of(request)

    def read(value: Any) -> tuple[ChatBody, tuple[Message, ...], tuple[Tool, ...]]:
        body = parse_body(ChatBody, value)
        return body, messages_of(body.messages, gateway.settings), tools_of(body.tools)

    body, messages, tools = await read_any_json(request, read, with_base64)
    frames = ChatFrames(body.asked_for, stream=body.stream, extras=body.llava_gateway)
    asked = replace(await _request(gateway, body, messages, ()), tools=tools)
    return _response(gateway, asked, frames, request_id(request))


@router.post("/api/generate", include_in_schema=False)
async def generate(request: Request) -> Response:
    """Answer a prompt. Without a prompt or an image, load the model, or unload it with a keep_alive of 0."""
    gateway = gateway_of(request)
    body, message = await read_any_json(request, partial(_read_prompt, gateway.settings), with_base64)
    earlier = unpacked(body.context)
    memory: Callable[[Answer], list[int]] = _forget if body.is_special else partial(_remember, earlier, body.prompt)
    frames = GenerateFrames(body.asked_for, stream=body.stream, extras=body.llava_gateway, memory=memory)
    is_asked = bool(body.prompt or body.images)
    if body.is_special and is_asked:
        completion = await _completion(gateway, body)
        return CompletionResponse(gateway, completion, _files(message), frames, request_id(request))
    if not is_asked:
        return _response(gateway, await _request(gateway, body, (), ()), frames, request_id(request))
    history, warnings = remembered(earlier, gateway.images)
    system = (Message("system", (TextPart(body.system),)),) if body.system else ()
    asked = await _request(gateway, body, (*system, *history, message), warnings)
    return _response(gateway, asked, frames, request_id(request))


def _read_prompt(settings: Settings, value: Any) -> tuple[GenerateBody, Message]:
    """Parse the body, and return its prompt with its images as a message. Raises InvalidRequest, ImageError."""
    body = parse_body(GenerateBody, value)
    if body.is_special and body.context:
        raise InvalidRequest("context_of_prompt", param="context")
    if beside := next((name for name in ("template", "system") if body.raw and getattr(body, name)), None):
        raise InvalidRequest("raw_alone", param=beside)
    for name in ("prompt", "system", "template", "suffix"):
        check_length(name, getattr(body, name), settings)
    return body, Message("user", (*images_of(body.images, settings), TextPart(body.prompt)))


async def _completion(gateway: Gateway, body: GenerateBody) -> CompletionRequest:
    """Return the request of a body whose prompt is no conversation. Raises InvalidRequest, ModelNotFound, UpstreamUnavailable."""
    asked = await _request(gateway, body, (), ())
    return CompletionRequest(
        model=asked.model or "",
        prompt=body.prompt,
        raw=body.raw,
        suffix=body.suffix,
        template=body.template,
        system=body.system,
        options=asked.options,
        format=asked.format,
        keep_alive=asked.keep_alive,
        think=asked.think,
        logprobs=asked.logprobs,
    )


def _files(message: Message) -> tuple[Upload | Link, ...]:
    """Return the images that come with a prompt. Raises InvalidRequest for an image that is only named."""
    if message.images:
        raise InvalidRequest("field_unsupported", param="images.image_id")
    return tuple(part for part in message.parts if isinstance(part, Upload | Link))


async def _request(gateway: Gateway, body: QuestionBody, messages: tuple[Message, ...], warnings: Sequence[Note]) -> ChatRequest:
    """Return the request of a body. Raises InvalidRequest, ModelNotFound, UpstreamUnavailable."""
    if body.debug_render_only:
        raise InvalidRequest("field_unsupported", param="_debug_render_only")
    for index, message in enumerate(messages):
        check_length(f"messages[{index}].content", message.text, gateway.settings)
    options, ignored = options_of(body.options, gateway.settings)
    shift = (note("option_ignored", option="shift"),) if body.shift is False else ()
    model = await find_model(gateway, body.asked_for)
    return ChatRequest(
        messages,
        model=model.name,
        options=options,
        format=body.format,
        keep_alive=keep_alive_of(body.keep_alive),
        policy=_policy(body.truncate),
        annotate=False,
        think=_think(body),
        logprobs=body.top_logprobs if body.logprobs else None,
        warnings=(*warnings, *ignored, *shift),
    )


def _policy(truncate: bool | None) -> Policy | None:
    """Return what happens if the conversation is too long. Without `truncate` we reject it: NDJSON has no place to say what is missing."""
    return None if truncate is None else "pin_images" if truncate else "strict"


def _think(body: QuestionBody) -> Think | None:
    return "high" if body.think == "max" else body.think


def _remember(earlier: tuple[Exchange, ...], prompt: str, answer: Answer) -> list[int]:
    """Return the context that follows from an answer."""
    return packed((*earlier, Exchange(prompt, tuple(image.id for image in answer.images), answer.text)))


def _forget(_: Answer) -> list[int]:
    return []


def _response(gateway: Gateway, asked: ChatRequest, frames: OllamaFrames, instance: str) -> Response:
    if asked.messages:
        return AnswerResponse(gateway, asked, frames, instance)
    return LoadResponse(gateway, asked, frames, instance)


class CompletionResponse(WatchedResponse):
    """The response to a prompt that is no conversation."""

    def __init__(
        self, gateway: Gateway, asked: CompletionRequest, images: Sequence[Upload | Link], frames: OllamaFrames, request_id: str
    ) -> None:
        super().__init__(gateway.settings, frames, request_id)
        self._gateway = gateway
        self._asked = asked
        self._images = images

    async def send_all(self, out: Sender) -> None:
        async with aclosing(self._gateway.complete(self._asked, self._images)) as events:
            await send_answer(out, self._frames, numbered(events))


class LoadResponse(WatchedResponse):
    """The response to a request without a question: it loads the model, or unloads it if `keep_alive` is zero."""

    def __init__(self, gateway: Gateway, asked: ChatRequest, frames: OllamaFrames, request_id: str) -> None:
        super().__init__(gateway.settings, frames, request_id)
        self._gateway = gateway
        self._asked = asked
        self._ollama_frames = frames

    async def send_all(self, out: Sender) -> None:
        model = self._asked.model or ""
        if unloads_at_once(self._asked.keep_alive):
            await self._gateway.unload(model)
            await out.respond(self._ollama_frames.loaded("unload"))
        else:
            await self._gateway.load(model, self._asked.options, keep_alive=self._asked.keep_alive)
            await out.respond(self._ollama_frames.loaded("load"))
