"""Request bodies: known fields only, and no guessing of types.

Pydantic reports every error in a body, and needs microseconds for each; one is enough. Therefore it sees only the first unknown field
(`Body`), a list ends at its first wrong item (`Items`), and a dictionary is checked a few values at a time (`Values`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    model_validator,
)

from llava_gateway.api.errors import from_validation
from llava_gateway.api.schemas import parse_format
from llava_gateway.chat import Detail, OnDisconnect, Policy
from llava_gateway.errors import InvalidFormat, InvalidOption, InvalidRegion, InvalidRequest
from llava_gateway.fetching.addresses import MAX_CHARS
from llava_gateway.votes import MAX_TEXT_CHARS

DEFAULT_PROMPT = "Describe this image."
DEFAULT_PROMPT_OF_SEVERAL = "Describe these images."
"""The question for images that come without one."""

IMAGE_ID = r"^[0-9a-f]{64}$"
KeepAlive: TypeAlias = str | int
MAX_TOKENS = 131072
Tokens: TypeAlias = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Side: TypeAlias = Annotated[int, Field(ge=32, le=16384)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Milliseconds: TypeAlias = Annotated[float, Field(ge=0, le=1e12)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**40)]
Figure: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
OptionName: TypeAlias = Annotated[str, Field(max_length=64)]
_AT_ONCE = 100
_SIZE_MAX_CHARS = 64
GLOSSARY = "Lines about names and terms that may occur"


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error that a field raises if its value is invalid."""

    reason: str
    error: type[InvalidRequest] = InvalidRequest


def _size(value: Any) -> Any:
    """Split a text such as 672x672 into two numbers. Leaves a long text as it is."""
    short = isinstance(value, str) and len(value) <= _SIZE_MAX_CHARS
    found = re.fullmatch(r"\s*(\d{1,6})\s*[x×,]\s*(\d{1,6})\s*", value) if short else None
    return [int(found[1]), int(found[2])] if found else value


def _in_parts(value: Any, handler: Callable[[Any], dict[Any, Any]]) -> dict[Any, Any]:
    """Validate a dictionary up to its first invalid part."""
    if not isinstance(value, dict) or len(value) <= _AT_ONCE:
        return handler(value)
    pairs = iter(value.items())
    found: dict[Any, Any] = {}
    while part := dict(islice(pairs, _AT_ONCE)):
        found |= handler(part)
    return found


T = TypeVar("T")
K = TypeVar("K")
Items: TypeAlias = Annotated[list[T], Field(fail_fast=True)]
Values: TypeAlias = Annotated[dict[K, T], WrapValidator(_in_parts)]
Size: TypeAlias = Annotated[
    Items[Side] | None,
    BeforeValidator(_size),
    FieldError("size_wrong"),
]
Region: TypeAlias = Annotated[
    Items[Fraction] | None,
    FieldError("region_wrong", InvalidRegion),
]
Format: TypeAlias = Annotated[
    Literal["json"] | dict[str, Any] | None,
    AfterValidator(parse_format),
    FieldError("format_wrong", InvalidFormat),
]
Background: TypeAlias = Annotated[
    str | None,
    Field(pattern=r"^(?:auto|#[0-9a-fA-F]{6})$", examples=["#336699"]),
    FieldError("background_wrong"),
]
BACKGROUND = (
    "The colour behind transparent parts of the images that this request uploads: #rrggbb, or auto (default), which takes white, or"
    " mid-gray where white would hide something."
)
NO_IMAGE_ID = FieldError("image_id_wrong")
NO_KEEP_ALIVE = FieldError("keep_alive_wrong", InvalidOption)


