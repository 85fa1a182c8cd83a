"""A session as one JSON document that nothing is lost in: every branch, every option, every image. `api/archives.py` reads it (pure).

What a model made of the conversation so far (its summary, what fits its context) is not in it: that comes anew with the next turn.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from llava_gateway.chat import JSON, ImagePart, Part, TextPart
from llava_gateway.json_pieces import json_pieces
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn

FORMAT = "llava-gateway-session"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Filed:
    """An image of a session as a file: `data` is the canonical one."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")

    @property
    def suffix(self) -> str:
        return "png" if self.media_type == "image/png" else "jpg"


def archive(session: Session, images: Mapping[str, Filed]) -> Iterator[bytes]:
    """The document in pieces, with the images in it as base64."""
    yield from _head(session)
    yield b',"images":{'
    for number, (image_id, image) in enumerate(images.items()):
        yield f"{',' if number else ''}{json.dumps(image_id)}:".encode()
        yield from json_pieces({**_facts(image), "data": image.base64})
    yield b"}}\n"


def archive_beside_files(session: Session, images: Mapping[str, Filed], names: Mapping[str, str]) -> Iterator[bytes]:
    """The document in pieces, with the images as files beside it, which it names."""
    yield from _head(session)
    yield b',"images":'
    yield from json_pieces({image_id: {**_facts(image), "file": names[image_id]} for image_id, image in images.items()})
    yield b"}\n"


def _head(session: Session) -> Iterator[bytes]:
    """A JSON object that is still open: all but the images. Turns of the current branch stand last: the last one tells which it is."""
    told: JSON = {"title": session.title, "model": session.model, "engine": session.engine, **asdict(session.defaults)}
    branches = session.branches
    told |= {"pins": dict(branches.pins), "sights": {image_id: sight.to_json() for image_id, sight in branches.sights.items()}}
    told |= {"created_at": session.created_at.isoformat(), "updated_at": session.updated_at.isoformat()}
    told["turns"] = [_turn(turn) for turns in (branches.aside, branches.turns) for turn in turns]
    yield f'{{"format":{json.dumps(FORMAT)},"version":{VERSION},"session":'.encode()
    yield from json_pieces(told)


def _turn(turn: Turn) -> JSON:
    names = ("id", "answer", "status", "model", "finish_reason", "error_code")
    told: JSON = {name: getattr(turn, name) for name in names}
    told |= {"after": turn.parent or None, "parts": [_part(part) for part in turn.parts], "sent": [asdict(sent) for sent in turn.sent]}
    told |= {"files": [file.to_json() for file in turn.files]}
    told["warnings"] = [warning.to_json() for warning in turn.warnings]
    told |= {"options": turn.options.given(), "usage": asdict(turn.usage), "timings": asdict(turn.timings)}
    return told | {"created_at": turn.created_at.isoformat()}


def _part(part: Part) -> JSON:
    match part:
        case TextPart():
            recalls = {} if part.recalls is None else {"recalls": part.recalls}
            return {"text": part.text, "note": part.note, **recalls}
        case ImagePart():
            return {"image": part.image_id, "sight": part.sight.to_json()}
    raise TypeError(f"a turn keeps no {type(part).__name__}")


def _facts(image: Filed) -> JSON:
    return {"media_type": image.media_type, "width": image.width, "height": image.height}
