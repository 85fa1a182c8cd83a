"""Responses: POST /v1/responses, and what becomes of those that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from llava_gateway.answers import Answer
from llava_gateway.api.bodies import FieldError, Items, parse_body
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.native_json import check_length
from llava_gateway.api.openai.common import Common, OpenBody, chat_request, format_of, read_common, think_of
from llava_gateway.api.openai.errors import Spelling
from llava_gateway.api.openai.files import FileShelf, shelf_of
from llava_gateway.api.openai.messages import Messages
from llava_gateway.api.openai.parts import PartReader
from llava_gateway.api.openai.responses_frames import ResponseEvents, WholeResponseFrames
from llava_gateway.api.openai.responses_input import item_list, read_input
from llava_gateway.api.openai.responses_json import Echo
from llava_gateway.api.openai.responses_store import ResponseStore, responses_of
from llava_gateway.api.openai.tools import choice_of, tools_of
from llava_gateway.api.response import JSONResponse, json_response
from llava_gateway.api.schemas import least_chars
from llava_gateway.api.stream import AnswerResponse
from llava_gateway.api.threads import in_thread
from llava_gateway.chat import ChatRequest, Message, NamedTool, Policy, Tool, ToolChoice
from llava_gateway.errors import ConflictingFields, InvalidRequest
from llava_gateway.parts import TextPart, ToolCallPart
from llava_gateway.settings import Settings

_NOT_BOOLEAN = FieldError("field_not_boolean")
TRUNCATIONS: dict[str, Policy] = {"auto": "pin_images", "disabled": "strict"}
"""What happens to a conversation that does not fit, by OpenAI's words for it."""
NOT_HERE = ("conversation", "background", "prompt")
"""Fields that would need a server's own conversations, jobs or templates."""
MOST_ITEMS = 100
REPEATED = ("metadata", "user", "text", "tools")
"""Fields without limits of their own that each response repeats, and the store keeps."""
MOST_REPEATED = 256 * 1024
"""Characters that each of these fields may have: a stream writes them three times, on the event loop."""


class ResponsesBody(OpenBody):
    """The fields of a response that are read here; `common.py` reads the others."""

    model: str | None = Field(None, max_length=256)
    input: Any = None
    instructions: str | None = None
    previous_response_id: str | None = Field(None, max_length=256)
    store: Annotated[bool | None, _NOT_BOOLEAN] = None
    stream: Annotated[bool | None, _NOT_BOOLEAN] = None
    text: dict[str, Any] | None = None
    tools: Any = None
    tool_choice: Any = None
    reasoning: dict[str, Any] | None = None
    think: Any = None
    include: Items[str] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    truncation: str | None = None
    metadata: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    conversation: Any = None
    background: Any = None
    prompt: Any = None


KNOWN = frozenset(ResponsesBody.model_fields)


@dataclass(frozen=True, slots=True)
class ResponseRead:
    """A request as it was read; `before` is the conversation that it continues."""

    body: ResponsesBody
    common: Common
    before: tuple[Message, ...]
    new: Messages
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    spelling: Spelling


def read_response(given: Any, settings: Settings, shelf: FileShelf, store: ResponseStore) -> ResponseRead:
    """Read the body of a request. Raises InvalidRequest, ImageError, NotFound."""
    body = parse_body(ResponsesBody, given)
    for name in NOT_HERE:
        if getattr(body, name):
            raise InvalidRequest("field_not_here", param=name)
    if body.truncation not in (None, *TRUNCATIONS):
        raise InvalidRequest("truncation_wrong", values={"known": tuple(TRUNCATIONS)}, param="truncation")
    if given.get("session_id"):
        raise ConflictingFields("responses_in_session", param="session_id")
    check_length("instructions", body.instructions, settings)
    for name in REPEATED:
        if (count := least_chars(getattr(body, name))) > MOST_REPEATED:
            raise InvalidRequest("text_too_long", values={"count": count, "most": MOST_REPEATED}, param=name)
    answer_format, format_name = format_of((body.text or {}).get("format"), "text.format", "")
    said = {**given, "text.verbosity": (body.text or {}).get("verbosity")}
    common = read_common(said, KNOWN, answer_format)
    tools, choice = choice_of(body.tool_choice, tools_of(body.tools))
    earlier: tuple[Message, ...] = ()
    if body.previous_response_id:
        named = body.previous_response_id
        earlier = store.get(named, param="previous_response_id", code="previous_response_not_found").messages
    called = {call.id: call.name for message in earlier for call in message.tool_calls}
    new = read_input(body.input, PartReader(settings, shelf.data, common.beside), called, store.item)
    others = {"format": format_name, "think": "reasoning.effort", "images": "input", "messages": "input"}
    spelling = Spelling((*(() for _ in earlier), *new.names), common.called, others)
    return ResponseRead(body, common, earlier, new, tools, choice, spelling)