class Body(BaseModel):
    """A JSON request body: rejects unknown fields and guesses no types."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _with_one_unknown_field(cls, value: Any) -> Any:
        """Keep only the first unknown field, which is enough to reject the body."""
        known = cls.model_fields
        if not isinstance(value, dict) or value.keys() <= known.keys():
            return value
        first = next(name for name in value if name not in known)
        return {name: value[name] for name in (*known, first) if name in value}


BodyT = TypeVar("BodyT", bound=Body)


class SightBody(Body):
    """How much of an image the model sees. In a question it applies to all images, in an item of `images` to that image."""

    detail: Detail | None = Field(
        None,
        description="low: one tile. high: the best grid of tiles. auto (default): like high if the model was trained with tiles and the"
        " context and the speed allow it, else like low.",
    )
    image_size: Size = Field(
        None,
        min_length=2,
        max_length=2,
        description="[width, height] in pixels: send a grid of tiles of at most this size.",
        examples=[[672, 672]],
    )
    num_visual_tokens: Tokens | None = Field(None, description="Send the largest grid of tiles with at most this many tokens.")
    max_image_tokens: Tokens | None = Field(None, description="Most tokens for an image; the model's minimum (one tile) is always sent.")
    region: Region = Field(
        None,
        min_length=4,
        max_length=4,
        description="[x, y, width, height] in fractions of the upright image: send an overview, then this part at full resolution.",
        examples=[[0.5, 0, 0.5, 0.5]],
    )


class FileBody(Body):
    """How a file is read: which pages or frames of it, and on which ground. In a question it applies to all files, in an item of `images`
    to that file.
    """

    pages: str | None = Field(
        None,
        max_length=500,
        description="Pages of a PDF or a TIFF, counted from 1. Unset: those that fit the context, from the first on.",
        examples=["1-3,7"],
    )
    frames: str | None = Field(
        None,
        max_length=500,
        description="Frames of an animation or a video, counted from 0, or scenes:6 for six that differ most. Unset: one sheet with up to"
        " four of an animation, or up to eight of a video.",
        examples=["0,5"],
    )
    text_layer: Literal["auto", "off"] | None = Field(
        None,
        description="off: only the image of a PDF page is sent. auto (default): its text goes along as a hint, as far as it fits.",
    )
    background: Background = Field(None, description=BACKGROUND)


class ImageRef(SightBody):
    image_id: Annotated[str, NO_IMAGE_ID] = Field(pattern=IMAGE_ID, description="The id from POST /images or from an earlier answer.")


class ImageData(FileBody, SightBody):
    data: str = Field(description="base64, or a data: URL.")


class ImageLink(FileBody, SightBody):
    image_url: str = Field(
        min_length=1, max_length=MAX_CHARS, description="The http or https address of the image, if the setting `fetch` allows that."
    )


class AskBody(FileBody, SightBody):
    """A question about images. In multipart, each field is a form field, `image` files are repeated, and options are fields too."""

    prompt: str = Field(
        "",
        description=f"The question. Without it, {DEFAULT_PROMPT!r} or {DEFAULT_PROMPT_OF_SEVERAL!r}.",
        examples=["What is in this picture?"],
    )
    images: Items[Any] = Field(
        default_factory=list,
        description="Each is base64 (with or without a data: prefix), {image_id}, {image_url} or {data}. The model gets them before the"
        " prompt.",
    )
    model: str | None = Field(
        None, max_length=256, description="The model that answers; see GET /models. Unset: the session's model, else the default."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Sampling options by Ollama's names; GET /options lists ranges and units."
    )
    preset: str | None = Field(
        None,
        max_length=64,
        description="A named set of options: factual, balanced, creative or your own. Options in the same request override it.",
    )
    system: str | None = Field(None, description="System prompt; in a session, it stays in effect until you set another.")
    format: Format = Field(None, description="'json', or a JSON schema that the answer must follow.")
    keep_alive: Annotated[KeepAlive | None, NO_KEEP_ALIVE] = Field(
        None, description="How long Ollama keeps the model loaded: seconds, '5m', 0 (not at all) or -1 (for ever)."
    )
    stream: Annotated[bool | None, FieldError("field_not_boolean")] = Field(
        None, description="true: respond with an event stream; false or unset: with JSON. An Accept header overrides this."
    )
    session_id: str | None = Field(None, max_length=64, description="The session that this turn belongs to. Unset: nothing is kept.")
    on_disconnect: OnDisconnect | None = Field(
        None, description="What happens to an answer in a session when its client disconnects: cancel or continue. Unset: the setting."
    )
    policy: Policy | None = Field(
        None, description="What happens when the conversation no longer fits the context; in a session, it stays until you set another."
    )
    glossary: Items[str] | None = Field(
        None, description=f"{GLOSSARY}; in a session, they stay until you set others. Unset: the glossary of the preset, if it has one."
    )
    strict_vision: Annotated[bool | None, FieldError("field_not_boolean")] = Field(
        None,
        description="true: reject a model that can't see if the session has images; false: let it answer from what was said about them."
        " Unset: the setting.",
    )
    ocr_text: str | None = Field(None, description="Text that another program read in the image; the model gets it as a hint.")
    after: int | None = Field(
        None,
        ge=0,
        description="The id of the turn that this one follows; 0 for the beginning. If another turn follows it already, this one starts"
        " a new branch, which becomes the current one. Unset: the last turn of the current branch.",
    )


class ContinueBody(Body):
    """How an answer goes on that was cut off."""

    turn: int | None = Field(None, ge=1, description="The id of the turn, which must be the last of the current branch. Unset: that one.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options that override those of the turn.")
    keep_alive: Annotated[KeepAlive | None, NO_KEEP_ALIVE] = Field(None, description="As in a question.")
    stream: Annotated[bool | None, FieldError("field_not_boolean")] = Field(None, description="As in a question.")
    on_disconnect: OnDisconnect | None = Field(None, description="As in a question.")


class DefaultsBody(Body):
    """The defaults of a session, for turns that don't set a value themselves; null removes a default."""

    preset: str | None = Field(None, max_length=64, description="The preset for all turns, with its glossary if it has one.")
    options: dict[str, Any] | None = Field(
        None,
        description="Options for all turns, as in a question; they override the preset. New options replace all old ones.",
    )
    detail: Detail | None = Field(None, description="How much of an image all turns send.")
    format: Format = Field(None, description="'json', or a JSON schema that every answer must follow.")


