"""OpenAPI descriptions of the bodies that we parse ourselves, with examples that work unchanged with the demo model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_gateway.api import aliases
from llava_gateway.api.bodies import (
    AskBody,
    Body,
    ContinueBody,
    CreateBody,
    ExportQuery,
    FileBody,
    ForkBody,
    ImageData,
    ImageLink,
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
from llava_gateway.telemetry import CONTENT_TYPE

DESCRIPTION = """Talk with pictures on your own machine. Images are made upright, sharp and true in colour before a model sees them;
every answer says what was sent and what was changed.

`curl -F image=@photo.heic -F prompt='What is this?' http://127.0.0.1:8000/ask`
"""
FILE = {
    "type": "string",
    "format": "binary",
    "description": "An image: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC, JPEG 2000, PSD, ICO, TGA, PPM, SVG or a camera raw file;"
    " a PDF or a video. It is recognised by its content.",
}
BINARY = {"type": "string", "format": "binary"}
RED_CIRCLE = (  # 64 x 64 PNG
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEX////WJygztoBjAAAAg0lEQVR42r3QsQ2DQBQE0ccHCTJTAu4Ed+QSrwSXQAmEJwtx"
    "DpCtC4gcsNFoVtpguTa3jMCzP0RTSgJ9KSvBwEAw0hFMBMFMQ0tCk0IDs/jOx4FTbToYa/ODAYbT6j/IkE+rDdba7LDUpkDSYuYhSBSChZ1gZSPIZII3L1qY"
    "79XPF+QDrEEctGfYTQAAAAAASUVORK5CYII="
)


def _note(code: str, **values: Value) -> dict[str, Any]:
    """Return an example of a change, step or warning."""
    return note_json(note(code, **values))


def _schema(body: type[Body]) -> dict[str, Any]:
    """Return a model's schema with all nested models inline: FastAPI does not know them, so references would not resolve."""
    schema = body.model_json_schema()
    inside = schema.pop("$defs", {})

    def written_out(value: Any) -> Any:
        if isinstance(value, list):
            return [written_out(item) for item in value]
        if not isinstance(value, dict):
            return value
        if name := value.get("$ref"):
            return written_out(inside[name.removeprefix("#/$defs/")])
        # Generators would treat a field with a null default as required.
        return {key: written_out(item) for key, item in value.items() if key != "default" or item}

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
    """Return the schema of a question: its own fields first; `image_size` and `num_visual_tokens` inside `options` too."""
    schema = _schema(AskBody) | {"title": "Question"}
    sight = {name: schema["properties"].pop(name) for name in SightBody.model_fields}
    schema["properties"] |= sight
    base64 = {"type": "string", "description": "base64, or a data: URL"}
    schema["properties"]["images"]["items"] = {"anyOf": [base64, _schema(ImageRef), _schema(ImageLink), _schema(ImageData)]}
    options = _option_schema() | {name: sight[name] for name in IN_OPTIONS}
    schema["properties"]["options"] |= {"properties": options, "additionalProperties": False}
    schema["properties"] |= _option_schema()
    schema["properties"] |= _other_names(schema["properties"])
    return schema


