"""The body of a session import (`sessions/archive.py` writes it): strict JSON, and the session value that it describes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from llava_gateway.answers import Sent
from llava_gateway.api.bodies import IMAGE_ID, Body, Count, DefaultsBody, Items, SightBody, TimingsBody, UsageBody, Values, parse_body
from llava_gateway.api.defaults import changed_defaults
from llava_gateway.api.native_json import check_length
from llava_gateway.api.options import glossary_of, parse_options
from llava_gateway.api.sight import wishes
from llava_gateway.chat import FinishReason, Label, Policy, Timings, Usage
from llava_gateway.engines.base import EngineName
from llava_gateway.errors import ArchiveTooLarge, InvalidArchive, InvalidFormat, InvalidRequest
from llava_gateway.images.info import ImageInfo
from llava_gateway.notes import Note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part, Sight, TextPart
from llava_gateway.sessions.archive import FORMAT, VERSION
from llava_gateway.sessions.branches import Branches
from llava_gateway.sessions.session import Session, SessionDefaults
from llava_gateway.sessions.turn import FIRST, Turn, TurnStatus, now
from llava_gateway.settings import Settings

MOST_TEXTS = 64
"""The parts of a turn that are text: the question, and our notes next to it."""
MOST_IMAGES = 64
"""The largest number of images in a turn: the upper limit of `images_per_turn`."""
NOTE_WORDS_CHARS = 1000
"""The most characters that our own words add to a text in a note (`context/words.py`)."""


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a date and time")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("must have a time zone")
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Moment: TypeAlias = Annotated[datetime, BeforeValidator(_moment)]
ImageId: TypeAlias = Annotated[str, Field(pattern=IMAGE_ID)]
Name: TypeAlias = Annotated[str, Field(max_length=256)]
NoteName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
NoteValue: TypeAlias = Annotated[int, Field(ge=-(2**53), le=2**53)] | float | Name | Annotated[Items[Name], Field(max_length=64)]


class TextBody(Body):
    text: str
    note: bool = False
    recalls: Count | None = None


class ShownBody(Body):
    image: ImageId
    sight: SightBody = SightBody()


class SentBody(Body):
    width: Count
    height: Count
    format: Literal["PNG", "JPEG"]
    tokens: Count | None = None
    label: Label = "estimated"
    detail: Literal["low", "high"] = "low"
    pieces: Count = 1


class NoteBody(Body):
    code: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    values: Values[NoteName, NoteValue] = Field(default_factory=dict, max_length=32)


class FileBody(Body):
    """The facts about the file that an image came from."""

    width: Count
    height: Count
    original_width: Count
    original_height: Count
    original_format: Annotated[str, Field(max_length=16)]
    original_bytes: Count
    changes: Items[NoteBody] = Field(default_factory=list, max_length=64)
    warnings: Items[NoteBody] = Field(default_factory=list, max_length=64)


class TurnBody(Body):
    id: int = Field(ge=1, le=2**31)
    after: int | None = Field(None, description="The id of an earlier turn; null for a first one.")
    parts: Items[TextBody | ShownBody] = Field(min_length=1, max_length=MOST_TEXTS + MOST_IMAGES)
    answer: str = ""
    status: TurnStatus = "complete"
    model: Name = ""
    finish_reason: FinishReason | None = None
    error_code: Name | None = None
    sent: Items[SentBody] = Field(default_factory=list, max_length=MOST_IMAGES)
    files: Items[FileBody] = Field(default_factory=list, max_length=MOST_IMAGES)
    options: dict[str, Any] = Field(default_factory=dict)
    usage: UsageBody = UsageBody()
    timings: TimingsBody = TimingsBody()
    warnings: Items[NoteBody] = Field(default_factory=list, max_length=200)
    created_at: Moment = Field(default_factory=now)


class ArchivedSession(DefaultsBody):
    title: str = Field("", max_length=200)
    system: str = ""
    model: Name = ""
    engine: EngineName | None = None
    policy: Policy | None = None
    glossary: Items[str] = Field(default_factory=list)
    pins: Values[ImageId, bool] = Field(default_factory=dict)
    sights: Values[ImageId, SightBody] = Field(default_factory=dict)
    turns: Items[TurnBody] = Field(description="Of all branches; the last one ends the current branch.")
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)


class StoredBody(Body):
    media_type: Literal["image/png", "image/jpeg"] | None = None
    width: Count | None = None
    height: Count | None = None
    data: str | None = Field(None, description="base64")
    file: str | None = Field(None, max_length=256, description="A file in the same zip, in place of data.")


class ArchiveBody(Body):
    """A session as GET /sessions/{id}/export writes it."""

    format: Literal["llava-gateway-session"]
    version: Literal[1]
    session: ArchivedSession
    images: Values[ImageId, StoredBody] = Field(default_factory=dict)


def parse_archive(value: Any, settings: Settings) -> ArchiveBody:
    """Parse an export. Raises InvalidArchive, ArchiveTooLarge."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InvalidArchive
    if value.get("version") != VERSION:
        version = str(value.get("version"))[:20]
        raise InvalidArchive("archive_version", values={"version": version, "known": VERSION}, param="version")
    session = value.get("session")
    turns = session.get("turns") if isinstance(session, dict) else None
    if isinstance(turns, list) and len(turns) > settings.session_max_turns:  # before any turn is checked
        most = settings.session_max_turns
        raise ArchiveTooLarge("session_turns", values={"count": len(turns), "most": most}, param="session.turns")
    try:
        return parse_body(ArchiveBody, value)
    except InvalidFormat as error:
        raise InvalidArchive.of(error, f"session.{error.param}") from None
    except InvalidRequest as error:
        raise InvalidArchive.of(error, error.param) from None