class SessionBody(DefaultsBody):
    title: str = Field("", max_length=200)
    model: str | None = Field(
        None, max_length=256, description="The model that answers in this session. Unset: the default model at the first turn."
    )
    system: str = Field("", description="System prompt of every turn.")
    policy: Policy | None = Field(None, description="What happens when the session no longer fits the context. Unset: the setting.")
    glossary: Items[str] | None = Field(None, description=f"{GLOSSARY}. Unset: the glossary of the preset in the settings, if it has one.")
    temporary: bool = Field(False, description="true: the session is never written to disk.")


class ImagePatch(Body):
    """Changes to an image of a session; a field that is left out stays as it is."""

    pinned: bool | None = Field(
        None, description="true: the image is never dropped; false: it is dropped with its text; null: the policy decides."
    )
    detail: Detail | None = Field(
        None, description="How much of the image, or of its region, is sent from the next turn on; null: as each turn asked."
    )


class SessionPatch(DefaultsBody):
    title: str | None = Field(None, min_length=1, max_length=200)
    system: str | None = None
    policy: Policy | None = None
    glossary: Items[str] | None = Field(None, description=f"{GLOSSARY}; [] removes them.")
    branch: int | None = Field(
        None, ge=1, description="The id of a turn. Its branch becomes the current one, with the turns that it had when it was last current."
    )
    images: Values[str, ImagePatch] | None = Field(
        None, description="Images of the session to change, by image id: pin or release them, or set their detail."
    )


class SessionsQuery(Body):
    """The query of GET /sessions."""

    q: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Return only sessions with these words in the title, a prompt or an answer, with the matches.",
    )
    deleted: Literal["true", "false"] = Field(
        "false", description="true: list the deleted sessions that can still be restored, last deleted first."
    )


