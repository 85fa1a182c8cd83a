"""Writes the body of /api/chat: messages, images in their places, options by Ollama's names (pure).

Ollama puts the images of a message before its text, unless the text holds `[img]`, which then marks an image's place; inside it
numbers them `[img-0]`, `[img-1]`... and looks those up in the whole prompt (server/prompt.go, `imageTaggedMessages`). So such words
in anyone's text, or in a tool and its calls, would steal an image's place: they get a space, `[ img-0]`, in every turn alike.

We mark places ourselves where text comes before an image, and between images, so that a line break parts them: two images side by
side break the prompt cache of llama.cpp. A later prompt that goes on differently after the first of the two gets 500 "Chunk not
found", again and again, until the model is loaded anew (tools/server/server-common.cpp, `keep_first`; seen with b11063).
"""

from __future__ import annotations

import json
import re
from typing import Any

from llava_gateway.chat import (
    JSON,
    EmbedRequest,
    EngineRequest,
    ImagePart,
    Message,
    NamedTool,
    ReasoningPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from llava_gateway.engines.tools import tool_definitions

MARKER = "[img]"
_LOOKS_LIKE_A_MARKER = re.compile(r"\[(?=img[\]-])")


def chat_body(request: EngineRequest, *, placed: bool) -> bytes:
    """The body of /api/chat.

    `truncate: false`: what does not fit is an error, never dropped in silence. `shift` is left alone, since a change of it loads the
    model again. The images' base64 is spliced in: to run megabytes of it through a JSON encoder would stop the event loop for that time.

    Args:
        request: what to ask.
        placed: mark the images' places in messages that want it (only for models of `places_images`).
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


def embed_fields(request: EmbedRequest) -> JSON:
    """The body of /api/embed without its texts. `truncate: false`: a text that is too long is an error, never cut in silence."""
    fields: JSON = {"model": request.model, "truncate": False, "options": request.options.given()}
    return fields if request.keep_alive is None else fields | {"keep_alive": _keep_alive(request.keep_alive)}


def _tools(request: EngineRequest) -> tuple[Tool, ...]:
    """Ollama has no tool_choice: none are left out, and one that is named is given alone, though the model need not call it."""
    match request.tool_choice:
        case "none":
            return ()
        case NamedTool(name):
            return tuple(tool for tool in request.tools if tool.name == name)
        case _:
            return request.tools


def wants_placement(request: EngineRequest) -> bool:
    """Whether any message has more than one image, or text before an image."""
    return any(_wants_placement(message) for message in request.messages)


def places_images(template: str) -> bool:
    """Whether Ollama itself writes this model's prompt, from a Go template, and so heeds `[img]`; a Jinja template llama.cpp fills in."""
    return "{{" in template and "{%" not in template and (".Messages" in template or ".Prompt" in template)


def neutral(text: str) -> str:
    """`text` without words that Ollama would take for an image's place."""
    return _LOOKS_LIKE_A_MARKER.sub("[ ", text)


def _neutral_json(value: Any) -> Any:
    """As `neutral`, of all text in it. Outside of its strings, JSON has no `[` before a letter `i`."""
    return json.loads(neutral(json.dumps(value, ensure_ascii=False)))


def _message(message: Message, request: EngineRequest, *, placed: bool) -> bytes:
    content = _placed_content(message, request) if placed and _wants_placement(message) else neutral(message.text)
    head = json.dumps({"role": message.role, "content": content, **_beside(message)}).encode()
    if not message.images:
        return head
    images = '","'.join(piece.base64 for part in message.images for piece in request.renditions[part].pieces)
    return b'%b,"images":["%b"]}' % (head[:-1], images.encode())


def _beside(message: Message) -> JSON:
    """The fields of a message beside its content and images. Ollama takes a call's arguments as an object (api/types.go, `ToolCall`)."""
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
    """A call's arguments as an object; none where the model wrote something else."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
    return _neutral_json(arguments) if isinstance(arguments, dict) else {}


def _placed_content(message: Message, request: EngineRequest) -> str:
    """Parts in order, a line each; the pieces of one image side by side, as the model was trained on them."""
    lines: list[str] = []
    for part in message.parts:
        match part:
            case TextPart(text):
                lines.append(neutral(text))
            case ImagePart():
                lines.append(MARKER * len(request.renditions[part].pieces))
    return "\n".join(lines)


def _wants_placement(message: Message) -> bool:
    content = [part for part in message.parts if isinstance(part, TextPart | ImagePart)]
    return any(isinstance(part, ImagePart) for part in content[1:])


def unloads_at_once(keep_alive: str | int | None) -> bool:
    """Whether it is no time at all, in any spelling of a number of seconds or a Go duration: 0, "0", "0s", "0h0m"."""
    return keep_alive is not None and not re.search("[1-9]", str(keep_alive))


def _keep_alive(value: str | int) -> str | int:
    """Ollama takes a number of seconds only as a number: "-1" and "300" come from an environment variable as text."""
    try:
        return int(value)
    except ValueError:
        return value
