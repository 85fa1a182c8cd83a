"""Writes the body of /v1/chat/completions as each kind of server wants it (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from llava_gateway.chat import JSON, EngineRequest, ImagePart, Message, Options, Part, Piece, Rendition, TextPart


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a kind of server takes: our option names with its names for them. `progress`: it reports how far it has read the prompt."""

    title: str
    options: Mapping[str, str]
    progress: bool = False


_COMMON = {"temperature": "temperature", "top_p": "top_p", "num_predict": "max_tokens", "seed": "seed", "stop": "stop"}
PLAIN = Dialect("", _COMMON)
LLAMA_CPP = Dialect(
    "llama.cpp",
    _COMMON | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty", "repeat_last_n": "repeat_last_n"},
    progress=True,
)
# https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, "Extra parameters for Chat API"
VLLM = Dialect("vLLM", _COMMON | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"})
BY_OWNER: Mapping[str, Dialect] = {
    "llamacpp": LLAMA_CPP,
    "vllm": VLLM,
    # https://docs.sglang.io/basic_usage/sampling_params.html
    "sglang": Dialect("SGLang", _COMMON | {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}),
    # https://lmstudio.ai/docs/developer/openai-compat/chat-completions, "Supported payload parameters"
    "organization_owner": Dialect("LM Studio", _COMMON | {"top_k": "top_k", "repeat_penalty": "repeat_penalty"}),
}


def chat_body(request: EngineRequest, dialect: Dialect) -> bytes:
    """The request as the server wants it.

    The pictures' base64 is spliced in: to run megabytes of it through a JSON encoder would stop the event loop for that time.
    """
    fields: JSON = {"model": request.model, "stream": True, "stream_options": {"include_usage": True}, **_options(request.options, dialect)}
    if dialect.progress:
        fields["return_progress"] = True
    if request.format == "json":
        fields["response_format"] = {"type": "json_object"}
    elif request.format is not None:
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.format}}
    messages = b",".join(_message(message, request.renditions) for message in request.messages)
    return b'%b,"messages":[%b]}' % (json.dumps(fields)[:-1].encode("ascii"), messages)


def _options(options: Options, dialect: Dialect) -> JSON:
    """What the server knows of them, by its names."""
    named: JSON = {}
    for name, value in options.given().items():
        # -1 means "no limit" and "another one each time": what a server does when nothing is said.
        if name in dialect.options and not (name in ("num_predict", "seed") and value == -1):
            named[dialect.options[name]] = value
    if named.get("top_k") == 0 and dialect.options.get("repeat_penalty") == "repetition_penalty":
        named["top_k"] = -1  # vLLM and SGLang write "all" so
    return named


def _message(message: Message, renditions: Mapping[ImagePart, Rendition]) -> bytes:
    """Words alone are a plain string, which every server takes; with pictures, the parts in their order."""
    if not message.images:
        return json.dumps({"role": message.role, "content": message.text}).encode("ascii")
    parts = b",".join(_part(part, renditions) for part in message.parts)
    return b'{"role":"%b","content":[%b]}' % (message.role.encode("ascii"), parts)


def _part(part: Part, renditions: Mapping[ImagePart, Rendition]) -> bytes:
    if isinstance(part, TextPart):
        return json.dumps({"type": "text", "text": part.text}).encode("ascii")
    return b",".join(_piece(piece) for piece in renditions[part].pieces)


def _piece(piece: Piece) -> bytes:
    url = f"data:{piece.media_type};base64,{piece.base64}"
    return b'{"type":"image_url","image_url":{"url":"%b"}}' % url.encode("ascii")
