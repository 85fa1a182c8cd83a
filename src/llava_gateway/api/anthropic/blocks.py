"""Reads the blocks of a message: texts, images, documents, tool calls and their results, each at its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from llava_gateway.api.anthropic.bodies import (
    Content,
    DocumentBlock,
    ImageBlock,
    MessageBody,
    SourceBody,
    TextBlock,
    ThoughtBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from llava_gateway.api.bodies import IMAGE_ID, parse_body
from llava_gateway.api.dialects import image_of
from llava_gateway.api.native_json import check_length
from llava_gateway.api.pages import background, selection_of
from llava_gateway.api.sight import wishes
from llava_gateway.chat import Message
from llava_gateway.errors import ImageNotFound, InvalidRequest
from llava_gateway.parts import Attached, ImagePart, Part, ReasoningPart, Sight, TextPart, ToolCallPart, ToolResultPart
from llava_gateway.settings import Settings

OF_A_USER = ("text", "image", "document", "tool_result")
OF_THE_ASSISTANT = ("text", "thinking", "redacted_thinking", "tool_use", "image")
INSIDE = ("text", "image", "document")
"""Types of blocks inside a tool result."""
OF_TEXT = ("text",)
FAILED = "Error:"
"""Tells the model that a tool failed; templates have no field for that."""


@dataclass(slots=True)
class Reader:
    """Reads the messages of a request.

    Attributes:
        settings: limits.
        messages: the messages so far.
        images: for each message, the fields of its images in the client's body, for errors.
        ignored: names of fields that have no effect here.
    """

    settings: Settings
    messages: list[Message] = field(default_factory=list)
    images: list[tuple[str, ...]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    _tools: dict[str, str] = field(default_factory=dict)
    _fields: list[str] = field(default_factory=list)

    def system(self, content: Content) -> None:
        """Read the system prompt. Raises InvalidRequest."""
        self._add("system", self._parts(content, "system", OF_TEXT))

    def message(self, body: MessageBody, index: int, *, is_last: bool) -> None:
        """Read a message. The results of tools become messages of their own. Raises InvalidRequest, ImageError."""
        where = f"messages.{index}.content"
        match body.role:
            case "system":
                self._add("system", self._parts(body.content, where, OF_TEXT))
            case "assistant":
                parts = self._parts(body.content, where, OF_THE_ASSISTANT)
                if parts or not is_last:  # an empty beginning of an answer is none
                    self._add("assistant", parts or (TextPart(""),))
            case "user":
                self._of_user(body.content, where)

    def _of_user(self, content: Content, where: str) -> None:
        before = len(self.messages)
        said: list[Part] = []
        for index, block in enumerate(_blocks(content)):
            at = f"{where}.{index}"
            if _type(block, at) == "tool_result":
                self._add_said(said)
                self._result(parse_body(ToolResultBlock, block, at), at)
            else:
                said += self._read(block, at, OF_A_USER)
        self._add_said(said)
        if len(self.messages) == before:
            raise InvalidRequest("message_empty", param=where)

    def _add_said(self, said: list[Part]) -> None:
        if said:
            self._add("user", tuple(said))
            said.clear()

    def _result(self, block: ToolResultBlock, at: str) -> None:
        begin = ToolResultPart(block.tool_use_id, self._tools.get(block.tool_use_id, ""))
        failed = (TextPart(FAILED),) if block.is_error else ()
        self._add("tool", (begin, *failed, *self._parts(block.content or "", f"{at}.content", INSIDE)))

    def _add(self, role: Any, parts: tuple[Part, ...]) -> None:
        self.messages.append(Message(role, parts))
        self.images.append(tuple(self._fields))
        self._fields = []

    def _parts(self, content: Content, where: str, known: tuple[str, ...]) -> tuple[Part, ...]:
        return tuple(part for index, block in enumerate(_blocks(content)) for part in self._read(block, f"{where}.{index}", known))

    def _read(self, block: Any, at: str, known: tuple[str, ...]) -> Iterator[Part]:
        """Yield the parts of a block. Raises InvalidRequest for a type that is not `known` there, naming it."""
        kind = _type(block, at)
        if kind not in known:
            raise InvalidRequest("block_unknown", values={"type": kind[:64], "known": known}, param=at)
        match kind:
            case "text":
                yield from self._text(parse_body(TextBlock, block, at).text, f"{at}.text")
            case "image":
                image = parse_body(ImageBlock, block, at)
                yield self._image(image.source, image, at)
            case "document":
                yield from self._document(parse_body(DocumentBlock, block, at), at)
            case "thinking":
                if thought := parse_body(ThoughtBlock, block, at).thinking:
                    yield ReasoningPart(thought)
            case "tool_use":
                call = parse_body(ToolUseBlock, block, at)
                self._tools[call.id] = call.name
                yield ToolCallPart(call.id, call.name, json.dumps(call.input, ensure_ascii=False))

    def _text(self, text: str, at: str) -> Iterator[Part]:
        check_length(at, text, self.settings)
        if text:
            yield TextPart(text)

    def _image(self, source: SourceBody, block: ImageBlock | DocumentBlock, at: str) -> Attached:
        field, sight = f"{at}.source", Sight(**wishes(block, at))
        self._fields.append(at)
        match source.type:
            case "base64" | "url" if (text := source.data if source.type == "base64" else source.url) is not None:
                file = image_of(text, field, self.settings)
                return replace(file, sight=sight, selection=selection_of(block, at), background=background(block.background))
            case "file":
                return ImagePart(_image_id(source, field), sight)
            case "base64" | "url":
                name = "data" if source.type == "base64" else "url"
                raise InvalidRequest("field_missing", param=f"{field}.{name}")
        raise InvalidRequest("block_unknown", values={"type": source.type[:64], "known": ("base64", "url", "file")}, param=field)

    def _document(self, block: DocumentBlock, at: str) -> Iterator[Part]:
        """Yield the title and the context of a document, then its text or its file, which becomes images of its pages."""
        if (block.citations or {}).get("enabled"):
            self.ignored.append("citations")
        for name in ("title", "context"):
            yield from self._text(getattr(block, name) or "", f"{at}.{name}")
        source = block.source
        match source.type:
            case "text" if source.data is not None:
                yield from self._text(source.data, f"{at}.source.data")
            case "content" if source.content is not None:
                yield from self._parts(source.content, f"{at}.source.content", ("text", "image"))
            case "text" | "content":
                raise InvalidRequest("field_missing", param=f"{at}.source.{'data' if source.type == 'text' else 'content'}")
            case _:
                yield self._image(source, block, at)


def _blocks(content: Content) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _type(block: Any, at: str) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise InvalidRequest("block_without_type", param=at)
    return kind


def _image_id(source: SourceBody, param: str) -> str:
    """Return the id of a stored image; there are no other files. Raises ImageNotFound."""
    if not re.fullmatch(IMAGE_ID, source.file_id or ""):
        raise ImageNotFound("file_unknown", param=f"{param}.file_id")
    return str(source.file_id)
