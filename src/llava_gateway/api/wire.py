"""The native dialect's JSON and form fields: parsed into chat values, and answers rendered."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Literal, NoReturn, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llava_gateway.api.errors import from_validation
from llava_gateway.chat import (
    OPTION_LIMITS,
    STOP_MAX_CHARS,
    STOP_MAX_COUNT,
    Answer,
    AnsweredImage,
    ChatRequest,
    ImagePart,
    OptionLimit,
    Options,
    Sent,
    TextPart,
    Timings,
    Upload,
    Usage,
)
from llava_gateway.errors import ImageError, ImageFileTooLarge, InvalidJSON, InvalidOption, InvalidRequest
from llava_gateway.images.base64 import decode_base64
from llava_gateway.images.store import Picture, PictureStore
from llava_gateway.sessions.session import Session, Turn
from llava_gateway.settings import Settings, built_in_presets

MAX_DEPTH = 64
DEFAULT_PROMPT = "Describe this image."
"""What is asked of a picture that comes without a question."""

IMAGE_ID = r"^[0-9a-f]{64}$"
KeepAlive: TypeAlias = str | int
KEEP_ALIVE = re.compile(r"-?(\d+|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+)", re.ASCII)
KEEP_ALIVE_MAX_CHARS = 32
KEEP_ALIVE_MAX_SECONDS = 10 * 365 * 24 * 3600


class Body(BaseModel):
    """JSON as it comes in: unknown fields are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ImageRef(Body):
    image_id: str = Field(pattern=IMAGE_ID, description="The id POST /images or an earlier answer gave.")


class AskBody(Body):
    """A question about pictures. In multipart, each field is a form field, `image` files are repeated, and options are fields too."""

    prompt: str = Field(
        "", description=f"The question; a picture without one is asked {DEFAULT_PROMPT!r}.", examples=["What is in this picture?"]
    )
    images: list[str | ImageRef] = Field(
        default_factory=list, description="Each is base64 (with or without a data: prefix) or {image_id}; they come before the prompt."
    )
    model: str | None = Field(None, max_length=256, description="Who answers; see GET /models. Unset: the session's, else the default.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Sampling options by Ollama's names; GET /options lists ranges and units."
    )
    preset: str | None = Field(
        None, max_length=64, description="Options by a name: factual, balanced, creative or your own. Options given beside it win."
    )
    system: str | None = Field(None, description="System prompt; in a session it stays until another is given.")
    format: Literal["json"] | dict[str, Any] | None = Field(None, description="'json', or a JSON schema that the answer must follow.")
    keep_alive: KeepAlive | None = Field(
        None, description="How long Ollama keeps the model loaded: seconds, '5m', 0 for not at all, -1 for ever."
    )
    session_id: str | None = Field(None, max_length=64, description="The session this turn belongs to. Unset: nothing is kept.")


class SessionBody(Body):
    title: str = Field("", max_length=200)
    model: str | None = Field(
        None, max_length=256, description="Who answers in this session; unset: whoever is the default at its first turn."
    )
    system: str = Field("", description="System prompt of every turn.")


class SessionPatch(Body):
    title: str | None = Field(None, min_length=1, max_length=200)
    system: str | None = None


class ForkBody(Body):
    at: int | None = Field(None, ge=0, description="How many turns the fork keeps; unset: all.")


def parse_json(raw: bytes) -> Any:
    """Strict JSON: UTF-8, finite numbers, no duplicate keys, no NUL or lone surrogate, at most MAX_DEPTH deep. Raises InvalidJSON."""

    def constant(name: str) -> NoReturn:
        raise InvalidJSON(f"{name} is not a JSON number.")

    def finite(text: str) -> float:
        if math.isinf(number := float(text)):
            raise InvalidJSON(f"{text[:40]} is too large a number.")
        return number

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InvalidJSON("An object names a field twice.")
        return found

    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=constant, parse_float=finite, object_pairs_hook=unique)
    except UnicodeDecodeError:
        raise InvalidJSON("The body is not UTF-8.") from None
    except RecursionError:
        raise InvalidJSON("The body is nested too deep.") from None
    except ValueError as error:
        raise InvalidJSON(f"The body is not valid JSON{_place(error)}.") from None
    _check_text(value, 0)
    return value


def _place(error: ValueError) -> str:
    return f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""


def _check_text(value: Any, depth: int) -> None:
    """Strings that no engine or log can take are refused here, wherever they stand."""
    if depth > MAX_DEPTH:
        raise InvalidJSON("The body is nested too deep.")
    match value:
        case str():
            check_string(value)
        case dict():
            for key, inner in value.items():
                check_string(key)
                _check_text(inner, depth + 1)
        case list():
            for inner in value:
                _check_text(inner, depth + 1)


