"""What OpenAPI says of bodies that we parse ourselves, with examples that work as they stand against the demo model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_gateway.api import aliases
from llava_gateway.api.archive_body import ArchiveBody
from llava_gateway.api.bodies import (
    AskBody,
    Body,
    CreateBody,
    ExportQuery,
    ForkBody,
    ImageData,
    ImageQuery,
    ImageRef,
    PullBody,
    RotateQuery,
    SessionBody,
    SessionPatch,
    SessionsQuery,
    SightBody,
    ViewQuery,
    VoteBody,
)
from llava_gateway.api.native_json import note_json
from llava_gateway.api.options import describe
from llava_gateway.api.sight import IN_OPTIONS
from llava_gateway.notes import Value, note
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.sessions.archive import FORMAT, VERSION

DESCRIPTION = """Talk with pictures on your own machine. Images are made upright, sharp and true in colour before a model sees them;
every answer says what was sent and what was changed.

`curl -F image=@photo.heic -F prompt='What is this?' http://127.0.0.1:8000/ask`
"""
FILE = {
    "type": "string",
    "format": "binary",
    "description": "An image: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF or HEIC, told by its content.",
}
RED_CIRCLE = (  # 64 x 64 PNG
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEX////WJygztoBjAAAAg0lEQVR42r3QsQ2DQBQE0ccHCTJTAu4Ed+QSrwSXQAmEJwtx"
    "DpCtC4gcsNFoVtpguTa3jMCzP0RTSgJ9KSvBwEAw0hFMBMFMQ0tCk0IDs/jOx4FTbToYa/ODAYbT6j/IkE+rDdba7LDUpkDSYuYhSBSChZ1gZSPIZII3L1qY"
    "79XPF+QDrEEctGfYTQAAAAAASUVORK5CYII="
)


def _note(code: str, **values: Value) -> dict[str, Any]:
    """A change, step or warning as answers have it."""
    return note_json(note(code, **values))


def _schema(body: type[Body]) -> dict[str, Any]:
    """With the models inside it written out: FastAPI does not know them, so nothing could be referred to."""
    schema = body.model_json_schema()
    inside = schema.pop("$defs", {})

    def written_out(value: Any) -> Any:
        if isinstance(value, list):
            return [written_out(item) for item in value]
        if not isinstance(value, dict):
            return value
        if name := value.get("$ref"):
            return written_out(inside[name.removeprefix("#/$defs/")])
        return {key: written_out(item) for key, item in value.items()}

    found: dict[str, Any] = written_out(schema)
    return found


def _option_schema() -> dict[str, Any]:
    options: dict[str, Any] = {
        name: {
            "type": "integer" if limit.whole else "number",
            "minimum": limit.low,
            "maximum": limit.high,
            "description": f"{limit.about} ({describe(limit)}{'; a change loads the model again' if limit.reloads else ''})",
        }
        for name, limit in OPTION_LIMITS.items()
    }
    options["stop"] = {"type": "array", "items": {"type": "string"}, "description": "the answer ends before the first of these texts"}
    return options


def _ask_schema() -> dict[str, Any]:
    """The question's own fields first; `image_size` and `num_visual_tokens` inside `options` too."""
    schema = _schema(AskBody)
    sight = {name: schema["properties"].pop(name) for name in SightBody.model_fields}
    schema["properties"] |= sight
    base64 = {"type": "string", "description": "base64, or a data: URL"}
    schema["properties"]["images"]["items"] = {"anyOf": [base64, _schema(ImageRef), _schema(ImageData)]}
    options = _option_schema() | {name: sight[name] for name in IN_OPTIONS}
    schema["properties"]["options"] |= {"properties": options, "additionalProperties": False}
    schema["properties"] |= _option_schema()
    schema["properties"] |= _other_names(schema["properties"])
    return schema


