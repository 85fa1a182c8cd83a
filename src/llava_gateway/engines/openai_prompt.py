"""Writes the body of /v1/chat/completions as each kind of server wants it (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from llava_gateway.chat import JSON, EngineRequest, Message, NamedTool, Rendition, Think
from llava_gateway.engines.tools import tool_definitions
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, ReasoningPart, TextPart, ToolResultPart


@dataclass(frozen=True, slots=True)
class Dialect:
    """The fields that a kind of server accepts.

    Attributes:
        options: the server's name for each of our options.
        progress: whether it reports how much of the prompt it has read.
        template_arguments: whether it passes arguments to the chat template (`chat_template_kwargs`).
        continues: the fields that make it continue a last assistant message, if it does not do so anyway.
    """

    title: str
    options: Mapping[str, str]
    progress: bool = False
    template_arguments: bool = False
    continues: Mapping[str, bool] = field(default_factory=dict)


_COMMON = {
    "temperature": "temperature",
    "top_p": "top_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "num_predict": "max_tokens",
    "seed": "seed",
    "stop": "stop",
}
PLAIN = Dialect("", _COMMON)
LLAMA_CPP = Dialect(
    "llama.cpp",
    _COMMON | {name: name for name in ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n")},
    progress=True,
    template_arguments=True,
)
_CONTINUES = {"add_generation_prompt": False, "continue_final_message": True}
# https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, "Extra parameters for Chat API"
VLLM = Dialect(
    "vLLM",
    _COMMON | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    template_arguments=True,
    continues=_CONTINUES,
)
BY_OWNER: Mapping[str, Dialect] = {
    "llamacpp": LLAMA_CPP,
    "vllm": VLLM,
    # https://docs.sglang.io/basic_usage/sampling_params.html
    "sglang": replace(VLLM, title="SGLang", continues={"continue_final_message": True}),
    # https://lmstudio.ai/docs/developer/openai-compat/chat-completions, "Supported payload parameters"
    "organization_owner": Dialect("LM Studio", _COMMON | {"top_k": "top_k", "repeat_penalty": "repeat_penalty"}),
}


def chat_body(request: EngineRequest, dialect: Dialect) -> bytes:
    """Write the body of the request.

    Inserts the images' base64 without a JSON encoder, which would block the event loop on megabytes. Joins everything only once, because
    each copy costs as much as all other steps.
    """
    fields: JSON = {"model": request.model, "stream": True, "stream_options": {"include_usage": True}, **_options(request.options, dialect)}
    if dialect.progress:
        fields["return_progress"] = True
    if request.format == "json":
        fields["response_format"] = {"type": "json_object"}
    elif request.format is not None:
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.format}}
    if request.options.stop and dialect is LLAMA_CPP:
        fields |= {"verbose": True, "response_fields": ["stopping_word"]}  # otherwise it does not report which stop text ended the answer
    fields |= _tools(request, dialect)
    if request.logprobs is not None:
        # llama-server takes 0 as "no probabilities". `read_logprobs` removes alternatives that were not asked for.
        fields |= {"logprobs": True, "top_logprobs": max(1, request.logprobs)}
    if request.think is not None:
        fields |= _think(request.think, dialect)
    if request.messages and request.messages[-1].role == "assistant":
        fields |= dialect.continues
    pieces = [json.dumps(fields)[:-1].encode("ascii"), b',"messages":[']
    for place, message in enumerate(request.messages):
        pieces += (b",",) if place else ()
        pieces += _message(message, request.renditions)
    return b"".join((*pieces, b"]}"))


def _tools(request: EngineRequest, dialect: Dialect) -> JSON:
    """Return the tool fields. llama-server treats a tool's name as "auto" (seen with b11063), so it gets only that tool, and must call
    one."""
    tools, choice = request.tools, request.tool_choice
    if not tools:
        return {}
    if isinstance(choice, NamedTool) and dialect is LLAMA_CPP:
        tools, choice = tuple(tool for tool in tools if tool.name == choice.name), "required"
    named = {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice
    return {"tools": tool_definitions(tools), "tool_choice": named}


def _think(think: Think, dialect: Dialect) -> JSON:
    """Return the fields for `think`. A boolean is an argument of the template, which other servers would reject; a level is OpenAI's
    own field."""
    if not isinstance(think, bool):
        return {"reasoning_effort": think}
    return {"chat_template_kwargs": {"enable_thinking": think}} if dialect.template_arguments else {}


def with_one_beginning(request: EngineRequest) -> EngineRequest:
    """Join the assistant messages at the end into one: llama-server continues one and rejects two.

    Their words are joined as Ollama joins them (template/template.go, `collate`).
    """
    messages, begin = request.messages, len(request.messages)
    while begin and messages[begin - 1].role == "assistant" and not messages[begin - 1].tool_calls:
        begin -= 1
    last = messages[begin:]
    if len(last) < 2:
        return request
    others = (part for message in last for part in message.parts if not isinstance(part, TextPart))
    text = TextPart("\n\n".join(message.text for message in last))
    return replace(request, messages=(*messages[:begin], Message("assistant", (*others, text))))


def _options(options: Options, dialect: Dialect) -> JSON:
    """Return the options that the server knows, under its names."""
    named: JSON = {}
    for name, value in options.given().items():
        # -1 means "no limit" and "a new seed each time", which is what servers do without the option.
        if name in dialect.options and not (name in ("num_predict", "seed") and value == -1):
            named[dialect.options[name]] = value
    if named.get("top_k") == 0 and dialect.options.get("repeat_penalty") == "repetition_penalty":
        named["top_k"] = -1  # vLLM and SGLang write "all" like this
    return named


def _message(message: Message, renditions: Mapping[ImagePart, Rendition]) -> Iterator[bytes]:
    """Write the JSON of a message, in pieces. Text alone becomes a plain string, which every server accepts; with images, a list of
    parts in their order.
    """
    beside = _beside(message)
    if not message.images:
        content = None if message.tool_calls and not message.text else message.text
        yield json.dumps({"role": message.role, "content": content, **beside}).encode("ascii")
        return
    yield json.dumps({"role": message.role, **beside})[:-1].encode("ascii") + b',"content":['
    yield from _parts(message, renditions)
    yield b"]}"


def _beside(message: Message) -> JSON:
    """Return the fields of a message besides its content."""
    fields: JSON = {}
    for part in message.parts:
        match part:
            case ReasoningPart(text):
                fields["reasoning_content"] = text
            case ToolResultPart(call_id):
                fields["tool_call_id"] = call_id
    if calls := message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls
        ]
    return fields


def _parts(message: Message, renditions: Mapping[ImagePart, Rendition]) -> Iterator[bytes]:
    """Write the parts of a message. Separates adjacent images by a line break: a later prompt that differs after the first of them
    would break llama.cpp's cache.
    """
    beside_image, comma = False, b""
    for part in message.parts:
        match part:
            case TextPart(text) if text:
                yield comma + json.dumps({"type": "text", "text": text}).encode("ascii")
                beside_image, comma = False, b","
            case ImagePart():
                if beside_image:
                    yield b',{"type":"text","text":"\\n"}'
                for piece in renditions[part].pieces:
                    if piece.label:
                        yield comma + json.dumps({"type": "text", "text": piece.label}).encode("ascii")
                        comma = b","
                    yield comma + b'{"type":"image_url","image_url":{"url":"data:%b;base64,' % piece.media_type.encode("ascii")
                    yield piece.encoded
                    yield b'"}}'
                    comma = b","
                beside_image = True