def check_string(text: str) -> None:
    if "\0" in text:
        raise InvalidJSON("A text has a NUL character in it.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidJSON("A text has half of a surrogate pair in it.") from None


def parse_body(kind: type[Body], value: Any) -> Any:
    """`value` as `kind`. Raises InvalidRequest naming the first field at fault."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from None


def chat_request(
    body: AskBody, settings: Settings, uploads: tuple[Upload | ImagePart, ...] = (), session_id: str | None = None
) -> ChatRequest:
    """The body as the gateway takes it. Raises InvalidRequest, InvalidOption, InvalidBase64Image."""
    images = uploads + tuple(_image(image, index, settings) for index, image in enumerate(body.images))
    check_length("prompt", body.prompt, settings)
    check_length("system", body.system, settings)
    prompt = body.prompt if body.prompt.strip() else DEFAULT_PROMPT if images else ""
    if not prompt:
        raise InvalidRequest("There is neither a prompt nor a picture.", param="prompt", hint="Send a prompt, a picture, or both.")
    if session_id is not None and body.session_id not in (None, session_id):
        raise InvalidRequest("session_id is not the session of this address.", param="session_id")
    return ChatRequest(
        parts=(*images, TextPart(prompt)),
        model=body.model or None,
        system=body.system,
        options=parse_options(body.options, body.preset or settings.preset, settings),
        format=body.format,
        keep_alive=parse_keep_alive(body.keep_alive if body.keep_alive is not None else body.options.get("keep_alive")),
        session_id=session_id or body.session_id,
    )


def check_length(name: str, text: str | None, settings: Settings) -> None:
    if text is not None and len(text) > settings.prompt_max_chars:
        raise InvalidRequest(f"{name} has {len(text):,} characters; at most {settings.prompt_max_chars:,} are taken.", param=name)


def _image(image: str | ImageRef, index: int, settings: Settings) -> Upload | ImagePart:
    if isinstance(image, ImageRef):
        return ImagePart(image.image_id)
    param = f"images[{index}]"
    if len(image) * 3 // 4 > settings.image_max_bytes + 1024:  # before it is decoded; a few bytes more are a data: prefix
        raise ImageFileTooLarge(f"The picture file has more than {settings.image_max_bytes:,} bytes.", param=param)
    try:
        return Upload(decode_base64(image))
    except ImageError as error:
        error.param = param
        raise


def presets(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Built-in presets and those of the settings, by name."""
    return {**built_in_presets(), **settings.presets}


def parse_options(given: Mapping[str, Any], preset: str | None, settings: Settings) -> Options:
    """Checked options over those of the preset. Raises InvalidOption saying what would be right."""
    base: Mapping[str, Any] = {}
    if preset is not None:
        known = presets(settings)
        if preset not in known:
            raise InvalidOption(f"There is no preset {preset[:64]!r}.", param="preset", hint=f"Presets: {', '.join(sorted(known))}.")
        base = {name: value for name, value in known[preset].items() if name != "about"}
    checked = {name: _option(name, value) for name, value in {**base, **given}.items() if name != "keep_alive" and value is not None}
    return Options(**checked)


def check_presets(settings: Settings) -> None:
    """Raises InvalidOption, at the start rather than at the first question, for a preset that is not right or not there."""
    for name in (*presets(settings), settings.preset):
        try:
            parse_options({}, name, settings)
        except InvalidOption as error:
            raise InvalidOption(f"The preset {name} of the settings: {error.message}", hint=error.hint) from None


def _option(name: str, value: Any) -> Any:
    if name == "stop":
        return _stop(value)
    limit = OPTION_LIMITS.get(name)
    if limit is None:
        raise InvalidOption(
            f"There is no option {name[:64]!r}.", param=f"options.{name[:64]}", hint=f"Options: {', '.join([*OPTION_LIMITS, 'stop'])}."
        )
    whole = limit.whole and isinstance(value, float) and value.is_integer()
    number = int(value) if whole else value
    if isinstance(number, bool) or not isinstance(number, int if limit.whole else int | float) or not limit.low <= number <= limit.high:
        raise InvalidOption(
            f"{name} must be {describe(limit)}; got {json.dumps(value, ensure_ascii=False, default=str)[:40]}.",
            param=f"options.{name}",
            hint=f"{name}: {limit.about}.",
        )
    if name == "num_predict" and number == 0:  # Ollama takes it for no limit at all, llama.cpp for no answer
        raise InvalidOption("num_predict must not be 0.", param="options.num_predict", hint="1 is the shortest answer, -1 means no limit.")
    return number


def describe(limit: OptionLimit) -> str:
    """'a whole number from 256 to 1048576 tokens'."""
    kind = "a whole number" if limit.whole else "a number"
    return f"{kind} from {limit.low:g} to {limit.high:.10g}{' ' + limit.unit if limit.unit else ''}"


def _stop(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if (
        not isinstance(words, list)
        or len(words) > STOP_MAX_COUNT
        or any(not isinstance(w, str) or not 0 < len(w) <= STOP_MAX_CHARS for w in words)
    ):
        raise InvalidOption(
            f"stop must be a text or a list of at most {STOP_MAX_COUNT} texts of 1 to {STOP_MAX_CHARS} characters.",
            param="options.stop",
            hint="The answer ends before the first of these texts.",
        )
    return tuple(words)


def parse_keep_alive(value: Any) -> KeepAlive | None:
    """Seconds or a Go duration ('5m', '1h30m'), as Ollama takes it. Raises InvalidOption."""
    if isinstance(value, str) and len(value) <= KEEP_ALIVE_MAX_CHARS and KEEP_ALIVE.fullmatch(value):
        if not value.lstrip("-").isdigit():
            return value
        value = int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= KEEP_ALIVE_MAX_SECONDS):
        return value
    raise InvalidOption(
        "keep_alive must be a number of seconds or a duration.",
        param="keep_alive",
        hint="Examples: 300, '5m', '1h30m', 0 (unload), -1 (for ever).",
    )


def usage_json(usage: Usage) -> dict[str, int | None]:
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "cached_tokens": usage.cached_tokens}