def _other_names(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the aliases of our fields, and the image fields that take one image without a list."""
    names = {**aliases.FIELDS, **aliases.OPTIONS}
    renamed = {theirs: properties[ours] | {"description": f"The same as `{ours}`."} for theirs, ours in names.items()}
    image = {"description": "One of `images`, or several, in place of it."}
    stored = {"description": "The id of a stored image, or several, in place of `images`."}
    fetched = {"description": "The http or https address of an image, or several, in place of `images`."}
    return {**renamed, "image": image, "image_id": stored, "image_url": fetched, "image_urls": fetched}


def _json_body(schema: dict[str, Any], **examples: Any) -> dict[str, Any]:
    return {"schema": schema, "examples": {name: {"value": value} for name, value in examples.items()}}


def _body(**content: Any) -> dict[str, Any]:
    kinds = {"json": "application/json", "form": "multipart/form-data"}
    return {"requestBody": {"required": True, "content": {kinds[kind]: value for kind, value in content.items()}}}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _query(query: type[Body], required: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Describe the fields of a query as parameters; lists are written with commas."""
    found = []
    for name, schema in _schema(query)["properties"].items():
        about = schema.pop("description", "")
        found.append({"name": name, "in": "query", "description": about, "schema": schema, "explode": False, "required": name in required})
    return found


def ref(name: str) -> dict[str, Any]:
    """Return a reference to one of the named schemas, which `api/description.py` collects."""
    return {"$ref": f"#/components/schemas/{name}"}


_ERROR: dict[str, Any] = {
    "description": "What was wrong, what to do, and a stable code.",
    "content": {"application/problem+json": {"schema": ref("Problem")}},
}
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": _ERROR, "5XX": _ERROR}
"""For every route: otherwise FastAPI would describe an error body of its own that is never sent."""

NOT_MODIFIED: dict[str, Any] = {"304": {"description": "The client has this version already (`If-None-Match`)."}}
_ASK_SCHEMA = _ask_schema()
_FORM_FIELDS = {name: value for name, value in _ASK_SCHEMA["properties"].items() if name not in aliases.IMAGES}
# No null here: FastAPI leaves out members that are null. Without a session, session_id is null.
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
                "text/event-stream": {
                    "schema": ref("AnswerEvent"),
                    "example": 'event: delta\ndata: {"text":"A red circle"}\n\nevent: done\ndata: {…}\n\n',
                },
                "text/plain": {"schema": {"type": "string"}, "example": "A red circle on a white background."},
            },
        },
    }
}

