"""Request bodies: known fields, types that are not guessed.

Pydantic finds all that is wrong in a body, and takes microseconds to tell of each; one is enough. So of unknown fields it sees the first
(`Body`), a list ends with its first wrong item (`Items`), and a dictionary is looked at a few values at a time (`Values`).
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
from llava_gateway.chat import Detail, Policy
from llava_gateway.errors import InvalidFormat, InvalidOption, InvalidRegion, InvalidRequest
from llava_gateway.votes import MAX_TEXT_CHARS

DEFAULT_PROMPT = "Describe this image."
DEFAULT_PROMPT_OF_SEVERAL = "Describe these images."
"""What is asked of images that come without a question."""

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
class Says:
    """What is said of a field whose value can't be taken."""

    reason: str
    error: type[InvalidRequest] = InvalidRequest


def _size(value: Any) -> Any:
    """A text such as 672x672 as two numbers. A long one is none, and is not looked at."""
    short = isinstance(value, str) and len(value) <= _SIZE_MAX_CHARS
    found = re.fullmatch(r"\s*(\d{1,6})\s*[x×,]\s*(\d{1,6})\s*", value) if short else None
    return [int(found[1]), int(found[2])] if found else value


def _in_parts(value: Any, handler: Callable[[Any], dict[Any, Any]]) -> dict[Any, Any]:
    """A dictionary, up to its first part with something wrong in it."""
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
    Says("size_wrong"),
]
Region: TypeAlias = Annotated[
    Items[Fraction] | None,
    Says("region_wrong", InvalidRegion),
]
Format: TypeAlias = Annotated[
    Literal["json"] | dict[str, Any] | None,
    AfterValidator(parse_format),
    Says("format_wrong", InvalidFormat),
]
NO_IMAGE_ID = Says("image_id_wrong")
NO_KEEP_ALIVE = Says("keep_alive_wrong", InvalidOption)


