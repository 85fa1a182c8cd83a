"""Define the values that all packages share: messages made of ordered parts, requests, and the events of an engine.

All values are frozen. An image is referred to by its id (the sha256 of its canonical bytes, in hex). Its bytes live in the image store
(`images/store.py`), and the files that one model gets of it are a `Rendition`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

from pybase64 import b64encode

from llava_gateway.notes import Note
from llava_gateway.options import Detail as Detail
from llava_gateway.options import Options
from llava_gateway.options import Policy as Policy
from llava_gateway.parts import JSON as JSON
from llava_gateway.parts import Attached, ImagePart, Link, Part, ReasoningPart, TextPart, ToolCallPart, Upload

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]
OnDisconnect: TypeAlias = Literal["cancel", "continue"]
"""What happens to an answer in a session when its client disconnects."""
Number = TypeVar("Number", int, float)


Label: TypeAlias = Literal["exact", "measured", "estimated"]
"""How far a token count can be trusted: computed by the engine's own rule, measured in an earlier answer, or estimated."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `parts` keep the order in which they were given."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def prompt_text(self) -> str:
        """The `text` and the tool calls, approximately what a chat template writes. Excludes reasoning, as most templates do."""
        calls = (f"{call.name}{call.arguments}" for call in self.tool_calls)
        return "\n".join(filter(None, (self.text, *calls)))

    @property
    def text_without_notes(self) -> str:
        """The `text` without our notes."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart) and not part.note)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.parts if isinstance(part, ImagePart))

    @property
    def attachments(self) -> tuple[Attached, ...]:
        """The images of the message, in order, wherever they are."""
        return tuple(part for part in self.parts if isinstance(part, Attached))

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCallPart))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The one tool that the model must call."""

    name: str


ToolChoice: TypeAlias = Literal["auto", "none", "required"] | NamedTool
Think: TypeAlias = bool | Literal["low", "medium", "high"]
"""Whether, or how hard, a reasoning model should think before it answers."""


@dataclass(frozen=True)
class Piece:
    """One encoded image file of `width` x `height` pixels that goes to the engine. `label` is text to put before it; "" for none."""

    data: bytes
    format: Literal["PNG", "JPEG"]
    width: int
    height: int
    label: str = ""

    @cached_property
    def encoded(self) -> bytes:
        """In base64. Encoded once: a conversation sends the same images in every turn."""
        return b64encode(self.data)

    @property
    def base64(self) -> str:
        return self.encoded.decode("ascii")

    @property
    def media_type(self) -> str:
        return "image/png" if self.format == "PNG" else "image/jpeg"