def session_of(body: ArchiveBody, settings: Settings) -> Session:
    """Build the session under a new id; the images keep the ids of the archive. Raises InvalidArchive."""
    given = body.session
    try:
        turns = tuple(_turn(turn, f"session.turns.{index}", settings) for index, turn in enumerate(given.turns))
        _check_tree(turns)
        check_length("system", given.system, settings)
        sights = {image_id: _sight(sight, f"session.sights.{image_id}") for image_id, sight in given.sights.items()}
        defaults = replace(
            changed_defaults(given, SessionDefaults(), settings),
            system=given.system,
            policy=given.policy,
            glossary=glossary_of(given.glossary, None, settings) or (),
        )
        session = Session(
            title=given.title,
            model=given.model,
            engine=given.engine,
            branches=Branches(aside=turns, pins=given.pins, sights=sights),
            defaults=defaults,
            created_at=given.created_at,
            updated_at=given.updated_at,
        )
        _check_images(session, body)
    except InvalidArchive:
        raise
    except InvalidRequest as error:
        param = error.param or ""
        where = param if param.startswith(("session.", "images.")) else ".".join(filter(None, ("session", param)))
        raise InvalidArchive.of(error, where) from None
    return session.after(turns[-1].id) if turns else session


def _turn(body: TurnBody, where: str, settings: Settings) -> Turn:
    parts: list[Part] = []
    for index, part in enumerate(body.parts):
        if isinstance(part, TextBody):
            check_length(f"{where}.parts.{index}", part.text, settings, beside=NOTE_WORDS_CHARS if part.note else 0)
            parts.append(TextPart(part.text, part.note, part.recalls))
        else:
            parts.append(ImagePart(part.image, _sight(part.sight, f"{where}.parts.{index}.sight")))
    shown = sum(isinstance(part, ImagePart) for part in parts)
    if shown > settings.images_per_turn or len(parts) - shown > MOST_TEXTS or len(body.sent) not in (0, shown):
        raise InvalidArchive("archive_images_sent", values={"count": shown, "sent": len(body.sent)}, param=where)
    if len(body.files) not in (0, shown):
        raise InvalidArchive("archive_images_filed", values={"count": shown, "files": len(body.files)}, param=where)
    return Turn(
        parts=tuple(parts),
        answer=body.answer,
        status=body.status,
        model=body.model,
        finish_reason=body.finish_reason,
        error_code=body.error_code,
        sent=tuple(Sent(**sent.model_dump()) for sent in body.sent),
        files=tuple(ImageInfo.from_json(file.model_dump()) for file in body.files),
        options=parse_options(body.options, None, settings) if body.options else Options(),
        usage=Usage(**body.usage.model_dump()),
        timings=Timings(**body.timings.model_dump()),
        warnings=tuple(Note.from_json(warning.model_dump()) for warning in body.warnings),
        created_at=body.created_at,
        id=body.id,
        parent=FIRST if body.after is None else body.after,
    )


def _sight(body: SightBody, where: str) -> Sight:
    return Sight(**wishes(body, where))


def _check_tree(turns: tuple[Turn, ...]) -> None:
    """Check that each turn has its own id and follows an earlier turn, so that there are no cycles and no orphans."""
    ids = {turn.id for turn in turns}
    for index, turn in enumerate(turns):
        if turn.parent != FIRST and (turn.parent not in ids or turn.parent >= turn.id):
            raise InvalidArchive("archive_turn_order", values={"turn": turn.id}, param=f"session.turns.{index}.after")
    if len(ids) != len(turns):
        raise InvalidArchive("archive_turns_alike", param="session.turns")


def _check_images(session: Session, body: ArchiveBody) -> None:
    """Check that there is an image for every id that the session names, and no other image."""
    shown = set(session.every_image_id)
    if strange := {*session.branches.pins, *session.branches.sights} - shown:
        raise InvalidArchive("archive_image_unshown", param=f"session.pins.{min(strange)}")
    if differing := shown ^ body.images.keys():
        image_id = min(differing)
        reason = "archive_image_missing" if image_id in shown else "archive_image_extra"
        raise InvalidArchive(reason, values={"image": image_id[:12]}, param=f"images.{image_id}")
    for image_id, file in body.images.items():
        if (file.data is None) == (file.file is None):
            raise InvalidArchive("archive_image_data", param=f"images.{image_id}")