class ExportQuery(Body):
    """The query of GET /sessions/{id}/export."""

    format: Literal["zip", "json", "html", "markdown"] = Field(
        "zip", description="zip contains all other formats, and the images as files. json and zip can be imported again."
    )


class ForkBody(Body):
    at: int | None = Field(None, ge=0, description="The number of turns that the fork keeps. Unset: all.")


class ImageQuery(SightBody):
    """The query of GET /images/{id}."""

    model: str | None = Field(
        None, min_length=1, max_length=256, description="Return the rendition for this model. Unset: the canonical image."
    )
    piece: int = Field(0, ge=0, description="The number of the file, counted from 0, if the image is sent as several files.")


class RotateQuery(Body):
    """The query of POST /images/{id}/rotate."""

    by: Literal[90, 180, 270] = Field(description="Degrees clockwise.")
    model: str | None = Field(None, min_length=1, max_length=256, description="The model for `sent`. Unset: the default model.")


class ViewQuery(SightBody):
    """The query of GET /images/{id}/view."""

    model: str | None = Field(
        None, min_length=1, max_length=256, description="Show the image as this model sees it. Unset: the default model."
    )
    format: Literal["png", "json"] | None = Field(None, description="Unset: the format in the Accept header, else png.")


class PullBody(Body):
    model: str = Field(max_length=600, description="A name in Ollama's library, or HOST/NAMESPACE/MODEL:TAG.", examples=["llava:7b"])


class CreateBody(Body):
    """A new model, made from another one."""

    model: str = Field(max_length=600, description="Name of the new model.", examples=["receipts"])
    modelfile: str = Field(
        description="Text of a Modelfile; FROM names a model, never a file.", examples=["FROM llava:7b\nSYSTEM Be brief."]
    )
    replace: bool = Field(False, description="Whether a model of this name may be overwritten.")


class TimingsBody(Body):
    """The timings of an answer, in milliseconds."""

    queue_ms: Milliseconds | None = None
    prepare_ms: Milliseconds | None = None
    load_ms: Milliseconds | None = None
    prompt_ms: Milliseconds | None = None
    first_token_ms: Milliseconds | None = None
    generation_ms: Milliseconds | None = None
    total_ms: Milliseconds | None = None


class UsageBody(Body):
    """The token counts of an answer."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None


class CandidateBody(Body):
    """One of the compared answers."""

    model: str = Field(min_length=1, max_length=256)
    engine: str = Field(max_length=64)
    answer: str = Field(max_length=MAX_TEXT_CHARS)
    preset: str | None = Field(None, max_length=64)
    detail: Detail | None = None
    options: Values[OptionName, Figure] = Field(default_factory=dict, max_length=32, description="Options that were set by hand.")
    timings: TimingsBody = Field(default_factory=TimingsBody)
    usage: UsageBody = Field(default_factory=UsageBody)


class VoteBody(Body):
    """A vote: which of several answers to one question was best."""

    prompt: str
    images: Items[Annotated[str, Field(pattern=IMAGE_ID)]] = Field(default_factory=list, max_length=64, description="Ids of its images.")
    candidates: Items[CandidateBody] = Field(min_length=2, max_length=4)
    best: int | None = Field(ge=0, description="The position of the best candidate, counted from 0; null for a tie.")


def parse_body(kind: type[BodyT], value: Any, within: str = "") -> BodyT:
    """Validate `value` as `kind`. Raises InvalidRequest (or the field's own error, see `FieldError`) for the first invalid field; `within`
    goes before its name.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise _field_error(kind, errors[0], within) or from_validation(errors, within) from None


def _field_error(kind: type[Body], error: Any, within: str) -> InvalidRequest | None:
    """Return the invalid field's own error, if it has one; pydantic would name the types inside."""
    name = str(error["loc"][0]) if error["loc"] else ""
    field = kind.model_fields.get(name)
    says = next((one for one in field.metadata if isinstance(one, FieldError)), None) if field else None
    if says is None or error["type"] == "missing":
        return None
    where = ".".join(filter(None, (within, name)))
    return says.error(says.reason, param=where)
