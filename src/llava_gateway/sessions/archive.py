"""Writes a session as one JSON document that loses nothing: every branch, option and image. `api/archives.py` reads it (pure).

The document leaves out what a model made of the conversation so far (its summary, the window of its context). The next turn makes
both again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pybase64 import b64encode

from llava_gateway.chat import JSON
from llava_gateway.json_pieces import json_pieces
from llava_gateway.sessions.documents import defaults_json, turn_json
from llava_gateway.sessions.session import Session

FORMAT = "llava-gateway-session"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Filed:
    """An image of a session as a file; `data` is the canonical image."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int

    @property
    def base64(self) -> str:
        return b64encode(self.data).decode("ascii")

    @property
    def suffix(self) -> str:
        return "png" if self.media_type == "image/png" else "jpg"


def archive(session: Session, images: Mapping[str, Filed]) -> Iterator[bytes]:
    """Write the document in pieces, with its images as base64."""
    yield from _head(session)
    yield b',"images":{'
    for number, (image_id, image) in enumerate(images.items()):
        yield f"{',' if number else ''}{json.dumps(image_id)}:".encode()
        yield from json_pieces({**_facts(image), "data": image.base64})
    yield b"}}\n"


def archive_beside_files(session: Session, images: Mapping[str, Filed], names: Mapping[str, str]) -> Iterator[bytes]:
    """Write the document in pieces, with the names of the image files beside it."""
    yield from _head(session)
    yield b',"images":'
    yield from json_pieces({image_id: {**_facts(image), "file": names[image_id]} for image_id, image in images.items()})
    yield b"}\n"


def _head(session: Session) -> Iterator[bytes]:
    """Write the beginning of the JSON object: everything except the images. The turns of the current branch come last, so the last turn
    identifies the branch."""
    branches = session.branches
    document: JSON = {
        "title": session.title,
        "model": session.model,
        "engine": session.engine,
        **defaults_json(session),
        "created_at": session.created_at.isoformat(),
        "updated_at": session.updated_at.isoformat(),
        "turns": [turn_json(turn) for turns in (branches.aside, branches.turns) for turn in turns],
    }
    yield f'{{"format":{json.dumps(FORMAT)},"version":{VERSION},"session":'.encode()
    yield from json_pieces(document)


def _facts(image: Filed) -> JSON:
    return {"media_type": image.media_type, "width": image.width, "height": image.height}