class Body(BaseModel):
    """JSON as it comes in: unknown fields are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _with_one_unknown_field(cls, value: Any) -> Any:
        """The first one is enough to be refused."""
        known = cls.model_fields
        if not isinstance(value, dict) or value.keys() <= known.keys():
            return value
        first = next(name for name in value if name not in known)
        return {name: value[name] for name in (*known, first) if name in value}


BodyT = TypeVar("BodyT", bound=Body)


class SightBody(Body):
    """How much of an image the model is to see: in a question for all its images, in an item of `images` for that one."""

    detail: Detail | None = Field(
        None,
        description="low: one tile; high: the best grid of tiles; auto (default): high where the model was trained with tiles, and room and"
        " speed allow it.",
    )
    image_size: Size = Field(
        None,
        min_length=2,
        max_length=2,
        description="[width, height] in pixels that a grid of tiles may have at most.",
        examples=[[672, 672]],
    )
    num_visual_tokens: Tokens | None = Field(None, description="Tokens that an image is to cost: the largest grid within them.")
    max_image_tokens: Tokens | None = Field(None, description="Tokens that an image may cost at most; one tile is sent in any case.")
    region: Region = Field(
        None,
        min_length=4,
        max_length=4,
        description="[x, y, width, height] in fractions of the upright image: after an overview this part is sent at full resolution.",
        examples=[[0.5, 0, 0.5, 0.5]],
    )


class ImageRef(SightBody):
    image_id: Annotated[str, NO_IMAGE_ID] = Field(pattern=IMAGE_ID, description="The id POST /images or an earlier answer gave.")


class ImageData(SightBody):
    data: str = Field(description="base64, or a data: URL.")


class AskBody(SightBody):
    """A question about images. In multipart, each field is a form field, `image` files are repeated, and options are fields too."""

    prompt: str = Field(
        "",
        description=f"The question; an image without one is asked {DEFAULT_PROMPT!r}, several {DEFAULT_PROMPT_OF_SEVERAL!r}.",
        examples=["What is in this picture?"],
    )
    images: Items[Any] = Field(
        default_factory=list,
        description="Each is base64 (with or without a data: prefix), {image_id} or {data}; they come before the prompt.",
    )
    model: str | None = Field(None, max_length=256, description="Who answers; see GET /models. Unset: the session's, else the default.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Sampling options by Ollama's names; GET /options lists ranges and units."
    )
    preset: str | None = Field(
        None, max_length=64, description="Options by a name: factual, balanced, creative or your own. Options given beside it win."
    )
    system: str | None = Field(None, description="System prompt; in a session it stays until another is given.")
    format: Format = Field(None, description="'json', or a JSON schema that the answer must follow.")
    keep_alive: Annotated[KeepAlive | None, NO_KEEP_ALIVE] = Field(
        None, description="How long Ollama keeps the model loaded: seconds, '5m', 0 for not at all, -1 for ever."
    )
    stream: Annotated[bool | None, Says("field_not_boolean")] = Field(
        None, description="true: answer as an event stream; false or unset: as JSON. An Accept header that names a form wins."
    )
    session_id: str | None = Field(None, max_length=64, description="The session this turn belongs to. Unset: nothing is kept.")
    policy: Policy | None = Field(
        None, description="What happens when the conversation no longer fits the context; in a session it stays until another is given."
    )
    glossary: Items[str] | None = Field(
        None, description=f"{GLOSSARY}; in a session they stay until others are given. Unset: those of the preset, if it has any."
    )
    ocr_text: str | None = Field(None, description="Text that another program read in the image: the model gets it as a hint.")
    after: int | None = Field(
        None,
        ge=0,
        description="The id of the turn of the session that this one follows, 0 for none. Where others follow it already, this becomes a"
        " branch beside them, and the current one. Unset: the last turn of the current branch.",
    )


class DefaultsBody(Body):
    """What the turns of a session are asked with where they say nothing themselves; null takes it back."""

    preset: str | None = Field(None, max_length=64, description="The preset of its turns; its glossary, if it has one, comes with it.")
    options: dict[str, Any] | None = Field(
        None,
        description="Options of its turns, as in a question, over the preset's. Given anew, they take the place of the old ones.",
    )
    detail: Detail | None = Field(None, description="How much of their images the turns show.")
    format: Format = Field(None, description="'json', or a JSON schema that every answer must follow.")


class SessionBody(DefaultsBody):
    title: str = Field("", max_length=200)
    model: str | None = Field(
        None, max_length=256, description="Who answers in this session; unset: whoever is the default at its first turn."
    )
    system: str = Field("", description="System prompt of every turn.")
    policy: Policy | None = Field(None, description="What happens when the session no longer fits the context; unset: as the settings say.")
    glossary: Items[str] | None = Field(None, description=f"{GLOSSARY}; unset: those of the preset in the settings, if it has any.")


class ImagePatch(Body):
    """What becomes of an image of a session; a field that is left out stays as it is."""

    pinned: bool | None = Field(
        None, description="true: stays in the context whatever happens; false: goes with the text around it; null: as the policy says."
    )
    detail: Detail | None = Field(
        None, description="How much of it, or of its region, the model is shown from the next turn on; null: as each turn asked."
    )


class SessionPatch(DefaultsBody):
    title: str | None = Field(None, min_length=1, max_length=200)
    system: str | None = None
    policy: Policy | None = None
    glossary: Items[str] | None = Field(None, description=f"{GLOSSARY}; [] takes them back.")
    branch: int | None = Field(None, ge=1, description="The id of a turn; its branch becomes the current one, as it was when it was left.")
    images: Values[str, ImagePatch] | None = Field(
        None, description="By image id, images of the session to pin, to let go or to show otherwise."
    )


class SessionsQuery(Body):
    """The query of GET /sessions."""

    q: str | None = Field(
        None, min_length=1, max_length=200, description="Only sessions with these words in their title, a prompt or an answer, and where."
    )
    deleted: Literal["true", "false"] = Field(
        "false", description="true: those that were deleted and can still be restored, the one that was deleted last first."
    )


class ExportQuery(Body):
    """The query of GET /sessions/{id}/export."""

    format: Literal["zip", "json", "html", "markdown"] = Field(
        "zip", description="zip has all the others and the images as files; json and zip can be imported again."
    )


class ForkBody(Body):
    at: int | None = Field(None, ge=0, description="How many turns the fork keeps; unset: all.")


class ImageQuery(SightBody):
    """The query of GET /images/{id}."""

    model: str | None = Field(None, min_length=1, max_length=256, description="Whose rendition; unset: the canonical image.")
    piece: int = Field(0, ge=0, description="Which of its files, where the image is sent as several.")


class RotateQuery(Body):
    """The query of POST /images/{id}/rotate."""

    by: Literal[90, 180, 270] = Field(description="Degrees, clockwise.")
    model: str | None = Field(None, min_length=1, max_length=256, description="Whose rendition `sent` describes; unset: the default's.")


class ViewQuery(SightBody):
    """The query of GET /images/{id}/view."""

    model: str | None = Field(None, min_length=1, max_length=256, description="Who sees it; unset: the default.")
    format: Literal["png", "json"] | None = Field(None, description="Unset: as the Accept header says, else png.")


class PullBody(Body):
    model: str = Field(max_length=600, description="A name of Ollama's library, or HOST/NAMESPACE/MODEL:TAG.", examples=["llava:7b"])


class CreateBody(Body):
    """A model made out of another one."""

    model: str = Field(max_length=600, description="Name of the new model.", examples=["receipts"])
    modelfile: str = Field(
        description="Text of a Modelfile; FROM names a model, never a file.", examples=["FROM llava:7b\nSYSTEM Be brief."]
    )
    replace: bool = Field(False, description="Whether a model of this name may be overwritten.")


class TimingsBody(Body):
    """Milliseconds, as an answer has them."""

    queue_ms: Milliseconds | None = None
    prepare_ms: Milliseconds | None = None
    load_ms: Milliseconds | None = None
    prompt_ms: Milliseconds | None = None
    first_token_ms: Milliseconds | None = None
    generation_ms: Milliseconds | None = None
    total_ms: Milliseconds | None = None


class UsageBody(Body):
    """Tokens, as an answer has them."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None


