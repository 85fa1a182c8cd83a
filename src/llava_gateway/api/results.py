"""The bodies of responses as types, only for /openapi.json: routes write them from values, and a test compares each with these types.

A member is left out only if it has a default here; other members are null without a value.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llava_gateway.chat import Detail, FinishReason, Label, Policy
from llava_gateway.engines.base import EngineName
from llava_gateway.gateway.read_ahead import Status
from llava_gateway.settings import VisionFamily


class Result(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


# Shared by many answers.


class Note(Result):
    """A change, a step or a warning. Programs read `code` and `values`; `message` is for people."""

    code: str = Field(description="Stable, for programs.")
    message: str = Field(description="The fact as an English sentence.")
    values: dict[str, int | float | str | list[str]] = Field(description="The numbers and names in the sentence.")


class Problem(Result):
    """An error as in RFC 9457, with the member `error` for clients written for OpenAI's API."""

    type: str = Field(examples=["urn:llava-gateway:error:model_not_found"])
    title: str = Field(description="The same for all errors of this code.")
    status: int
    detail: str = Field(description="What is wrong with this request.")
    instance: str = Field(description="The request's id, also in X-Request-Id.")
    error: ProblemError
    retryable: bool = Field(description="Whether the same request may succeed later.")


class ProblemError(Result):
    """The error in the format of OpenAI's API."""

    message: str
    type: str
    code: str = Field(description="Stable, for programs.")
    reason: str = Field(description="Stable, for programs: the exact case of the code.")
    param: str | None = Field(description="The wrong field.")
    hint: str = Field(description="What to do about it.")
    values: dict[str, Any] = Field(description="The numbers and names in the message, such as n_ctx.")


class Sent(Result):
    """What went to the model for an image: `pieces` files, the largest of them `width` x `height` pixels."""

    width: int
    height: int
    format: str
    tokens: int | None = Field(description="The sum over all pieces; null while the model's family is unknown.")
    label: Label = Field(description="How reliable `tokens` is.")
    detail: Literal["low", "high"]
    pieces: int


class Usage(Result):
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None = Field(description="Null if the engine does not report it.")


class Timings(Result):
    """Times in milliseconds. `load_ms`, `prompt_ms` and `generation_ms` are the engine's figures."""

    queue_ms: float | None
    prepare_ms: float | None
    load_ms: float | None
    prompt_ms: float | None
    first_token_ms: float | None
    generation_ms: float | None
    total_ms: float | None


class AssistantMessage(Result):
    role: Literal["assistant"]
    content: str = Field(description="With `format`, a string that contains JSON.")
    reasoning: str = Field("", description="The text that the model wrote before its answer; absent if there is none.")


# Answers.


class Dropped(Result):
    """Something that is no longer sent to the model: the text of a turn or, with `image_id`, an image of it."""

    turn: int | None = Field(description="The position in the branch, counted from 0.")
    turn_id: int | None
    image_id: str | None
    tokens: int | None


class ContextReport(Result):
    """How full the model's context is, in tokens; null if the engine does not report it."""

    used: int | None
    limit: int | None
    images: int | None
    dropped: list[Dropped]
    warnings: list[Note]


class AnsweredImage(Result):
    id: str
    width: int
    height: int
    sent: Sent
    changes: list[Note]


class Answer(Result):
    id: str
    model: str
    engine: EngineName
    session_id: str | None
    turn_id: int | None
    message: AssistantMessage
    finish_reason: FinishReason = Field(description="`length`: the answer was cut at num_predict or at the end of the context.")
    images: list[AnsweredImage]
    usage: Usage
    timings: Timings
    context: ContextReport
    warnings: list[Note]


class ShortAnswer(Result):
    response: str


# Events of a stream: the name in `event:`, the rest in `data:`.


class Queued(Result):
    position: int = Field(description="1 means next.")


class Loading(Result):
    model: str
    reason: Note | None
    last_load_ms: float | None


class PromptProgress(Result):
    """How much of the prompt the engine has read, in tokens."""

    processed: int
    total: int
    cached: int | None


class Delta(Result):
    text: str


class ToolCall(Result):
    id: str
    name: str
    arguments: str = Field(description="JSON, exactly as the model wrote it.")


class QueuedEvent(Result):
    event: Literal["queued"]
    data: Queued


class LoadingEvent(Result):
    event: Literal["loading"]
    data: Loading


class ProgressEvent(Result):
    event: Literal["progress"]
    data: PromptProgress


class DeltaEvent(Result):
    event: Literal["delta"]
    data: Delta


class ReasoningEvent(Result):
    event: Literal["reasoning"]
    data: Delta


class ToolCallEvent(Result):
    event: Literal["tool_call"]
    data: ToolCall


class DoneEvent(Result):
    event: Literal["done"]
    data: Answer


class ErrorEvent(Result):
    event: Literal["error"]
    data: Problem


class RunningQuestion(Result):
    prompt: str
    after: int | None
    model: str | None
    continues: int | None = Field(description="The id of the turn whose answer goes on; null for a new question.")
    images: list[StoredImage] = Field(description="The images that are already stored, without uploads that are still being read.")


class QuestionEvent(Result):
    event: Literal["question"]
    data: RunningQuestion


