"""The request bodies of Ollama's API, read as Ollama reads them: an unknown field is ignored, and null means that a field is not there."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from llava_gateway.api.bodies import Body, FieldError, Format, Items, Values
from llava_gateway.chat import JSON
from llava_gateway.errors import InvalidFormat, InvalidRequest

MOST_LOGPROBS = 20
MOST_FILES = 1000
NO_MODEL = "field_missing"
"""The reason of the error about a missing `model`."""


def _unless_empty(value: Any) -> Any:
    """Return None for "", which the `ollama` command sends for fields that are not set."""
    return None if value == "" else value


KeepAlive: TypeAlias = str | int | float | None
Think: TypeAlias = Annotated[
    bool | Literal["low", "medium", "high", "max"] | None, BeforeValidator(_unless_empty), FieldError("think_wrong")
]
AnswerFormat: TypeAlias = Annotated[Format, BeforeValidator(_unless_empty), FieldError("format_wrong", InvalidFormat)]
Objects: TypeAlias = Items[JSON]


class OllamaBody(Body):
    """A JSON body that tolerates what Ollama tolerates."""

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {name: given for name, given in value.items() if given is not None} if isinstance(value, dict) else value


class NamedBody(OllamaBody):
    """A body that names a model, as `model` or by the old field `name`, which the `ollama` command still sends."""

    model: str = Field("", max_length=600)
    name: str = Field("", max_length=600)

    @property
    def asked_for(self) -> str:
        """The name of the model. Raises InvalidRequest if there is none."""
        if found := self.model or self.name:
            return found
        raise InvalidRequest(NO_MODEL, param="model")


class QuestionBody(NamedBody):
    """What /api/chat and /api/generate have in common."""

    stream: bool = True
    format: AnswerFormat = None
    keep_alive: KeepAlive = None
    options: JSON = Field(default_factory=dict)
    think: Think = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MOST_LOGPROBS)
    debug_render_only: bool = Field(False, alias="_debug_render_only")
    llava_gateway: bool = False
    """Ours: whether a streamed answer ends with the object `llava_gateway` too."""


class ChatBody(QuestionBody):
    messages: Objects = Field(default_factory=list)
    tools: Objects = Field(default_factory=list)


class GenerateBody(QuestionBody):
    prompt: str = ""
    system: str = ""
    images: Items[Any] = Field(default_factory=list)
    context: Items[int] = Field(default_factory=list)
    suffix: str = ""
    template: str = ""
    raw: bool = False

    @property
    def is_special(self) -> bool:
        """Whether the prompt is no question in a conversation: it is for a template of the client's, or for none."""
        return bool(self.raw or self.template or self.suffix)


class ShowBody(NamedBody):
    verbose: bool = False


class EmbedBody(NamedBody):
    input: str | Items[str] = ""
    keep_alive: KeepAlive = None
    dimensions: int = Field(0, ge=0)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts; an empty text alone is none."""
        return tuple(self.input) if isinstance(self.input, list) else (self.input,) if self.input else ()


class OldEmbedBody(NamedBody):
    prompt: str = ""
    keep_alive: KeepAlive = None


class PullBody(NamedBody):
    stream: bool = True


class CreateBody(NamedBody):
    """A new model, with all fields that Ollama knows."""

    stream: bool = True
    source: str = Field("", alias="from", max_length=600)
    files: Values[str, str] = Field(default_factory=dict, max_length=MOST_FILES)
    draft_files: Values[str, str] = Field(default_factory=dict, max_length=MOST_FILES)
    adapters: Values[str, str] = Field(default_factory=dict, max_length=MOST_FILES)
    template: str = ""
    system: str = ""
    license: str | Items[str] = ""
    parameters: JSON = Field(default_factory=dict)
    messages: Objects = Field(default_factory=list)
    quantize: str = ""
    quantization: str = ""
    draft_quantize: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    info: JSON = Field(default_factory=dict)
    remote_host: str = ""
    modelfile: str = ""
    path: str = ""

    @property
    def passed_on(self) -> JSON:
        """The fields that are set, for Ollama, without the name of the new model."""
        own = {"model", "name", "stream", "remote_host", "modelfile", "path"}
        return self.model_dump(by_alias=True, exclude_defaults=True, exclude=own)


class CopyBody(OllamaBody):
    source: str = Field(min_length=1, max_length=600)
    destination: str = Field(min_length=1, max_length=600)


class MessageBody(OllamaBody):
    """A message of /api/chat. `content` may be a list of parts as in OpenAI's API, which Ollama rejects."""

    role: str
    content: str | Items[Any] = ""
    thinking: str = ""
    images: Items[Any] = Field(default_factory=list)
    tool_calls: Objects = Field(default_factory=list)
    tool_name: str = ""
    tool_call_id: str = ""


class FunctionBody(OllamaBody):
    """A function that the model may call."""

    name: str = Field(min_length=1)
    description: str = ""
    parameters: JSON = Field(default_factory=dict)


class CalledBody(OllamaBody):
    """A function that the model has called. Ollama sends the arguments as an object; OpenAI's clients send them as text."""

    name: str = Field(min_length=1)
    arguments: JSON | str = Field(default_factory=dict)


class ToolBody(OllamaBody):
    function: FunctionBody


class ToolCallBody(OllamaBody):
    id: str = ""
    function: CalledBody
