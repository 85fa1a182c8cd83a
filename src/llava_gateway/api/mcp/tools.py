"""The tools for agents: what each of them asks the gateway, and what it answers. Knows nothing of the protocol."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import Field

from llava_gateway.api.bodies import IMAGE_ID, Body, Items, Region, parse_body
from llava_gateway.api.dialects import is_web_address
from llava_gateway.chat import JSON
from llava_gateway.errors import InvalidRequest

Ask: TypeAlias = Callable[[JSON], Awaitable[JSON]]
"""Sends the body of a question to /ask, and returns the answer as /ask does. Raises GatewayError or Refused."""
Read: TypeAlias = Callable[[str, str], Awaitable[str]]
"""Returns the file at a path in base64. The second argument names the argument in errors. Raises GatewayError."""

READ_TEXT = "Read all text in this image, exactly as it is written, line by line. Answer with the text only."
MOST_IMAGES = 8
LONGEST_PATH = 4096
INSTRUCTIONS = (
    "Looks at images with a local vision model. Answers end with the image_id of each image: pass it instead of the file to ask again."
)
_DATA = re.compile(r"\s*data:", re.IGNORECASE)

_IMAGE: JSON = {"type": "string", "description": "A path, an image_id, a data: URL or an http(s) address."}
_PDF: JSON = {"type": "string", "description": "A path, a data: URL or an http(s) address."}
_QUESTION: JSON = {"type": "string"}
_REGION: JSON = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
    "description": "[x, y, width, height] as fractions of the image: this part is shown at full resolution too.",
}
_DETAIL: JSON = {"type": "string", "enum": ["auto", "low", "high"], "description": "high for small text and fine detail."}


class Refused(Exception):
    """A question that the gateway refused; the text says why, and what to do."""


class LookBody(Body):
    image: str
    question: str = Field(min_length=1)
    region: Region = Field(None, min_length=4, max_length=4)
    detail: Literal["auto", "low", "high"] | None = None


class ReadBody(Body):
    image: str
    region: Region = Field(None, min_length=4, max_length=4)


class CompareBody(Body):
    images: Items[str] = Field(min_length=2, max_length=MOST_IMAGES)
    question: str = Field(min_length=1)


class PageBody(Body):
    pdf: str
    page: int = Field(ge=1)
    question: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Source:
    """Turns the texts by which agents name images into items of `images`. `read` reads files; None where there are no paths."""

    read: Read | None

    async def image(self, text: str, param: str) -> JSON:
        """Return the image. Raises GatewayError."""
        if re.fullmatch(IMAGE_ID, text.strip()):
            return {"image_id": text.strip()}
        if is_web_address(text):
            return {"image_url": text.strip()}
        if _DATA.match(text) or len(text) > LONGEST_PATH:  # bare base64
            return {"data": text}
        if self.read is None:
            raise InvalidRequest("image_not_named", param=param)
        return {"data": await self.read(text, param)}


async def _look(given: JSON, source: Source) -> JSON:
    body = parse_body(LookBody, given)
    return {"prompt": body.question, "images": [await source.image(body.image, "image") | _said(body, "region", "detail")]}


async def _read_text(given: JSON, source: Source) -> JSON:
    body = parse_body(ReadBody, given)
    image = await source.image(body.image, "image") | _said(body, "region")
    return {"prompt": READ_TEXT, "preset": "factual", "images": [image | {"detail": "high"}]}


async def _compare(given: JSON, source: Source) -> JSON:
    body = parse_body(CompareBody, given)
    return {"prompt": body.question, "images": [await source.image(image, f"images.{at}") for at, image in enumerate(body.images)]}


async def _describe_page(given: JSON, source: Source) -> JSON:
    body = parse_body(PageBody, given)
    file = await source.image(body.pdf, "pdf")
    if "image_id" in file:
        raise InvalidRequest("pdf_is_image", param="pdf")
    return {"prompt": body.question, "images": [file | {"pages": str(body.page)}]}


def _said(body: Body, *names: str) -> JSON:
    return {name: value for name in names if (value := getattr(body, name)) is not None}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its arguments, which of them are required, and the question that it asks."""

    description: str
    arguments: Mapping[str, JSON]
    optional: tuple[str, ...]
    question: Callable[[JSON, Source], Awaitable[JSON]]

    @property
    def schema(self) -> JSON:
        """The JSON schema of its arguments."""
        required = [name for name in self.arguments if name not in self.optional]
        return {"type": "object", "properties": dict(self.arguments), "required": required, "additionalProperties": False}


TOOLS: Mapping[str, Tool] = {
    "look_at_image": Tool(
        "Answer a question about an image.",
        {"image": _IMAGE, "question": _QUESTION, "region": _REGION, "detail": _DETAIL},
        ("region", "detail"),
        _look,
    ),
    "read_text": Tool("Read the text in an image.", {"image": _IMAGE, "region": _REGION}, ("region",), _read_text),
    "compare_images": Tool(
        "Answer a question about several images, which are numbered from 1.",
        {"images": {"type": "array", "items": _IMAGE, "minItems": 2, "maxItems": MOST_IMAGES}, "question": _QUESTION},
        (),
        _compare,
    ),
    "describe_pdf_page": Tool(
        "Answer a question about one page of a PDF.",
        {"pdf": _PDF, "page": {"type": "integer", "minimum": 1}, "question": _QUESTION},
        (),
        _describe_page,
    ),
}


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The answer of a tool: as text for the model, and as values for a program."""

    text: str
    values: JSON


async def call(name: str, arguments: Any, ask: Ask, read: Read | None) -> ToolAnswer:
    """Call a tool. Raises GatewayError for wrong arguments, and what `ask` and `read` raise."""
    if name not in TOOLS:
        raise InvalidRequest("agent_tool_unknown", values={"known": tuple(TOOLS)}, param="name")
    return tool_answer(await ask(await TOOLS[name].question(arguments, Source(read))))


def tool_answer(answer: JSON) -> ToolAnswer:
    """Return an answer of /ask as the answer of a tool: the words, the ids of its images, and what went wrong with them."""
    words = answer["message"]["content"]
    images = [
        {"image_id": image["id"], "width": image["width"], "height": image["height"], "tokens": image["sent"]["tokens"]}
        for image in answer["images"]
    ]
    warnings = [warning["message"] for warning in _warnings(answer)]
    notes = [f"image_id: {image['image_id']}" for image in images] + [f"Note: {warning}" for warning in warnings]
    values = {"text": words, "model": answer["model"], "images": images, "warnings": warnings}
    return ToolAnswer("\n".join([words, *([""] if notes else []), *notes]), values)


def _warnings(answer: JSON) -> Iterator[JSON]:
    yield from answer["warnings"]
    yield from answer["context"]["warnings"]