async def create_response(request: Request) -> Response:
    """Answer with a response, or with its events."""
    gateway, store = gateway_of(request), responses_of(request)
    asked = await _read(request)
    question = _question(asked, gateway.settings)
    model = await gateway.pool.resolve(question.model)
    echo = Echo(model, _echoed(asked))
    frames = (ResponseEvents if asked.body.stream else WholeResponseFrames)(echo, partial(_keep, asked, store), asked.spelling)
    return AnswerResponse(gateway, question, frames, request_id(request))


async def count_input_tokens(request: Request) -> Response:
    """Count the tokens of a request, as the engine will count its prompt. The model is not asked."""
    gateway = gateway_of(request)
    prompt = await gateway.count_tokens(_question(await _read(request), gateway.settings))
    count = prompt.fitted.count
    return JSONResponse({"object": "response.input_tokens", "input_tokens": count.total if count else 0})


async def get_response(request: Request) -> Response:
    """Return a stored response."""
    if request.query_params.get("stream") == "true":
        raise InvalidRequest("stored_not_streamed", param="stream")
    return await json_response(responses_of(request).get(request.path_params["response_id"]).body)


async def delete_response(request: Request) -> Response:
    response_id = request.path_params["response_id"]
    responses_of(request).delete(response_id)
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


async def list_input_items(request: Request) -> Response:
    """List the items that came with the request of a stored response."""
    stored, query = responses_of(request).get(request.path_params["response_id"]), request.query_params
    items = await in_thread(item_list, stored.input, stored.id)
    if query.get("order") != "asc":
        items.reverse()
    ids = [item["id"] for item in items]
    begin = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    limit = query.get("limit", "20")
    end = begin + min(int(limit), MOST_ITEMS) if limit.isdecimal() and len(limit) < 9 else len(items)
    page = items[begin:end]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return await json_response({"object": "list", "data": page, **ends, "has_more": end < len(items)})


async def _read(request: Request) -> ResponseRead:
    settings, shelf, store = gateway_of(request).settings, shelf_of(request), responses_of(request)
    return await read_any_json(request, partial(read_response, settings=settings, shelf=shelf, store=store))


def _question(asked: ResponseRead, settings: Settings) -> ChatRequest:
    body, common = asked.body, asked.common
    effort = (body.reasoning or {}).get("effort")
    messages, system = _instructed(body.instructions, (*asked.before, *asked.new.messages))
    wants_logprobs = body.top_logprobs is not None or "message.output_text.logprobs" in (body.include or ())
    fields: dict[str, Any] = {
        "model": body.model or None,
        "system": system,
        "tools": asked.tools,
        "tool_choice": asked.tool_choice,
        "think": think_of(body.think, "think") if body.think is not None else think_of(effort, "reasoning.effort"),
        "logprobs": (body.top_logprobs or 0) if wants_logprobs else None,
    }
    if body.truncation and common.beside.policy is None:
        beside = common.beside.model_copy(update={"policy": TRUNCATIONS[body.truncation]})
        common = Common(beside, common.called, common.warnings)
    return chat_request(common, messages, settings, None, **fields)


def _instructed(instructions: str | None, messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], str | None]:
    """Put the instructions before the conversation: into its first message if that has instructions too, since templates expect one.

    Returns (messages, system prompt).
    """
    if not instructions or messages[0].role != "system":
        return messages, instructions or None
    first = Message("system", (TextPart(f"{instructions}\n"), *messages[0].parts))
    return (first, *messages[1:]), None


def _keep(asked: ResponseRead, store: ResponseStore, response: dict[str, Any], answer: Answer) -> None:
    """Store a response and the conversation that it ends, unless the client does not want that."""
    if asked.body.store is False:
        return
    called = {item["call_id"]: item for item in response["output"] if item["type"] == "function_call"}
    calls = tuple(ToolCallPart(call_id, item["name"], item["arguments"]) for call_id, item in called.items())
    said = (TextPart(answer.text),) if answer.text or not calls else ()
    store.add(response, asked.new.messages, (*asked.before, *asked.new.messages, Message("assistant", (*said, *calls))))


def _echoed(asked: ResponseRead) -> dict[str, Any]:
    """Return what a response repeats of its request."""
    body, options = asked.body, asked.common.beside.options
    effort = (body.reasoning or {}).get("effort")
    return {
        "instructions": body.instructions,
        "max_output_tokens": limit if isinstance(limit := options.get("num_predict"), int) and limit > 0 else None,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": effort, "summary": None},
        "store": body.store is not False,
        "temperature": options.get("temperature"),
        "text": _echoed_text(body.text),
        "tool_choice": _echoed_choice(asked),
        "tools": [
            {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in asked.tools
        ],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": options.get("top_p"),
        "truncation": body.truncation or "disabled",
        "user": body.user,
    }


def _echoed_text(text: dict[str, Any] | None) -> dict[str, Any]:
    shape = (text or {}).get("format") or {"type": "text"}
    return {"format": {"name": "answer", **shape} if shape["type"] == "json_schema" else shape}


def _echoed_choice(asked: ResponseRead) -> Any:
    choice = asked.tool_choice
    return {"type": "function", "name": choice.name} if isinstance(choice, NamedTool) else choice