def timings_json(timings: Timings) -> dict[str, float | None]:
    return {name: getattr(timings, name) for name in Timings.__dataclass_fields__}


def image_json(image: AnsweredImage) -> dict[str, Any]:
    return {
        "id": image.id,
        "width": image.width,
        "height": image.height,
        "sent": sent_json(image.sent),
        "changes": list(image.changes),
    }


def sent_json(sent: Sent) -> dict[str, Any]:
    """`label` says how far `tokens` can be trusted, `pieces` how many files the picture was sent as."""
    return {name: getattr(sent, name) for name in Sent.__dataclass_fields__}


def answer_json(answer: Answer) -> dict[str, Any]:
    """The native answer: the body of a plain response and the data of the `done` event."""
    message = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning"] = answer.reasoning
    return {
        "id": answer.id,
        "model": answer.model,
        "engine": answer.engine,
        "session_id": answer.session_id,
        "message": message,
        "finish_reason": answer.finish_reason,
        "images": [image_json(image) for image in answer.images],
        "usage": usage_json(answer.usage),
        "timings": timings_json(answer.timings),
        "warnings": list(answer.warnings),
    }


def picture_json(image_id: str, picture: Picture, sent: Sent | None) -> dict[str, Any]:
    """A stored picture: what it was, what was done to it, what goes (or went) to the model."""
    info = picture.info
    return {
        "id": image_id,
        "width": info.width,
        "height": info.height,
        "original": {
            "width": info.original_width,
            "height": info.original_height,
            "format": info.original_format,
            "bytes": info.original_bytes,
        },
        "sent": sent_json(sent) if sent else None,
        "changes": list(info.changes),
        "warnings": list(info.warnings),
    }


def session_row(session: Session) -> dict[str, Any]:
    """A session in a list: without its turns."""
    return {
        "id": session.id,
        "title": session.title,
        "model": session.model or None,
        "engine": session.engine,
        "created_at": session.created_at.isoformat(),
        "updated_at": session.updated_at.isoformat(),
        "turn_count": len(session.turns),
    }


def session_json(session: Session, pictures: PictureStore, *, running: bool) -> dict[str, Any]:
    """A session with its turns."""
    turns = [turn_json(index, turn, pictures) for index, turn in enumerate(session.turns)]
    return {**session_row(session), "system": session.system, "running": running, "turns": turns}


def turn_json(index: int, turn: Turn, pictures: PictureStore) -> dict[str, Any]:
    """A turn; `message` is null where no answer came. The session holds its pictures, so they are all there."""
    return {
        "index": index,
        "prompt": turn.prompt,
        "images": [picture_json(part.image_id, pictures.get(part.image_id), sent) for part, sent in zip_longest(turn.images, turn.sent)],
        "message": {"role": "assistant", "content": turn.answer} if turn.answer else None,
        "status": turn.status,
        "model": turn.model,
        "finish_reason": turn.finish_reason,
        "error_code": turn.error_code,
        "options": turn.options.given(),
        "usage": usage_json(turn.usage),
        "timings": timings_json(turn.timings),
        "warnings": list(turn.warnings),
        "created_at": turn.created_at.isoformat(),
    }
