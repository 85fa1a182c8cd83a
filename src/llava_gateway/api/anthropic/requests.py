"""Turns the body of a request into a ChatRequest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llava_gateway.api.aliases import to_client_names
from llava_gateway.api.anthropic.blocks import Reader
from llava_gateway.api.anthropic.bodies import (
    KNOWN,
    WITHOUT_EFFECT,
    CountBody,
    MessagesBody,
    OutputBody,
    ThinkingBody,
    ToolBody,
    ToolChoiceBody,
)
from llava_gateway.api.bodies import BodyT, parse_body
from llava_gateway.api.dialects import EFFORTS
from llava_gateway.api.options import parse_keep_alive, parse_options
from llava_gateway.chat import JSON, ChatRequest, NamedTool, Think, Tool, ToolChoice
from llava_gateway.errors import GatewayError, InvalidRequest, Place
from llava_gateway.notes import note
from llava_gateway.options import OPTION_LIMITS, Options
from llava_gateway.settings import Settings

OPTIONS: Mapping[str, str] = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
    "seed": "seed",
    "num_ctx": "num_ctx",
}
"""The client's names of options, and ours."""
OURS = {f"options.{ours}": theirs for theirs, ours in OPTIONS.items()}
MOST_NAMED = 10
"""How many ignored fields are reported."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its client sent it.

    Attributes:
        question: the request to the gateway.
        stream: whether the answer is streamed.
        images: for each message, the fields of its images in the client's body.
    """

    question: ChatRequest
    stream: bool
    images: tuple[tuple[str, ...], ...]

    def placed(self, error: GatewayError) -> GatewayError:
        """Return the error with the field of the client's body that is at fault."""
        error.param = error.param or self._field(error.place)
        return error

    def _field(self, place: Place) -> str | None:
        match place:
            case ("image", int(number)):
                fields = [field for message in self.images for field in message]
            case ("message", int(message), "image", int(number)) if 0 <= message < len(self.images):
                fields = [*self.images[message]]
            case ("model",) | ("tools",):
                return str(place[0])
            case _:
                return None
        return fields[number] if number < len(fields) else None


def read_messages(given: Any, settings: Settings) -> Asked:
    """Read the body of /v1/messages. Raises InvalidRequest, InvalidOption, ImageError."""
    body = _parsed(MessagesBody, given)
    return _asked(body, given, settings, stream=bool(body.stream))


def read_count(given: Any, settings: Settings) -> Asked:
    """Read the body of /v1/messages/count_tokens. Raises what `read_messages` raises."""
    return _asked(_parsed(CountBody, given), given, settings, stream=False)


def _parsed(kind: type[BodyT], given: Any) -> BodyT:
    try:
        return parse_body(kind, given)
    except GatewayError as error:
        raise to_client_names(error, {"format": "output_config.format.schema"}) from None


def _asked(body: CountBody, given: Mapping[str, Any], settings: Settings, *, stream: bool) -> Asked:
    for name in ("container", "mcp_servers"):
        if getattr(body, name):
            raise InvalidRequest("not_here", param=name)
    reader = Reader(settings)
    if body.system:
        reader.system(body.system)
    for index, message in enumerate(body.messages):
        reader.message(message, index, is_last=index == len(body.messages) - 1)
    if not reader.messages:
        raise InvalidRequest("message_empty", param="messages")
    think = _think(body.thinking, body.output_config)
    tools = tuple(_tool(tool, f"tools.{index}") for index, tool in enumerate(body.tools or ()))
    question = ChatRequest(
        tuple(reader.messages),
        model=body.model or None,
        options=_options(body, settings),
        format=_format(body),
        keep_alive=parse_keep_alive(body.keep_alive),
        annotate=False,
        counted=stream,
        names_stop=True,
        tools=tools,
        tool_choice=_tool_choice(body.tool_choice, tools),
        think=think,
        warnings=tuple(note("option_ignored", option=name) for name in _ignored(given, body.output_config, think) + reader.ignored),
    )
    return Asked(question, stream, tuple(reader.images))


def _options(body: CountBody, settings: Settings) -> Options:
    """Check the options. Without a preset: what the client leaves out is decided by the model's own file."""
    given = {ours: value for theirs, ours in OPTIONS.items() if (value := getattr(body, theirs, None)) is not None}
    if given.get("stop") == []:
        del given["stop"]
    limit = int(OPTION_LIMITS["num_predict"].high)
    match given.get("num_predict"):
        case bool():
            pass
        case int(most) if most < 1:
            raise InvalidRequest("max_tokens_wrong", param="max_tokens")
        case int(most):
            given["num_predict"] = min(most, limit)  # no model here writes more
    try:
        return parse_options(given, None, settings)
    except GatewayError as error:
        raise to_client_names(error, OURS) from None


def _format(body: CountBody) -> JSON | None:
    chosen = body.output_format or (body.output_config.format if body.output_config else None)
    schema = chosen.schema_ if chosen else None
    return schema if isinstance(schema, dict) else None


def _tool(body: ToolBody, at: str) -> Tool:
    """Return a tool that the client runs. Raises InvalidRequest for one that Anthropic's servers would run or define."""
    if body.input_schema is None:
        if body.type not in (None, "custom"):
            raise InvalidRequest("tool_of_anthropic", values={"type": body.type[:64]}, param=at)
        raise InvalidRequest("field_missing", param=f"{at}.input_schema")
    return Tool(body.name, body.description, body.input_schema)


def _tool_choice(body: ToolChoiceBody | None, tools: tuple[Tool, ...]) -> ToolChoice:
    match body:
        case None:
            return "auto"
        case ToolChoiceBody(type="any" | "tool") if not tools:
            raise InvalidRequest("tool_choice_without_tools", param="tool_choice")
        case ToolChoiceBody(type="any"):
            return "required"
        case ToolChoiceBody(type="tool", name=name):
            if name not in [tool.name for tool in tools]:
                raise InvalidRequest("tool_choice_unknown", values={"known": tuple(tool.name for tool in tools)}, param="tool_choice.name")
            return NamedTool(str(name))
        case _:
            return "none" if body.type == "none" else "auto"


def _think(thinking: ThinkingBody | None, output: OutputBody | None) -> Think | None:
    """Return how the model should think. Without `thinking`, the model decides."""
    if thinking is None:
        return None
    if thinking.type == "disabled":
        return False
    return EFFORTS.get(output.effort or "", True) if output else True


def _ignored(given: Mapping[str, Any], output: OutputBody | None, think: Think | None) -> list[str]:
    """Return the names of fields that might change the answer, but don't."""
    names = [name for name, value in given.items() if name not in KNOWN and name not in WITHOUT_EFFECT and value not in (None, [], {})]
    effort = ["output_config.effort"] if output and output.effort and not think else []
    return [*(name[:64] for name in names[:MOST_NAMED]), *effort]
