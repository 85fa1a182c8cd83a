"""The native API's JSON and form fields: parsed into chat values, and answers rendered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from starlette.responses import Response

from llava_gateway.answers import Answer, AnsweredImage, ContextReport, Dropped, Sent
from llava_gateway.api.bodies import (
    DEFAULT_PROMPT,
    DEFAULT_PROMPT_OF_SEVERAL,
    AskBody,
    ImageData,
    ImageLink,
    ImageRef,
    SightBody,
    parse_body,
)
from llava_gateway.api.options import glossary_of, parse_keep_alive, parse_options
from llava_gateway.api.pages import with_files
from llava_gateway.api.response import json_response
from llava_gateway.api.sight import with_sight
from llava_gateway.api.threads import in_thread
from llava_gateway.chat import JSON, ChatRequest, Message, Timings, Usage
from llava_gateway.context.words import ocr_note
from llava_gateway.errors import ImageError, ImageFileTooLarge, InvalidBase64Image, InvalidRequest
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.base64 import beginning, decode_base64
from llava_gateway.images.check import check_bytes
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.pages import PDF_JUNK
from llava_gateway.notes import Note
from llava_gateway.parts import Attached, ImagePart, Link, TextPart, Upload
from llava_gateway.sessions.search import Match
from llava_gateway.sessions.session import Session, Summary
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,10}://.*|(~|\.{1,2})?/(?!9j/).*|[a-z]:\\.*|[^/]*\.[a-z]{3,4}", re.IGNORECASE | re.DOTALL)
"""Links and file paths; the base64 of a JPEG begins with /9j/."""
ADDRESS_MAX_CHARS = 500
FEW_TURNS = 50
"""Sessions with at most this many turns are written on the event loop."""


def chat_request(
    body: AskBody, settings: Settings, uploads: tuple[Attached, ...] = (), session_id: str | None = None, *, placeholder: str = ""
) -> ChatRequest:
    """Convert the body to a ChatRequest; `placeholder` replaces a missing question. Raises InvalidRequest, InvalidOption,
    InvalidBase64Image.
    """
    given = [*((upload, None) for upload in uploads), *(parse_image(image, index, settings) for index, image in enumerate(body.images))]
    owns = [own if isinstance(own, ImageData | ImageLink) else None for _, own in given]
    files = with_files(body, [(image, own) for (image, _), own in zip(given, owns, strict=True)])
    images = with_sight(body, [(file, own) for file, (_, own) in zip(files, given, strict=True)])
    for name in ("prompt", "system", "ocr_text"):
        check_length(name, getattr(body, name), settings)
    describe = DEFAULT_PROMPT if len(images) == 1 else DEFAULT_PROMPT_OF_SEVERAL
    prompt = body.prompt if body.prompt.strip() else placeholder or (describe if images else "")
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
        # A session starts with the glossary of the settings' preset; later only a glossary or preset in the request changes it.
        glossary=glossary_of(body.glossary, body.preset or (None if session_id else settings.preset), settings),
        after=body.after,
        strict_vision=body.strict_vision,
    )


def check_length(name: str, text: str | None, settings: Settings, *, beside: int = 0) -> None:
    """Check the length of a text. `beside`: allowed characters that a person did not write. Raises InvalidRequest."""
    if text is not None and len(text) > settings.prompt_max_chars + beside:
        raise InvalidRequest("text_too_long", values={"count": len(text), "most": settings.prompt_max_chars}, param=name)


def parse_image(image: Any, index: int, settings: Settings) -> tuple[Attached, SightBody | None]:
    """Parse one item of `images`, with its own sight. Raises ImageError, InvalidRequest."""
    param = f"images[{index}]"
    if isinstance(image, str):
        return decoded_image(image, param, settings), None
    named = [name for name in ("data", "image_id", "image_url") if isinstance(image, dict) and name in image]
    if len(named) != 1:
        reason = "image_none" if not isinstance(image, dict) else "image_both" if named else "image_neither"
        raise InvalidRequest(reason, param=param)
    if "data" in image:
        data = parse_body(ImageData, image, param)
        return decoded_image(data.data, param, settings), data
    if "image_url" in image:
        link = parse_body(ImageLink, image, param)
        return Link(link.image_url), link
    ref = parse_body(ImageRef, image, param)
    return ImagePart(ref.image_id), ref


def decoded_image(data: str, param: str, settings: Settings) -> Upload:
    """Decode an image in base64. Raises ImageError, with the reason `image_is_link` for a link or a path."""
    if len(data) <= ADDRESS_MAX_CHARS and ADDRESS.fullmatch(data.strip()):
        raise InvalidBase64Image("image_is_link", param=param)
    if len(data) * 3 // 4 > settings.image_max_bytes + 1024:  # before it is decoded; a data: prefix may add a few bytes
        try:
            check_bytes(len(data) * 3 // 4 - 1024, beginning(data, 2 * PDF_JUNK), settings)
        except ImageFileTooLarge as error:
            code = None if error.code == ImageFileTooLarge.code else error.code
            raise ImageFileTooLarge("image_more_bytes", values={"most_bytes": error.values["most_bytes"]}, code=code, param=param) from None
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
    """Render a note with its English sentence, for clients that have no words of their own for its code."""
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
    """Render what was sent for an image. `label` tells how reliable `tokens` is, `pieces` as how many files the image was sent."""
    return {name: getattr(sent, name) for name in Sent.__dataclass_fields__}


def answer_json(answer: Answer) -> dict[str, Any]:
    """Render the native answer: the body of a plain response and the data of the `done` event."""
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
    """Render a dropped item. Without `image_id` it is the text of the dropped turn."""
    return {"turn": item.turn, "turn_id": item.turn_id, "image_id": item.image_id, "tokens": item.tokens}


def stored_image_json(image_id: str, info: ImageInfo, sent: Sent | None) -> dict[str, Any]:
    """Render a stored image: the original, the changes made to it, and what the model gets (or got)."""
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


def session_row(summary: Summary) -> dict[str, Any]:
    """Render a session for a list, without its turns. `turn_count` counts those of the current branch."""
    return {
        "id": summary.id,
        "title": summary.title,
        "model": summary.model or None,
        "engine": summary.engine,
        "created_at": summary.created_at.isoformat(),
        "updated_at": summary.updated_at.isoformat(),
        "turn_count": summary.turn_count,
        "temporary": summary.temporary,
    }


def found_json(summary: Summary, matches: Iterable[Match] | None) -> dict[str, Any]:
    """Render a session that was found, with its `matches` if it was searched."""
    return session_row(summary) | ({} if matches is None else {"matches": [*map(match_json, matches)]})


async def changed_response(session: Session, gateway: Gateway, status: int = 200) -> Response:
    """Return a session that was just changed as a response, once the change is on disk. Raises StorageFull, StorageFailed."""
    await gateway.sessions.wait_saved(session.id)
    return await session_response(session, gateway, status)


async def session_response(session: Session, gateway: Gateway, status: int = 200) -> Response:
    """Return a stored session as a response. A thread writes a long one: 1,000 turns take 10 ms."""
    files = {image_id: gateway.images.get(image_id).info for image_id in session.every_image_id}
    running = gateway.sessions.is_running(session.id)
    if len(session.turns) <= FEW_TURNS:
        return await json_response(session_json(session, files, running=running), status)
    return await json_response(await in_thread(session_json, session, files, running=running), status)


def session_json(session: Session, files: Mapping[str, ImageInfo], *, running: bool) -> dict[str, Any]:
    """Render a session with its turns; `files` has the facts about its images by their ids.

    In the result, `images` tells for each image whether a user pinned it (null: never set) and with which detail later turns send it;
    `tokens` is how much of the context the conversation takes, null if the engine has not counted its current state.
    """
    branches, defaults, siblings = session.branches, session.defaults, session.branches.siblings
    turns = [turn_json(index, turn, siblings[turn.parent], files) for index, turn in enumerate(session.turns)]
    fields: JSON = {name: getattr(defaults, name) for name in ("system", "policy", "preset", "options", "detail", "format")}
    chosen = {
        image_id: {"pinned": branches.pins.get(image_id), "detail": sight.detail if (sight := branches.sights.get(image_id)) else None}
        for image_id in branches.every_image_id
    }
    fields |= {"glossary": list(defaults.glossary), "images": chosen, "tokens": session.prompt_state.tokens}
    return {**session_row(session.summary), **fields, "running": running, "turns": turns}


def match_json(match: Match) -> dict[str, Any]:
    """Render a search match: `text` as written, with the text before and after it; `turn` is null for a match in the title."""
    return {"turn": match.turn, "in": match.place, "before": match.before, "text": match.text, "after": match.after}


def turn_json(index: int, turn: Turn, siblings: tuple[int, ...], files: Mapping[str, ImageInfo]) -> dict[str, Any]:
    """Render a turn. `message` is null without an answer, `after` is null for a first turn, and `siblings` has the ids of all turns
    that follow the same turn, including this one.
    """
    return {
        "id": turn.id,
        "after": turn.parent or None,
        "siblings": list(siblings),
        "index": index,
        "prompt": turn.prompt,
        "images": [
            {
                **stored_image_json(part.image_id, file or files[part.image_id], sent),
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