class CandidateBody(Body):
    """One of the answers that were compared."""

    model: str = Field(min_length=1, max_length=256)
    engine: str = Field(max_length=64)
    answer: str = Field(max_length=MAX_TEXT_CHARS)
    preset: str | None = Field(None, max_length=64)
    detail: Detail | None = None
    options: Values[OptionName, Figure] = Field(default_factory=dict, max_length=32, description="Options that were set by hand.")
    timings: TimingsBody = Field(default_factory=TimingsBody)
    usage: UsageBody = Field(default_factory=UsageBody)


class VoteBody(Body):
    """Which of several answers to one question was best."""

    prompt: str
    images: Items[Annotated[str, Field(pattern=IMAGE_ID)]] = Field(default_factory=list, max_length=64, description="Ids of its images.")
    candidates: Items[CandidateBody] = Field(min_length=2, max_length=4)
    best: int | None = Field(ge=0, description="The place of the best one among the candidates, from 0; null for a tie.")


def parse_body(kind: type[BodyT], value: Any, within: str = "") -> BodyT:
    """`value` as `kind`. Raises InvalidRequest (or what the field `Says`) naming the first field at fault, `within` before its name."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise _said(kind, errors[0], within) or from_validation(errors, within) from None


def _said(kind: type[Body], error: Any, within: str) -> InvalidRequest | None:
    """What the field at fault has to say of it itself; pydantic would name the types inside."""
    name = str(error["loc"][0]) if error["loc"] else ""
    field = kind.model_fields.get(name)
    says = next((one for one in field.metadata if isinstance(one, Says)), None) if field else None
    if says is None or error["type"] == "missing":
        return None
    where = ".".join(filter(None, (within, name)))
    return says.error(says.reason, param=where)
