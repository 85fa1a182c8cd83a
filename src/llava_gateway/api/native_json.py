"""The native dialect's JSON and form fields: parsed into chat values, and answers rendered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from llava_gateway.answers import Answer, AnsweredImage, ContextReport, Dropped, Sent
from llava_gateway.api.bodies import (
    DEFAULT_PROMPT,
    DEFAULT_PROMPT_OF_SEVERAL,
    AskBody,
    ImageData,
    ImageRef,
    SightBody,
    parse_body,
)
from llava_gateway.api.options import glossary_of, parse_keep_alive, parse_options
from llava_gateway.api.sight import with_sight
from llava_gateway.chat import JSON, ChatRequest, ImagePart, Message, TextPart, Timings, Upload, Usage
from llava_gateway.context.words import ocr_note
from llava_gateway.errors import ImageError, ImageFileTooLarge, InvalidBase64Image, InvalidRequest
from llava_gateway.images.base64 import decode_base64
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import Note
from llava_gateway.sessions.search import Match
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,10}://.*|(~|\.{1,2})?/(?!9j/).*|[a-z]:\\.*|[^/]*\.[a-z]{3,4}", re.IGNORECASE | re.DOTALL)
"""Links and paths of files; the base64 of a JPEG begins with /9j/."""
ADDRESS_MAX_CHARS = 500


def chat_request(
    body: AskBody, settings: Settings, uploads: tuple[Upload | ImagePart, ...] = (), session_id: str | None = None, *, unasked: str = ""
) -> ChatRequest:
    """The body as the gateway takes it; `unasked` stands for a question that is not there. Raises InvalidRequest, InvalidOption,
    InvalidBase64Image."""
    given = [parse_image(image, index, settings) for index, image in enumerate(body.images)]
    images = with_sight(body, [*((upload, None) for upload in uploads), *given])
    for name in ("prompt", "system", "ocr_text"):
        check_length(name, getattr(body, name), settings)
    describe = DEFAULT_PROMPT if len(images) == 1 else DEFAULT_PROMPT_OF_SEVERAL
    prompt = body.prompt if body.prompt.strip() else unasked or (describe if images else "")
    if not prompt:
        raise InvalidRequest("nothing_asked", param="prompt")
    if session_id is not None and body.session_id not in (None, session_id):
        raise InvalidRequest("session_id_differs", param="session_id")
    session_id = session_id or body.session_id
    if body.after is not None and session_id is None:
        raise InvalidRequest("after_without_session", param="after")
    hints = [TextPart(ocr_note(body.ocr_text, prompt, len(images)), note=True)] if body.ocr_text and body.ocr_text.strip() else []
    return ChatRequest(
        (Message("user", (*images, *hints, TextPart(prompt))),),
        model=body.model or None,
        system=body.system,
        options=parse_options(body.options, body.preset or settings.preset, settings),
        format=body.format,
        keep_alive=parse_keep_alive(body.keep_alive if body.keep_alive is not None else body.options.get("keep_alive")),
        session_id=session_id,
        policy=body.policy,
        # A session has begun with the glossary of the preset of the settings; from then on only what a request names itself changes it.
        glossary=glossary_of(body.glossary, body.preset or (None if session_id else settings.preset), settings),
        after=body.after,
    )


def check_length(name: str, text: str | None, settings: Settings, *, beside: int = 0) -> None:
    """Raises InvalidRequest. `beside`: characters that may be in it beside what a person wrote."""
    if text is not None and len(text) > settings.prompt_max_chars + beside:
        raise InvalidRequest("text_too_long", values={"count": len(text), "most": settings.prompt_max_chars}, param=name)


def parse_image(image: Any, index: int, settings: Settings) -> tuple[Upload | ImagePart, SightBody | None]:
    """One item of `images`, and what it says of itself how it is to be looked at. Raises ImageError, InvalidRequest."""
    param = f"images[{index}]"
    if isinstance(image, str):
        return _decoded(image, param, settings), None
    named = [name for name in ("data", "image_id") if isinstance(image, dict) and name in image]
    if len(named) != 1:
        reason = "image_none" if not isinstance(image, dict) else "image_both" if named else "image_neither"
        raise InvalidRequest(reason, param=param)
    if "data" in image:
        data = parse_body(ImageData, image, param)
        return _decoded(data.data, param, settings), data
    ref = parse_body(ImageRef, image, param)
    return ImagePart(ref.image_id), ref


def _decoded(data: str, param: str, settings: Settings) -> Upload:
    if len(data) <= ADDRESS_MAX_CHARS and ADDRESS.fullmatch(data.strip()):
        raise InvalidBase64Image("image_is_link", param=param)
    if len(data) * 3 // 4 > settings.image_max_bytes + 1024:  # before it is decoded; a few bytes more are a data: prefix
        raise ImageFileTooLarge("image_more_bytes", values={"most_bytes": settings.image_max_bytes}, param=param)
    try:
        return Upload(decode_base64(data))
    except ImageError as error:
        error.param = param
        raise


def usage_json(usage: Usage) -> dict[str, int | None]:
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "cached_tokens": usage.cached_tokens}


def timings_json(timings: Timings) -> dict[str, float | None]:
    return {name: getattr(timings, name) for name in Timings.__dataclass_fields__}


def note_json(note: Note) -> JSON:
    """A fact with its English sentence, for those who have no words of their own for its code."""
    return {"code": note.code, "message": note.text, "values": note.to_json()["values"]}


def notes_json(notes: Iterable[Note]) -> list[JSON]:
    return [note_json(note) for note in notes]


def answered_image_json(image: AnsweredImage) -> dict[str, Any]:
    return {
        "id": image.id,
        "width": image.width,
        "height": image.height,
        "sent": sent_json(image.sent),
        "changes": notes_json(image.changes),
    }


def sent_json(sent: Sent) -> dict[str, Any]:
    """`label` says how far `tokens` can be trusted, `pieces` how many files the image was sent as."""
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
        "turn_id": answer.turn_id,
        "message": message,
        "finish_reason": answer.finish_reason,
        "images": [answered_image_json(image) for image in answer.images],
        "usage": usage_json(answer.usage),
        "timings": timings_json(answer.timings),
        "context": context_json(answer.context),
        "warnings": notes_json(answer.warnings),
    }


def context_json(context: ContextReport) -> dict[str, Any]:
    return {
        "used": context.used,
        "limit": context.limit,
        "images": context.images,
        "dropped": [dropped_json(item) for item in context.dropped],
        "warnings": notes_json(context.warnings),
    }


def dropped_json(item: Dropped) -> dict[str, Any]:
    """Without `image_id` it is the text of the turn that was dropped."""
    return {"turn": item.turn, "turn_id": item.turn_id, "image_id": item.image_id, "tokens": item.tokens}


def stored_image_json(image_id: str, info: ImageInfo, sent: Sent | None) -> dict[str, Any]:
    """A stored image: what it was, what was done to it, what goes (or went) to the model."""
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
        "changes": notes_json(info.changes),
        "warnings": notes_json(info.warnings),
    }


def session_row(session: Session) -> dict[str, Any]:
    """A session in a list: without its turns. `turn_count` is that of the current branch."""
    return {
        "id": session.id,
        "title": session.title,
        "model": session.model or None,
        "engine": session.engine,
        "created_at": session.created_at.isoformat(),
        "updated_at": session.updated_at.isoformat(),
        "turn_count": len(session.turns),
    }


def session_json(session: Session, images: ImageStore, *, running: bool) -> dict[str, Any]:
    """A session with its turns. `images` says of each whether a person pinned it (null: nobody said) and how much of it is shown since;
    `tokens` is what the conversation takes of the context, null where the engine has not counted it as it is now."""
    branches, defaults, siblings = session.branches, session.defaults, session.branches.siblings
    turns = [turn_json(index, turn, siblings[turn.parent], images) for index, turn in enumerate(session.turns)]
    told: JSON = {name: getattr(defaults, name) for name in ("system", "policy", "preset", "options", "detail", "format")}
    chosen = {
        image_id: {"pinned": branches.pins.get(image_id), "detail": sight.detail if (sight := branches.sights.get(image_id)) else None}
        for image_id in branches.every_image_id
    }
    told |= {"glossary": list(defaults.glossary), "images": chosen, "tokens": session.prompt_state.tokens}
    return {**session_row(session), **told, "running": running, "turns": turns}


def match_json(match: Match) -> dict[str, Any]:
    """A place where a search found something: `text` as it stands there, with what is before and after it; `turn` is null in a title."""
    return {"turn": match.turn, "in": match.place, "before": match.before, "text": match.text, "after": match.after}


def turn_json(index: int, turn: Turn, siblings: tuple[int, ...], images: ImageStore) -> dict[str, Any]:
    """A turn; `message` is null where no answer came, `after` is null for a first turn, and `siblings` has the ids of all turns that follow
    the same one, itself among them. The session holds its images, so they are all there."""
    return {
        "id": turn.id,
        "after": turn.parent or None,
        "siblings": list(siblings),
        "index": index,
        "prompt": turn.prompt,
        "images": [
            {
                **stored_image_json(part.image_id, file or images.get(part.image_id).info, sent),
                "detail": part.sight.detail,
                "region": part.sight.region,
            }
            for part, sent, file in zip_longest(turn.images, turn.sent, turn.files)
        ],
        "message": {"role": "assistant", "content": turn.answer} if turn.answer else None,
        "status": turn.status,
        "model": turn.model,
        "finish_reason": turn.finish_reason,
        "error_code": turn.error_code,
        "options": turn.options.given(),
        "usage": usage_json(turn.usage),
        "timings": timings_json(turn.timings),
        "warnings": notes_json(turn.warnings),
        "created_at": turn.created_at.isoformat(),
    }