class Cancelled(Result):
    cancelled: bool = Field(description="False if there was no running answer.")


# Before an answer.


class TokenParts(Result):
    system: int
    text: int
    images: list[int]


class ImageCost(Result):
    number: int
    image_id: str | None
    tokens: int | None
    sent: bool
    pinned: bool | None
    detail: Detail | None


class TurnCost(Result):
    turn: int | None
    turn_id: int | None
    asked: str
    sent: bool
    text_tokens: int
    images: list[ImageCost]


class LargerContext(Result):
    num_ctx: int
    last_load_ms: float | None


class TokenCount(Result):
    total: int
    limit: int
    fits: bool
    over: int
    parts: TokenParts
    answer_room: int
    num_ctx_needed: int
    label: Label
    model: str
    policy: Policy
    dropped: list[Dropped]
    warnings: list[Note]
    turns: list[TurnCost]
    next: list[Dropped]
    together: int
    larger: LargerContext | None


class ReadAhead(Result):
    status: Status
    reason: str | None
    message: str | None
    model: str | None
    engine: EngineName | None
    prompt_tokens: int | None
    cached_tokens: int | None
    ms: float | None


# Images.


class OriginalFile(Result):
    width: int
    height: int
    format: str
    bytes: int


class StoredImage(Result):
    id: str = Field(description="The sha256 of the canonical image.")
    width: int
    height: int
    original: OriginalFile
    sent: Sent | None
    changes: list[Note]
    warnings: list[Note]


class ListedPage(Result):
    number: int = Field(description="What `pages` or `frames` calls it: pages count from 1, frames from 0.")
    width: int
    height: int
    seconds: float | None = Field(description="Its time in an animation.")
    thumbnail: str | None = Field(description="A small JPEG as a data: URL; null if the page can't be read.")


class PageList(Result):
    format: str
    count: int = Field(description="Pages or frames, as the file says.")
    field: Literal["pages", "frames"] = Field(description="The field that chooses them.")
    pages: list[ListedPage] = Field(description="The first 64 pages, or the frames that differ most.")


class ViewStep(Note):
    of: Literal["file", "model"] = Field(description="Whether the step concerns the uploaded file or the image for the model.")


class Size(Result):
    width: int
    height: int


class ViewPiece(Result):
    role: Literal["whole", "overview", "tiles", "region", "strip"]
    width: int
    height: int
    box: list[float] | None = Field(
        description="The part of the image that the piece shows: [x, y, width, height] in fractions; null if it is only padding."
    )
    format: str
    bytes: int
    tokens: int | None


class ImageView(Result):
    id: str
    model: str
    family: VisionFamily
    profile: str
    drawing: Size
    steps: list[ViewStep]
    pieces: list[ViewPiece]
    tokens: int | None
    label: Label
    detail: Literal["low", "high"]
    notes: list[Note]


# Models, engines and health.


class OptionRange(Result):
    low: float
    high: float
    unit: str
    about: str
    whole: bool
    reloads: bool


class Limits(Result):
    images_per_turn: int
    image_max_bytes: int
    document_max_bytes: int
    image_formats: list[str]


class Options(Result):
    options: dict[str, OptionRange]
    presets: dict[str, dict[str, Any]]
    limits: Limits
    keep: Literal["memory", "sqlite"] = Field(description="Where sessions are kept: in memory, or on disk.")
    fetch: bool = Field(description="Whether the gateway fetches images from addresses, if only from some hosts.")


class Health(Result):
    ok: bool
    version: str


class EngineReport(Result):
    name: EngineName
    ok: bool
    version: str
    detail: str


class Readiness(Result):
    """Readiness. Without the key (if there is one), only `ready` is set."""

    ready: bool
    engine: EngineName | None
    model: str | None
    reason: Note | None
    engines: list[EngineReport]


# Changes of the gateway.


class ReadyEvent(Result):
    event: Literal["ready"]
    data: Readiness


class ModelsRevision(Result):
    revision: str = Field(description="Differs after every change of GET /models.")


class ModelsEvent(Result):
    event: Literal["models"]
    data: ModelsRevision


class SessionsChange(Result):
    etag: str = Field(description="The ETag of GET /sessions.")
    changed: list[str] | None = Field(
        description="The ids of the sessions that were changed, created, deleted or restored since the last such event; null: any may"
        " have been."
    )


class SessionsEvent(Result):
    event: Literal["sessions"]
    data: SessionsChange


class RunningSessions(Result):
    sessions: list[str] = Field(description="The ids of all sessions that have a running answer.")


class RunningEvent(Result):
    event: Literal["running"]
    data: RunningSessions


# Votes.


class Candidate(Result):
    model: str
    engine: str
    preset: str | None
    detail: Detail | None
    options: dict[str, float]
    answer: str
    timings: Timings
    usage: Usage


class Vote(Result):
    at: datetime
    prompt: str
    images: list[str]
    best: int | None
    candidates: list[Candidate]


class Standing(Result):
    """The results of a model; the figures are medians over its answers."""

    model: str
    compared: int
    best: int
    ties: int
    first_word_ms: float | None
    tokens_per_second: float | None


class Votes(Result):
    votes: list[Vote]
    tally: list[Standing]
