"""The vocabulary every room shares: messages made of ordered parts, requests, and what an engine says.

All are frozen values. An image is named by its id (the sha256 of its canonical bytes, hex); its bytes live in the image store
(`images/store.py`), and what one model gets of it is a `Rendition`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, TypeAlias

from llava_gateway.notes import Note
from llava_gateway.options import Options

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]
Policy: TypeAlias = Literal["strict", "pin_images", "sliding", "summarise"]
"""What happens when a conversation no longer fits into the context: refuse; drop the oldest text but no image; drop the oldest turns with
their images; as pin_images, with a summary in place of what was dropped."""
# JSON as it comes from outside: a schema is passed on to the engine as it is, so nothing inside it is ours to name.
JSON: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words.

    Attributes:
        note: whether they are ours and go to the model beside the person's (a label, a hint); such are not shown as what was asked.
        recalls: the number of the image that a note calls back to mind; None for any other text.
    """

    text: str
    note: bool = False
    recalls: int | None = None


Detail: TypeAlias = Literal["auto", "low", "high"]
Label: TypeAlias = Literal["exact", "measured", "estimated"]
"""How far a number of tokens can be trusted: counted as the engine counts, seen in an earlier answer, or reckoned."""
Box: TypeAlias = tuple[float, float, float, float]
"""(x, y, width, height) as fractions of the upright image, from its top left corner."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How much of an image the model is to see.

    Attributes:
        detail: "low" is one tile, "high" the best grid; "auto" is the best grid where that is within `max_image_tokens`, else one tile.
        image_size: (width, height) in pixels that a grid may have at most.
        num_visual_tokens, max_image_tokens: tokens that the image may cost at most; the first is a wish that is to be met exactly.
        region: a part to look at closely; it is sent after an overview of the whole.
    """

    detail: Detail = "auto"
    image_size: tuple[int, int] | None = None
    num_visual_tokens: int | None = None
    max_image_tokens: int | None = None
    region: Box | None = None

    @property
    def undecided(self) -> bool:
        """Whether it is left to us how much is shown, within `max_image_tokens` where that is given."""
        return self.detail == "auto" and self.image_size is None and self.num_visual_tokens is None

    @property
    def key(self) -> str:
        """Names every wish: same profile and key, same bytes."""
        return json.dumps(self.to_json(), separators=(",", ":"))

    def to_json(self) -> JSON:
        """What is wished for, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @classmethod
    def from_json(cls, value: JSON) -> Sight:
        fields_: JSON = {name: tuple(given) if isinstance(given, list) else given for name, given in value.items()}
        return cls(**fields_)


@dataclass(frozen=True, slots=True)
class ImagePart:
    image_id: str
    sight: Sight = Sight()


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file as a client sent it, not yet looked at. Its name is of no use to anyone, so it ends where the request is parsed."""

    data: bytes
    sight: Sight = Sight()


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call that the model made in an assistant message; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """Begins a tool message: the parts after it are the result of the call `call_id` of the tool `name` ("" where it is not known)."""

    call_id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """What the model thought before an earlier answer."""

    text: str


Part: TypeAlias = TextPart | ImagePart | Upload | ToolCallPart | ToolResultPart | ReasoningPart
"""An engine never gets an Upload: by then it is an ImagePart."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `parts` keep the order they were given in."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def written(self) -> str:
        """`text`, with the calls of tools: about what a template writes of the message. Thoughts are left out, as most templates do."""
        calls = (f"{call.name}{call.arguments}" for call in self.tool_calls)
        return "\n".join(filter(None, (self.text, *calls)))

    @property
    def asked(self) -> str:
        """`text` without our notes."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart) and not part.note)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.parts if isinstance(part, ImagePart))

    @property
    def attachments(self) -> tuple[ImagePart | Upload, ...]:
        """Its images, those among them that are still files."""
        return tuple(part for part in self.parts if isinstance(part, ImagePart | Upload))

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
"""Whether, or how hard, a model that can reason is to do so before it answers."""