@dataclass(frozen=True, slots=True)
class Rendition:
    """The files that one model gets of an image: the same bytes in every turn, or the engine's prefix cache misses.

    Attributes:
        pieces: the files in the order of sending: one, or tiles and an overview.
        tokens: tokens of all pieces in the model's context; None if unknown.
        label: how far `tokens` can be trusted.
        detail: "high" if the image is cut into tiles or shown larger than `detail: low` allows.
        notes: wishes that were not met exactly.
    """

    pieces: tuple[Piece, ...]
    tokens: int | None = None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    notes: tuple[Note, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(len(piece.data) for piece in self.pieces)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(piece.label for piece in self.pieces if piece.label)


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer by the engine's count; `prompt_tokens` includes images and cached tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None

    @property
    def tokens(self) -> int | None:
        """Tokens of the conversation after this answer; None if the engine did not count."""
        return None if self.prompt_tokens is None or self.completion_tokens is None else self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """Add the tokens of another part of the same answer. A sum with an unknown part is unknown."""
        return Usage(*(_sum(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Timings:
    """The times of one answer in milliseconds. The engine measures `load_ms`, `prompt_ms` and `generation_ms`; we measure the others."""

    queue_ms: float | None = None
    prepare_ms: float | None = None
    load_ms: float | None = None
    prompt_ms: float | None = None
    first_token_ms: float | None = None
    generation_ms: float | None = None
    total_ms: float | None = None

    def plus(self, other: Timings) -> Timings:
        """Add the times of another part of the same answer. A sum with an unknown part is unknown; the first token is that of this part,
        if it had one."""
        first = self.first_token_ms if self.first_token_ms is not None else other.first_token_ms
        sums = {f.name: _sum(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Timings(**{**sums, "first_token_ms": first})


def _sum(one: Number | None, other: Number | None) -> Number | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as every API passes it to the gateway.

    Attributes:
        messages: in a session (`session_id`), the new messages; else the whole conversation, in any order of roles. A system message keeps
            its place, and a last message by the assistant is the beginning of its answer.
        model: name of the model; None for the default.
        system: new system prompt of the session, which stays in effect; None keeps the current one.
        options: options with presets already applied.
        format: "json" or a JSON schema for the answer; None for text.
        keep_alive: how long the model stays loaded; None for the settings' value.
        policy: new policy of the session, which stays in effect; None keeps the current one.
        glossary: new lines on names and terms that may occur, which stay in effect in the session; None keeps the current ones.
        after: id of the session's turn that this one follows; 0 for none, None for the last.
        continues: id of the session's turn whose answer is to go on, for a request without messages; None for a question.
        annotate: whether we add words of our own to the prompt: numbers before images, traces of dropped images. Off if the client wrote
            the whole conversation itself.
        counted: whether a PromptProgress before the first word gives the tokens of the prompt, even if the engine doesn't report any.
        names_stop: whether the answer must tell which text of `options.stop` ended it.
        tools: functions that the model may call; the request is rejected if the model can't call tools.
        tool_choice, think: passed to engines and models that support them; a warning says if they are ignored.
        logprobs: number of alternatives per token, 0 to 20, to return with their probabilities (0 for the token's own probability only);
            None for no probabilities.
        strict_vision: whether a model that can't see is rejected in a session with images; None for the settings' value.
        warnings: warnings of the API that parsed the request.
    """

    messages: tuple[Message, ...]
    model: str | None = None
    system: str | None = None
    options: Options = Options()
    format: Literal["json"] | JSON | None = None
    keep_alive: str | int | None = None
    session_id: str | None = None
    policy: Policy | None = None
    glossary: tuple[str, ...] | None = None
    after: int | None = None
    continues: int | None = None
    annotate: bool = True
    counted: bool = False
    names_stop: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    think: Think | None = None
    logprobs: int | None = None
    strict_vision: bool | None = None
    warnings: tuple[Note, ...] = ()

    @property
    def question(self) -> Message:
        """The last message; the messages before it are history."""
        return self.messages[-1]

    @property
    def has_images(self) -> bool:
        return any(message.attachments for message in self.messages)

    @property
    def brings_images(self) -> bool:
        """Whether there are image files in it, or addresses of some, which must be decoded first."""
        return any(isinstance(part, Upload | Link) for message in self.messages for part in message.parts)

    @property
    def text_bytes(self) -> int:
        return sum(len(message.text.encode()) for message in self.messages)


def user_request(*parts: Part, **rest: Any) -> ChatRequest:
    """Build a request with one message by the user; `rest` are further fields of ChatRequest."""
    return ChatRequest((Message("user", parts),), **rest)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request as an engine gets it. `renditions` holds the files of every image in `messages`; the rest is as in ChatRequest."""

    model: str
    messages: tuple[Message, ...]
    options: Options = Options()
    format: Literal["json"] | JSON | None = None
    keep_alive: str | int | None = None
    renditions: Mapping[ImagePart, Rendition] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    think: Think | None = None
    logprobs: int | None = None
    names_stop: bool = False

    @property
    def prefill(self) -> str:
        """The beginning of the answer as written by the client: the text of a last message by the assistant; "" for none."""
        last = self.messages[-1] if self.messages else None
        return last.text if last is not None and last.role == "assistant" else ""

    @property
    def prefilled_thought(self) -> str:
        """The same for its reasoning."""
        last = self.messages[-1] if self.messages else None
        thoughts = (part.text for part in last.parts if isinstance(part, ReasoningPart)) if last and last.role == "assistant" else ()
        return "".join(thoughts)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images in order of appearance; an image that appears twice is included twice."""
        return tuple(part for message in self.messages for part in message.images)

    @property
    def shown(self) -> tuple[Rendition, ...]:
        """The rendition of each of the `images`."""
        return tuple(self.renditions[part] for part in self.images)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A prompt outside of any conversation: the client decides what the engine makes of it. The rest is as in ChatRequest.

    Attributes:
        prompt: the prompt. raw: whether the model gets it as it is, without a template.
        suffix: text that follows what the model writes; "" for none.
        template, system: in place of the model's own; "" for its own.
        images: one file for each image, in the order in which the prompt names them.
    """

    model: str
    prompt: str
    raw: bool = False
    suffix: str = ""
    template: str = ""
    system: str = ""
    images: tuple[Piece, ...] = ()
    options: Options = Options()
    format: Literal["json"] | JSON | None = None
    keep_alive: str | int | None = None
    think: Think | None = None
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to embed as vectors by a model that runs with `options`. It stays loaded for `keep_alive`; None for the default."""

    model: str
    texts: tuple[str, ...]
    options: Options = Options()
    keep_alive: str | int | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of several texts.

    Attributes:
        vectors: one vector per text, in order, all with the same number of components and a Euclidean norm of 1 (0 for a zero vector).
        prompt_tokens: tokens of all texts; None if the engine doesn't report them.
    """

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The tokens of a prompt by use.

    Attributes:
        system: tokens of the system prompt.
        text: tokens of the questions, the answers and the template's own words.
        images: tokens of each image, in order of appearance.
        label: how far the total can be trusted.
        text_is_exact: whether the engine itself counted the text.
    """

    system: int
    text: int
    images: tuple[int, ...] = ()
    label: Label = "estimated"
    text_is_exact: bool = False

    @property
    def total(self) -> int:
        return self.system + self.text + sum(self.images)


@dataclass(frozen=True, slots=True)
class Loading:
    """The engine must load the model first; `last_load_ms` is the duration of the last load in milliseconds, None if unknown."""

    model: str
    reason: Note | None = None
    last_load_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """The tokens of the prompt read so far (`processed` of `total`), `cached` of them from the engine's cache."""

    processed: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token of an answer with the natural logarithm of its probability; `top` has the likeliest tokens in its place with theirs."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str
    logprobs: tuple[Logprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that the model makes; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an engine's answer; `stop` is the text of `options.stop` that ended it, None if none did or it is unknown."""

    reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    stop: str | None = None


EngineEvent: TypeAlias = PromptProgress | TextDelta | ReasoningDelta | ToolCall | Finish
"""The events of an engine's answer, in order; `Finish` is the last. Errors are raised."""
