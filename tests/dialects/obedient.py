"""An engine that does what it is asked as a capable model would: it fills schemas, calls tools, and reads numbers and words from questions.

The suites of other clients check such things. A model that is small enough for tests can't do them, so this engine stands in for one. It
shows that the gateway passes everything on, not what any model knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from io import BytesIO
from typing import Any, Literal

from PIL import Image

from llava_gateway.chat import (
    EngineEvent,
    EngineRequest,
    Finish,
    Logprob,
    Message,
    NamedTool,
    Rendition,
    TextDelta,
    Timings,
    Tool,
    ToolCall,
    Usage,
)
from llava_gateway.parts import ToolResultPart
from tests.sample_images import COLOURS

KEYWORDS = "The sky is blue because of Rayleigh scattering: sunlight meets the nitrogen and oxygen of the atmosphere."
OTHERS = "Soil is brown because of its minerals. 散射 means scattering. \N{SMILING FACE WITH SMILING EYES}"
LETTERS = "The text in it says: the Ollamas."
"""What the suites look for in answers to their questions. No model is asked, so these show nothing about one."""
_WORD = re.compile(r"\S+\s*")
_QUOTED = re.compile(r"['\"“]([^'\"”]+)['\"”]|\b(?:exactly|set to) ([A-Z]\w+(?: [A-Z]\w+)*)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


async def obey(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
    """Answer a request."""
    question = request.messages[-1]
    prompt_tokens = 10 + sum(len(message.text.split()) for message in request.messages) + 100 * len(request.images)
    tool = _wanted_tool(request)
    if tool is not None:
        yield ToolCall("call_1", tool.name, json.dumps(_filled(tool.parameters, tool.parameters, question.text)))
        yield Finish("tool_calls", Usage(prompt_tokens, 5, 0), Timings(prompt_ms=1.0, generation_ms=1.0))
        return
    words: list[str] = _WORD.findall(_answer(request, question))
    most = request.options.num_predict
    end: Literal["stop", "length"] = "stop"
    stop = None
    if most is not None and 0 <= most < len(words):
        words, end = words[:most], "length"
    text = "".join(words)
    for each in request.options.stop or ():
        if each in text:
            text, stop, end = text[: text.index(each)], each, "stop"
    words = _WORD.findall(text)
    for word in words:
        yield TextDelta(
            word, (Logprob(word, -0.1, ((word, -0.1), ("other", -2.5))[: request.logprobs]),) if request.logprobs is not None else ()
        )
    yield Finish(end, Usage(prompt_tokens, max(1, len(words)), 0), Timings(prompt_ms=1.0, generation_ms=1.0), stop)


def _answer(request: EngineRequest, question: Message) -> str:
    if isinstance(request.format, dict):
        return json.dumps(_filled(request.format, request.format, question.text))
    if request.format == "json":
        return json.dumps({"setup": "Why?", "punchline": "Because."})
    if question.role == "tool":
        return f"The tool says: {question.text}"
    if request.images:
        return f"{_seen(request.shown)}. {LETTERS} {KEYWORDS}"
    return f"Hello! {KEYWORDS} {OTHERS}"


def _seen(images: Sequence[Rendition]) -> str:
    """Say how many images there are, and the colour in the middle of each, in their order."""
    colours = ", ".join(_colour(image.pieces[0].data) for image in images)
    return f"There is an image: {colours}" if len(images) == 1 else f"There are {len(images)} images: {colours}"


def _colour(data: bytes) -> str:
    with Image.open(BytesIO(data)) as image:
        middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(middle, tuple)
    return min(COLOURS, key=lambda name: sum((one - other) ** 2 for one, other in zip(COLOURS[name], middle, strict=True)))


def _wanted_tool(request: EngineRequest) -> Tool | None:
    """Return the tool to call: the named one, else the one that the question is about."""
    if not request.tools or request.tool_choice == "none":
        return None
    if isinstance(request.tool_choice, NamedTool):
        return next(tool for tool in request.tools if tool.name == request.tool_choice.name)
    last = request.messages[-1]
    if any(isinstance(part, ToolResultPart) for part in last.parts):
        return None
    if request.tool_choice == "required":
        return request.tools[0]
    spoken = re.sub(r"[^a-z0-9]+", " ", last.text.lower())
    return next((tool for tool in request.tools if _is_about(spoken, tool)), None)


def _is_about(text: str, tool: Tool) -> bool:
    names = re.sub(r"[^a-z0-9]+", " ", tool.name.lower()).split()
    about = [word for word in f"{tool.description} {' '.join(names)}".lower().split() if len(word) > 4]
    return all(name in text for name in names) or sum(word in text for word in about) >= 2


def _filled(schema: dict[str, Any], root: dict[str, Any], text: str) -> Any:
    """Return a value of the schema, with numbers and quoted words of the text."""
    numbers, quoted = iter(_NUMBER.findall(text)), iter([one or other for one, other in _QUOTED.findall(text)])
    return _value(schema, root, numbers, quoted)


def _value(schema: dict[str, Any], root: dict[str, Any], numbers: Iterator[str], quoted: Iterator[str]) -> Any:
    if "$ref" in schema:
        node: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            node = node[step]
        return _value(node, root, numbers, quoted)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return _value(schema[name][0], root, numbers, quoted)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    match kind:
        case "object":
            return {name: _value(of, root, numbers, quoted) for name, of in schema.get("properties", {}).items()}
        case "array":
            return [_value(schema.get("items", {}), root, numbers, quoted) for _ in range(max(1, schema.get("minItems", 1)))]
        case "integer":
            return int(float(next(numbers, "3")))
        case "number":
            return float(next(numbers, "3"))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return next(quoted, "Hello")
