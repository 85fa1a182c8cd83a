"""Requests as OpenAI's clients write them, and the frames of a stream."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests import sample_images

RED = sample_images.encoded(sample_images.shape("circle", "red"))
BLUE = sample_images.encoded(sample_images.shape("square", "blue"))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{b64(data)}"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(data: bytes, **beside: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(data), **beside}}


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if parts and isinstance(parts[0], str) else list(parts)}


def frames(body: str) -> list[Any]:
    """Return the data of each frame of an event stream; the last one of a good one is "[DONE]"."""
    lines = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