def _other_names(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The names of others that are taken for ours, and the images that JSON may name without a list."""
    names = {**aliases.FIELDS, **aliases.OPTIONS}
    renamed = {theirs: properties[ours] | {"description": f"The same as `{ours}`."} for theirs, ours in names.items()}
    image = {"description": "One of `images`, or several, in place of it."}
    stored = {"description": "The id of a stored image, or several, in place of `images`."}
    return {**renamed, "image": image, "image_id": stored}


def _json_body(schema: dict[str, Any], **examples: Any) -> dict[str, Any]:
    return {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}


def _body(**content: Any) -> dict[str, Any]:
    kinds = {"json": "application/json", "form": "multipart/form-data"}
    return {"requestBody": {"required": True, "content": {kinds[kind]: value for kind, value in content.items()}}}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _query(query: type[Body], required: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The fields of a query as parameters; lists are written with commas."""
    found = []
    for name, schema in _schema(query)["properties"].items():
        about = schema.pop("description", "")
        found.append({"name": name, "in": "query", "description": about, "schema": schema, "explode": False, "required": name in required})
    return found


def _object(required: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"type": "object", "properties": required, "required": list(required), **rest}


_PROBLEM = _object(
    {
        "type": {"type": "string", "examples": ["urn:llava-gateway:error:model_not_found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was wrong with this request"},
        "instance": {"type": "string", "description": "the request's id, also in X-Request-Id"},
        "error": _object(
            {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "string", "description": "stable, for programs"},
                "reason": {"type": "string", "description": "as stable, and finer: tells apart what has one code"},
                "param": {"type": ["string", "null"], "description": "the field at fault"},
                "hint": {"type": "string", "description": "what to do about it"},
                "values": {"type": "object", "description": "the figures and names in the message, such as n_ctx"},
            },
            description="As OpenAI's API has it.",
        ),
        "retryable": {"type": "boolean", "description": "the same request may succeed later"},
    },
    description="An error: RFC 9457, with a member for OpenAI clients.",
)
_ERROR = {"description": "What was wrong, what to do, and a stable code.", "content": {"application/problem+json": {"schema": _PROBLEM}}}
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": _ERROR, "5XX": _ERROR}
"""For every route: FastAPI would tell of an error body of its own, which never comes."""

_ASK_SCHEMA = _ask_schema()
_FORM_FIELDS = {name: value for name, value in _ASK_SCHEMA["properties"].items() if name not in aliases.IMAGES}
# No null in it: FastAPI leaves such members out. Without a session, session_id is null.
ANSWER = {
    "id": "answer_6f1c…",
    "model": "demo",
    "engine": "embedded",
    "session_id": "4be1…",
    "turn_id": 3,
    "message": {"role": "assistant", "content": "A red circle on a white background."},
    "finish_reason": "stop",
    "images": [
        {
            "id": "9b2e…",
            "width": 768,
            "height": 1024,
            "sent": {"width": 112, "height": 112, "format": "PNG", "tokens": 64},
            "changes": [_note("rotated", degrees=90), _note("kept_as", original="HEIC", format="JPEG"), _note("gps_removed")],
        }
    ],
    "usage": {"prompt_tokens": 75, "completion_tokens": 10, "cached_tokens": 0},
    "timings": {
        "queue_ms": 0.1,
        "prepare_ms": 41.0,
        "load_ms": 0.0,
        "prompt_ms": 12.3,
        "first_token_ms": 61.0,
        "generation_ms": 9.8,
        "total_ms": 74.0,
    },
    "context": {"used": 85, "limit": 4096, "images": 64, "dropped": [], "warnings": []},
    "warnings": [],
}
SEEN = {
    "id": "9b2e…",
    "model": "demo",
    "family": "llava",
    "profile": "The whole image on 112x112 pixels, the rest of them padded.",
    "drawing": {"width": 672, "height": 672},
    "steps": [
        {**_note("decoded", format="HEIC", width=1024, height=768, bytes=80211), "of": "file"},
        {**_note("rotated", degrees=90), "of": "file"},
        {**_note("shrunk", from_width=768, from_height=1024, width=84, height=112), "of": "model"},
        {**_note("padded", width=112, height=112, colour="#7a7468"), "of": "model"},
        {**_note("encoded", format="PNG", count=1, bytes=21304, kilobytes=21.304), "of": "model"},
        {**_note("tokens", tokens=64, label="exact"), "of": "model"},
    ],
    "pieces": [
        {"role": "whole", "width": 112, "height": 112, "box": [0.0, 0.0, 1.0, 1.0], "format": "PNG", "bytes": 21304, "tokens": 64},
    ],
    "tokens": 64,
    "label": "exact",
    "detail": "low",
    "notes": [],
}
_ANSWERS = {
    "responses": {
        "200": {
            "description": "The answer. `text/event-stream` carries the events queued, loading, progress, delta, reasoning and "
            "tool_call, then exactly one done (this JSON) or error; `text/plain` is just the words.",
            "content": {
                "application/json": {"example": ANSWER},
                "text/event-stream": {"example": 'event: delta\ndata: {"text":"A red circle"}\n\nevent: done\ndata: {…}\n\n'},
                "text/plain": {"example": "A red circle on a white background."},
            },
        },
    }
}

ASK = {
    **_body(
        json=_json_body(
            _ASK_SCHEMA,
            image={"prompt": "Describe this image.", "images": [RED_CIRCLE]},
            options={
                "prompt": "Describe this image.",
                "images": [RED_CIRCLE],
                "preset": "factual",
                "options": {"seed": 1, "num_predict": 64},
            },
            closely={
                "prompt": "Describe this image.",
                "images": [{"data": RED_CIRCLE, "detail": "low"}],
                "detail": "high",
                "max_image_tokens": 2880,
                "policy": "strict",
            },
        ),
        form=_form(
            {
                "image": {"type": "array", "items": FILE},
                "image_id": {"type": "array", "items": {"type": "string"}},
                **_FORM_FIELDS,
            },
            [],
        ),
    ),
    **_ANSWERS,
}
READ_AHEAD_RESULT = {
    "responses": {
        "200": {
            "description": "What came of it. `status` is read, skipped, busy or preempted; `reason` says why it was not read: off, "
            "nothing_to_read, text_first, unloaded, session_busy, answering, question, newer.",
            "content": {
                "application/json": {
                    "example": {
                        "status": "read",
                        "reason": None,
                        "message": None,
                        "model": "llava:7b",
                        "engine": "ollama",
                        "prompt_tokens": 591,
                        "cached_tokens": 0,
                        "ms": 2140.5,
                    }
                }
            },
        },
        "202": {"description": "With `wait=false`: `status` is reading."},
    }
}
READ_AHEAD = {
    "requestBody": {
        "content": {
            "application/json": _json_body(_ASK_SCHEMA, image={"images": [RED_CIRCLE]}),
            "multipart/form-data": ASK["requestBody"]["content"]["multipart/form-data"],
        }
    },
    **READ_AHEAD_RESULT,
}
READ_IMAGE_AHEAD = {
    "requestBody": {
        "content": {
            "application/json": _json_body(_ASK_SCHEMA, closely={"detail": "high", "region": [0.5, 0, 0.5, 0.5]}),
            "multipart/form-data": ASK["requestBody"]["content"]["multipart/form-data"],
        }
    },
    **READ_AHEAD_RESULT,
}
ANALYZE = _body(form=_form({"image": FILE, "question": {"type": "string"}}, ["image", "question"]))
UPLOAD = _body(form=_form({"image": FILE, "model": {"type": "string", "description": "whose rendition `sent` describes"}}, ["image"]))
SESSION = _body(
    json=_json_body(_schema(SessionBody), empty={}, named={"title": "Receipts", "system": "Answer in Chinese.", "policy": "pin_images"})
)
PATCH = _body(json=_json_body(_schema(SessionPatch), rename={"title": "Receipts of May"}, branch={"branch": 1}))
EXPORT = {
    "parameters": _query(ExportQuery),
    "responses": {
        "200": {
            "description": "The file.",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("application/zip", "application/json", "text/html", "text/markdown")
            },
        }
    },
}
IMPORT = _body(
    json=_json_body(
        _schema(ArchiveBody),
        empty={"format": FORMAT, "version": VERSION, "session": {"title": "Receipts of May", "turns": []}, "images": {}},
    ),
    form=_form({"file": {"type": "string", "format": "binary", "description": "What GET /sessions/{id}/export gave."}}, ["file"]),
)
IMPORT["requestBody"]["content"]["application/zip"] = {"schema": {"type": "object", "format": "binary", "properties": {}}}
SESSIONS = {"parameters": _query(SessionsQuery)}
FORK = _body(json=_json_body(_schema(ForkBody), first_turn={"at": 1}))
IMAGE = {
    "parameters": _query(ImageQuery),
    "responses": {"200": {"description": "The file.", "content": {"image/png": {}, "image/jpeg": {}}}},
}
ROTATE = {"parameters": _query(RotateQuery, required=("by",))}
VIEW = {
    "parameters": _query(ViewQuery),
    "responses": {
        "200": {
            "description": "`steps` are sentences in order, each with a stable code and its numbers; `of` says whether a step is about the "
            "file, of all files with these pixels the latest, or about what the model gets; `box` is the part of the image on a "
            "piece, [x, y, width, height] in fractions, null where it shows only padding.",
            "content": {"image/png": {}, "application/json": {"example": SEEN}},
        },
    },
}
_INSTALLED = {
    "responses": {
        "200": {
            "description": "The model is there. `text/event-stream` carries progress events, then exactly one done (this JSON) or error; "
            "`text/plain` has a line for each step and each tenth of a file.",
            "content": {
                "application/json": {"example": {"model": {"name": "llava:7b", "vision": True}, "default": {"model": "llava:7b"}}},
                "text/event-stream": {
                    "example": 'event: progress\ndata: {"step":"download","status":"pulling 170370233dd5","digest":"sha256:170370…",'
                    '"completed":1048576,"total":4109854016}\n\nevent: done\ndata: {…}\n\n'
                },
                "text/plain": {"example": "pulling manifest\npulling 170370233dd5 10 %\nsuccess\n"},
            },
        },
    }
}
PULL = {**_body(json=_json_body(_schema(PullBody), llava={"model": "llava:7b"})), **_INSTALLED}
CREATE = {
    **_body(
        json=_json_body(
            _schema(CreateBody), brief={"model": "brief", "modelfile": "FROM llava:7b\nPARAMETER temperature 0.2\nSYSTEM Be brief.\n"}
        )
    ),
    **_INSTALLED,
}
VOTE = _body(
    json=_json_body(
        _schema(VoteBody),
        first_was_best={
            "prompt": "What was paid?",
            "candidates": [
                {"model": "llava:7b", "engine": "ollama", "answer": "16.00", "timings": {"first_token_ms": 2310.4}},
                {"model": "llava:13b", "engine": "ollama", "answer": "18.00", "preset": "factual", "timings": {"first_token_ms": 4120.9}},
            ],
            "best": 0,
        },
    )
)
