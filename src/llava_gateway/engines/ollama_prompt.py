"""Writes the body of /api/chat: messages, images in their places, options under Ollama's names (pure).

Ollama puts the images of a message before its text, unless the text contains `[img]`, which then marks the place of an image.
Internally it numbers these places `[img-0]`, `[img-1]`... and searches the whole prompt for them (server/prompt.go,
`imageTaggedMessages`). So such words in anyone's text, or in a tool and its calls, would steal the place of an image. We insert a
space, `[ img-0]`, in every turn alike.

We mark places ourselves if text comes before an image, and between images, so that a line break separates them. Two adjacent images
break llama.cpp's prompt cache: a later prompt that differs after the first of the two gets 500 "Chunk not found", again and again,
until the model is reloaded (tools/server/server-common.cpp, `keep_first`; seen with b11063).
"""

from __future__ import annotations

import json
import re
from typing import Any

from llava_gateway.chat import JSON, CompletionRequest, EmbedRequest, EngineRequest, Message, NamedTool, Rendition, Tool
from llava_gateway.engines.tools import tool_definitions
from llava_gateway.parts import ImagePart, ReasoningPart, TextPart, ToolCallPart, ToolResultPart

MARKER = "[img]"
_LOOKS_LIKE_A_MARKER = re.compile(r"\[(?=img[\]-])")


def chat_body(request: EngineRequest, *, placed: bool) -> bytes:
    """Write the body of /api/chat.

    `truncate: false` makes Ollama reject a prompt that does not fit instead of cutting it silently. `shift` is never sent, since
    changing it reloads the model. The images' base64 is inserted as it is: a JSON encoder would block the event loop for megabytes
    of it.

    Args:
        request: the request to write.
        placed: whether to mark the images' places in messages that need it (only for models with `places_images`).
    """
    head: dict[str, Any] = {"model": request.model, "stream": True, "truncate": False, "options": request.options.given()}
    if request.keep_alive is not None:
        head["keep_alive"] = _keep_alive(request.keep_alive)
    if request.format is not None:
        head["format"] = request.format
    if tools := _tools(request):
        head["tools"] = _neutral_json(tool_definitions(tools))
    if request.think is not None:
        head["think"] = request.think
    if request.logprobs is not None:
        head |= {"logprobs": True, "top_logprobs": request.logprobs}
    messages = b",".join(_message(message, request, placed=placed) for message in request.messages)
    return b'%b,"messages":[%b]}' % (json.dumps(head)[:-1].encode(), messages)


def generate_body(request: CompletionRequest) -> bytes:
    """Write the body of /api/generate. `truncate: false` is as in `chat_body`."""
    fields: JSON = {"model": request.model, "stream": True, "truncate": False, "options": request.options.given(), "prompt": request.prompt}
    fields |= {name: value for name in ("raw", "suffix", "template", "system", "format") if (value := getattr(request, name))}
    if request.keep_alive is not None:
        fields["keep_alive"] = _keep_alive(request.keep_alive)
    if request.think is not None:
        fields["think"] = request.think
    if request.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": request.logprobs}
    images = b",".join(b'"%b"' % piece.encoded for piece in request.images)
    return b'%b,"images":[%b]}' % (json.dumps(fields)[:-1].encode(), images)


def embed_fields(request: EmbedRequest) -> JSON:
    """Return the body of /api/embed without its texts. `truncate: false` makes Ollama reject a text that is too long instead of cutting
    it."""
    fields: JSON = {"model": request.model, "truncate": False, "options": request.options.given()}
    return fields if request.keep_alive is None else fields | {"keep_alive": _keep_alive(request.keep_alive)}


def _tools(request: EngineRequest) -> tuple[Tool, ...]:
    """Return the tools to send. Ollama has no tool_choice: `none` sends no tools, and a name sends only that tool, which need not be
    called."""
    match request.tool_choice:
        case "none":
            return ()
        case NamedTool(name):
            return tuple(tool for tool in request.tools if tool.name == name)
        case _:
            return request.tools


def wants_placement(request: EngineRequest) -> bool:
    """Return whether any message has more than one image, or text before an image."""
    return any(_wants_placement(message, request) for message in request.messages)


def places_images(template: str) -> bool:
    """Return whether Ollama itself writes this model's prompt, from a Go template, and so respects `[img]`. llama.cpp fills in Jinja
    templates."""
    return "{{" in template and "{%" not in template and (".Messages" in template or ".Prompt" in template)


def neutral(text: str) -> str:
    """Return the text without words that Ollama would take for the place of an image."""
    return _LOOKS_LIKE_A_MARKER.sub("[ ", text)


def _neutral_json(value: Any) -> Any:
    """Apply `neutral` to all text in a JSON value. Outside of its strings, JSON has no `[` before a letter `i`."""
    return json.loads(neutral(json.dumps(value, ensure_ascii=False)))


def _message(message: Message, request: EngineRequest, *, placed: bool) -> bytes:
    content = _placed_content(message, request) if placed and _wants_placement(message, request) else neutral(message.text)
    head = json.dumps({"role": message.role, "content": content, **_beside(message)}).encode()
    if not message.images:
        return head
    images = b'","'.join(piece.encoded for part in message.images for piece in request.renditions[part].pieces)
    return b"".join((head[:-1], b',"images":["', images, b'"]}'))


def _beside(message: Message) -> JSON:
    """Return the fields of a message besides its content and images. Ollama wants a call's arguments as an object (api/types.go,
    `ToolCall`)."""
    fields: JSON = {}
    for part in message.parts:
        match part:
            case ReasoningPart(text):
                fields["thinking"] = neutral(text)
            case ToolResultPart(call_id, name):
                fields |= {"tool_call_id": call_id} | ({"tool_name": neutral(name)} if name else {})
    if calls := message.tool_calls:
        fields["tool_calls"] = [{"id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}} for call in calls]
    return fields


def _arguments(call: ToolCallPart) -> JSON:
    """Return a call's arguments as an object; an empty one if the model wrote something else."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return _neutral_json(arguments) if isinstance(arguments, dict) else {}


def _placed_content(message: Message, request: EngineRequest) -> str:
    """Write the parts in order, one per line. The pieces of one image stay on one line, as in the model's training."""
    lines: list[str] = []
    for part in message.parts:
        match part:
            case TextPart(text):
                lines.append(neutral(text))
            case ImagePart():
                lines.append(_markers(request.renditions[part]))
    return "\n".join(lines)


def _markers(rendition: Rendition) -> str:
    """Write the places of an image's pieces: on one line, or each label and what follows it on lines of their own."""
    text = ""
    for piece in rendition.pieces:
        before = "\n" if piece.label and text else ""
        text += f"{before}{piece.label}\n{MARKER}" if piece.label else MARKER
    return text


def _wants_placement(message: Message, request: EngineRequest) -> bool:
    content = [part for part in message.parts if isinstance(part, TextPart | ImagePart)]
    return any(isinstance(part, ImagePart) for part in content[1:]) or any(request.renditions[part].labels for part in message.images)


def unloads_at_once(keep_alive: str | int | None) -> bool:
    """Return whether keep_alive is zero, in any spelling of seconds or a Go duration: 0, "0", "0s", "0h0m"."""
    return keep_alive is not None and not re.search("[1-9]", str(keep_alive))


def _keep_alive(value: str | int) -> str | int:
    """Convert a number of seconds to an int, since Ollama accepts no text for it. Environment variables give text such as "-1" and
    "300"."""
    try:
        return int(value)
    except ValueError:
        return value
