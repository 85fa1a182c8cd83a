"""The bodies and blocks of Anthropic's API, as far as they change an answer. Other fields of a block are tolerated."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import ConfigDict, Field

from llava_gateway.api.bodies import Body, FileBody, Format, Items, KeepAlive, SightBody

Content: TypeAlias = str | list[Any]


class Tolerant(Body):
    """A part of a body in which unknown fields are ignored, such as cache_control."""

    model_config = ConfigDict(extra="ignore", strict=True)


class ToolChoiceBody(Tolerant):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class ThinkingBody(Tolerant):
    type: str
    budget_tokens: int | None = None


class FormatBody(Tolerant):
    type: Literal["json_schema"]
    schema_: Format = Field(alias="schema")


class OutputBody(Tolerant):
    format: FormatBody | None = None
    effort: str | None = None


class ToolBody(Tolerant):
    type: str | None = None
    name: str = Field(min_length=1, max_length=128)
    description: str = ""
    input_schema: dict[str, Any] | None = None


class MessageBody(Tolerant):
    role: Literal["user", "assistant", "system"]
    content: Content


class CountBody(Tolerant):
    """The body of /v1/messages/count_tokens: everything that decides about the prompt."""

    messages: Items[MessageBody] = Field(min_length=1)
    model: str | None = Field(None, max_length=256)
    system: Content | None = None
    tools: Items[ToolBody] | None = None
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputBody | None = None
    output_format: FormatBody | None = None
    container: Any = None
    mcp_servers: Any = None
    num_ctx: Any = None
    keep_alive: KeepAlive | None = None


class MessagesBody(CountBody):
    """The body of /v1/messages. `max_tokens` may be missing: then the model's own limit holds."""

    max_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    seed: Any = None
    stop_sequences: Any = None
    stream: bool | None = None


KNOWN = frozenset(MessagesBody.model_fields)
WITHOUT_EFFECT = frozenset(
    {
        *("metadata", "cache_control", "service_tier", "inference_geo", "speed", "user_profile_id", "workspace_id", "diagnostics"),
        *("betas", "anthropic_beta", "anthropic_version"),
    }
)
"""Fields that do not change an answer. Other fields that are unknown are reported as ignored."""


class TextBlock(Tolerant):
    text: str


class ThoughtBlock(Tolerant):
    thinking: str = ""


class SourceBody(Tolerant):
    type: str
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: Content | None = None


class ImageBlock(FileBody, SightBody, Tolerant):
    """An image, with our own fields for how much of it the model sees."""

    source: SourceBody


class DocumentBlock(FileBody, SightBody, Tolerant):
    """A document, with our own fields for its pages and how much of them the model sees."""

    source: SourceBody
    title: str | None = None
    context: str | None = None
    citations: dict[str, Any] | None = None


class ToolUseBlock(Tolerant):
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)


class ToolResultBlock(Tolerant):
    tool_use_id: str
    content: Content | None = None
    is_error: bool | None = None