@dataclass(frozen=True)
class Piece:
    """One file that goes to the engine: `width` x `height` pixels, encoded."""

    data: bytes
    format: Literal["PNG", "JPEG"]
    width: int
    height: int

    @cached_property
    def base64(self) -> str:
        """Encoded once: a conversation sends the same images in every turn."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def media_type(self) -> str:
        return "image/png" if self.format == "PNG" else "image/jpeg"


@dataclass(frozen=True, slots=True)
class Rendition:
    """What one model gets of an image. The same image is the same bytes in every turn, or the engine's prefix cache misses.

    Attributes:
        pieces: the files, in the order they are sent, side by side: one, or tiles and an overview.
        tokens: what they cost in the model's context, None where that is not known.
        label: how far `tokens` can be trusted.
        detail: "high" where it was cut into tiles.
        notes: wishes that could not be met.
    """

    pieces: tuple[Piece, ...]
    tokens: int | None = None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    notes: tuple[Note, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(len(piece.data) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer as the engine counted them; `prompt_tokens` includes images and cached ones."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds. `load` and `prompt` and `generation` are the engine's figures, the others ours."""

    queue_ms: float | None = None
    prepare_ms: float | None = None
    load_ms: float | None = None
    prompt_ms: float | None = None
    first_token_ms: float | None = None
    generation_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked, as every API hands it on.

    Attributes:
        messages: in a session (`session_id`), what is new; else the whole conversation, in any order of roles: a system message keeps its
            place, and a last message by the assistant is the beginning of its answer.
        system: the system prompt of a session; it stays there until another is given. None: the session's.
        options: with presets already applied.
        keep_alive: how long the model stays loaded; None: as the settings say.
        policy, glossary: (lines about names and terms that may occur) stay in a session until others are given; None: the session's.
        after: the id of the session's turn that this one follows, 0 for none; None: the last.
        annotate: whether we add words of our own to the prompt: numbers before images, traces of what was dropped. Off where the client
            wrote the whole conversation itself.
        tools: what the model may call; a model that can't is refused. tool_choice, think: passed on to engines and models that know them,
            and told as ignored by the others.
        logprobs: how many alternatives to each token, 0 to 20, are wanted with its probability (0: only its own); None: no probabilities.
        warnings: what the API that took the request has to say of it.
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
    annotate: bool = True
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    think: Think | None = None
    logprobs: int | None = None
    warnings: tuple[Note, ...] = ()

    @property
    def question(self) -> Message:
        """The last message: what is asked now. The messages before it are history."""
        return self.messages[-1]

    @property
    def has_images(self) -> bool:
        return any(message.attachments for message in self.messages)

    @property
    def text_bytes(self) -> int:
        return sum(len(message.text.encode()) for message in self.messages)


def asked(*parts: Part, **rest: Any) -> ChatRequest:
    """A request with one message by the user; `rest` are further fields of ChatRequest."""
    return ChatRequest((Message("user", parts),), **rest)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What an engine gets: everything resolved, nothing left to look up.

    `renditions` holds the bytes of every image in `messages`; the other fields are those of ChatRequest.
    """

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

    @property
    def prefill(self) -> str:
        """The beginning of the answer, which the client has written: the words of a last message by the assistant."""
        last = self.messages[-1] if self.messages else None
        return last.text if last is not None and last.role == "assistant" else ""

    @property
    def prefilled_thought(self) -> str:
        """The beginning of what is thought before the answer, where the client has written that."""
        last = self.messages[-1] if self.messages else None
        thoughts = (part.text for part in last.parts if isinstance(part, ReasoningPart)) if last and last.role == "assistant" else ()
        return "".join(thoughts)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """Its images in order of appearance; one that appears twice is there twice."""
        return tuple(part for message in self.messages for part in message.images)

    @property
    def shown(self) -> tuple[Rendition, ...]:
        """What is sent of each of `images`."""
        return tuple(self.renditions[part] for part in self.images)


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to turn into vectors; `options` are those that the model runs with, `keep_alive` is how long it stays loaded."""

    model: str
    texts: tuple[str, ...]
    options: Options = Options()
    keep_alive: str | int | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each text, in their order: all of one length, each divided by its own (so that its Euclidean length is 1), but for
    one of zeros alone. `prompt_tokens` is what all texts took; None where the engine does not tell."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a prompt by what they are spent on; `text` holds the questions, answers and the template's own words.

    `images` has a number for each image, in order of appearance. `label` tells how far all of it can be trusted, `text_is_exact` whether
    the engine itself counted the words.
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
    """The engine must load the model first; `last_load_ms` is how long that took last time, None if not known."""

    model: str
    reason: Note | None = None
    last_load_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """Tokens of the prompt read so far, `cached` of them without work."""

    processed: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token of an answer, the natural logarithm of its probability, and the likeliest tokens in its place with theirs."""

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
    """A call that the model makes; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an engine's answer; `stop` is the text of `options.stop` that ended it, None where the engine does not tell."""

    reason: FinishReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    stop: str | None = None


EngineEvent: TypeAlias = PromptProgress | TextDelta | ReasoningDelta | ToolCall | Finish
"""What an engine says of an answer, in order; `Finish` is the last. What goes wrong is raised."""