REQUESTS: dict[str, dict[str, Any]] = {
    "Question": _ASK_SCHEMA,
    "QuestionForm": {
        "type": "object",
        "properties": {
            "image": {"type": "array", "items": FILE},
            "image_id": {"type": "array", "items": {"type": "string"}},
            "image_url": {"type": "array", "items": {"type": "string"}},
            **_FORM_FIELDS,
        },
    },
}
"""The bodies that several routes take, by their names."""
QUESTION = _body(
    json=_json_body(
        ref("Question"),
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
    form={"schema": ref("QuestionForm")},
)
ASK = {**QUESTION, **_ANSWERS}
CONTINUE = {**_body(json=_json_body(_schema(ContinueBody), last={}, longer={"options": {"num_predict": 512}})), **_ANSWERS}
CONTINUE["requestBody"] = {**CONTINUE["requestBody"], "required": False}
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
        "202": {"description": "With `wait=false`: `status` is reading.", "content": {"application/json": {}}},
    }
}
READ_AHEAD = {
    "requestBody": {
        "content": {
            "application/json": _json_body(ref("Question"), image={"images": [RED_CIRCLE]}),
            "multipart/form-data": {"schema": ref("QuestionForm")},
        }
    },
    **READ_AHEAD_RESULT,
}
READ_IMAGE_AHEAD = {
    "requestBody": {
        "content": {
            "application/json": _json_body(ref("Question"), closely={"detail": "high", "region": [0.5, 0, 0.5, 0.5]}),
            "multipart/form-data": {"schema": ref("QuestionForm")},
        }
    },
    **READ_AHEAD_RESULT,
}
_ONE_IMAGE = {"image": FILE, "image_url": {"type": "string", "description": "the address of the image, in place of `image`"}}
ANALYZE = _body(form=_form({**_ONE_IMAGE, "question": {"type": "string"}}, ["question"]))
_STORED = {
    **_ONE_IMAGE,
    "model": {"type": "string", "description": "whose rendition `sent` describes"},
    **_schema(FileBody)["properties"],
}
UPLOAD = _body(form=_form(_STORED, []))
DOCUMENT = _body(form=_form(_ONE_IMAGE, []))
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
                "application/json": {"schema": ref("ArchiveBody")},
                "application/zip": {"schema": BINARY},
                **{kind: {"schema": {"type": "string"}} for kind in ("text/html", "text/markdown")},
            },
        }
    },
}
EXPORT_ALL = {"responses": {"200": {"description": "The zip.", "content": {"application/zip": {"schema": BINARY}}}}}
IMPORT = _body(
    json=_json_body(
        ref("ArchiveBody"),
        empty={"format": FORMAT, "version": VERSION, "session": {"title": "Receipts of May", "turns": []}, "images": {}},
    ),
    form=_form({"file": {"type": "string", "format": "binary", "description": "What GET /sessions/{id}/export gave."}}, ["file"]),
)
IMPORT["requestBody"]["content"]["application/zip"] = {"schema": {"type": "object", "format": "binary", "properties": {}}}
SESSIONS = {"parameters": _query(SessionsQuery), "responses": NOT_MODIFIED}
GET_SESSION = {"responses": NOT_MODIFIED}
FORK = _body(json=_json_body(_schema(ForkBody), first_turn={"at": 1}))
EVENTS = {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "schema": {"type": "string"},
            "description": "The id of the last event that came; the stream goes on behind it.",
        }
    ],
    "responses": {
        "200": {
            "description": "The events of the answer, as POST /ask streams them.",
            "content": {"text/event-stream": {"schema": ref("FollowedEvent")}},
        },
        "204": {"description": "The session writes no answer."},
    },
}
NEWS = {
    "responses": {
        "200": {
            "description": "`ready` is the body of GET /readyz. `models` has a text that changes when GET /models does. `sessions` has "
            "the ETag of GET /sessions, and the ids of the sessions that were changed, created, deleted or restored since the last such "
            "event (null: any may have been). `running` lists all sessions that have a running answer. `error` is the last event.",
            "content": {
                "text/event-stream": {
                    "schema": ref("NewsEvent"),
                    "example": 'event: running\ndata: {"sessions":["4be1…"]}\n\nevent: sessions\ndata: {"etag":"…","changed":null}\n\n',
                }
            },
        },
    }
}
CANCEL = {
    "responses": {
        "200": {"description": "Whether an answer was stopped.", "content": {"application/json": {"example": {"cancelled": True}}}}
    }
}
IMAGE = {
    "parameters": _query(ImageQuery),
    "responses": {
        "200": {"description": "The file.", "content": {"image/png": {"schema": BINARY}, "image/jpeg": {"schema": BINARY}}},
        **NOT_MODIFIED,
    },
}
ROTATE = {"parameters": _query(RotateQuery, required=("by",))}
VIEW = {
    "parameters": _query(ViewQuery),
    "responses": {
        "200": {
            "description": "`steps` are sentences in order, each with a stable code and its numbers; `of` says whether a step is about the "
            "file, of all files with these pixels the latest, or about what the model gets; `box` is the part of the image on a "
            "piece, [x, y, width, height] in fractions, null where it shows only padding.",
            "content": {"image/png": {"schema": BINARY}, "application/json": {"example": SEEN}},
        },
        **NOT_MODIFIED,
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
                    "schema": ref("InstallEvent"),
                    "example": 'event: progress\ndata: {"step":"download","status":"pulling 170370233dd5","digest":"sha256:170370…",'
                    '"completed":1048576,"total":4109854016}\n\nevent: done\ndata: {…}\n\n',
                },
                "text/plain": {"schema": {"type": "string"}, "example": "pulling manifest\npulling 170370233dd5 10 %\nsuccess\n"},
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
METRICS = {"responses": {"200": {"description": "The figures.", "content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}}}
READY = {
    "responses": {
        "503": {"description": "No engine can answer.", "content": {"application/json": {"schema": ref("Readiness")}, **_ERROR["content"]}}
    }
}
