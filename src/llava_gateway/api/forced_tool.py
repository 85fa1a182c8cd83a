"""Serves one forced tool on models that can't call tools: the answer is JSON by the tool's schema, and becomes the tool's call.

Programs for structured answers (pydantic-ai, instructor, the AI SDK) ask in this way.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.chat import JSON, ChatRequest, FinishReason, Message, NamedTool, TextDelta, Tool, ToolCall
from llava_gateway.errors import GatewayError, ModelLacksTools
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.parts import TextPart
from llava_gateway.sessions.session import new_id

NO_ARGUMENTS: JSON = {"type": "object", "properties": {}}


@asynccontextmanager
async def asking(gateway: Gateway, request: ChatRequest) -> AsyncIterator[AsyncGenerator[AnswerEvent]]:
    """Answer a request as `Gateway.ask` does. If it forces one tool and the model can't call tools, the answer is that tool's call."""
    tool = forced_tool(request)
    if tool is None:
        async with gateway.ask(request) as events:
            yield events
        return
    async with aclosing(_with_any_model(gateway, request, tool)) as events:
        yield events


def forced_tool(request: ChatRequest) -> Tool | None:
    """Return the one tool that the model must call, if the request leaves it no choice."""
    match request.tool_choice:
        case NamedTool(name):
            return next((tool for tool in request.tools if tool.name == name), None)
        case "required" if len(request.tools) == 1:
            return request.tools[0]
    return None


def as_format(request: ChatRequest, tool: Tool) -> ChatRequest:
    """Return the request with the arguments of the tool as the format of its answer."""
    schema = tool.parameters or NO_ARGUMENTS
    asked = replace(request, tools=(), tool_choice="auto", format=schema)
    return _instructed(asked, _instruction(tool, schema)) if tool.description or _is_described(schema) else asked


async def _with_any_model(gateway: Gateway, request: ChatRequest, tool: Tool) -> AsyncGenerator[AnswerEvent]:
    try:
        async with gateway.ask(request) as events:
            async for event in events:
                yield event
        return
    except ModelLacksTools:
        pass
    try:
        async with gateway.ask(as_format(request, tool)) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        continue
                    case Done(answer):
                        call = ToolCall(f"call_{new_id()}", tool.name, answer.text)
                        yield call
                        yield Done(_called(answer, call))
                    case _:
                        yield event
    except GatewayError as error:
        if error.place == ("format",):
            error.at("tools")
        raise


def _called(answer: Answer, call: ToolCall) -> Answer:
    """Return the answer with its text as the arguments of a call. One that reached its length limit says so."""
    reason: FinishReason = "length" if answer.finish_reason == "length" else "tool_calls"
    return replace(answer, text="", logprobs=(), tool_calls=(call,), finish_reason=reason)


def _instruction(tool: Tool, schema: JSON) -> str:
    """Tell the model what the template of a model with tools would tell it."""
    about = f": {tool.description}" if tool.description else ""
    return f"Answer with the arguments of the function {tool.name}{about}\nThey are JSON that follows this schema: {json.dumps(schema)}"


def _instructed(request: ChatRequest, instruction: str) -> ChatRequest:
    """Add an instruction to those at the beginning, which stay the same in every turn."""
    first = request.messages[0]
    if first.role != "system":
        return replace(request, system="\n\n".join(filter(None, (request.system, instruction))))
    told = Message("system", (*first.parts, TextPart(f"\n{instruction}")))
    return replace(request, messages=(told, *request.messages[1:]))


def _is_described(schema: Any) -> bool:
    """Return whether a schema has a description of anything in it."""
    match schema:
        case dict():
            return isinstance(schema.get("description"), str) or any(map(_is_described, schema.values()))
        case list():
            return any(map(_is_described, schema))
    return False
