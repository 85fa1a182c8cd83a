"""Tests of images as lists of bytes, which become base64 before the body is parsed."""

from __future__ import annotations

import base64
import json
import random

import pytest

from llava_gateway.api.ollama.buffers import with_base64
from tests import sample_images
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

NOISE = random.Random(1).randbytes(200_000)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\x00\x07", NOISE], ids=len)
@pytest.mark.parametrize("indent", [None, 2])
def test_lists_of_bytes_become_base64(data: bytes, indent: int | None) -> None:
    buffer = {"type": "Buffer", "data": list(data)}
    body = {"model": "demo", "images": [buffer, "plain", buffer], "prompt": 'a "type": "Buffer" ]'}
    found = json.loads(with_base64(json.dumps(body, indent=indent).encode()))
    assert found["images"] == [base64.b64encode(data).decode(), "plain", base64.b64encode(data).decode()]
    assert found["prompt"] == body["prompt"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1}',
        b'{"type":"Buffer","data":[1,256]}',
        b'{"type":"Buffer","data":[1,-2]}',
        b'{"type":"Buffer","data":[1,"a"]}',
        b'{"type":"Buffer","data":[1,,2]}',
        b'{"type":"Buffer","data":[1',
        b'{"type":"Buffer","data":[1],"more":2}',
        b'{"type":"Buffer","data":[' + b" " * 100_000 + b"]}",
        b'{"a": "{\\"type\\":\\"Buffer\\",\\"data\\":[1]}"}',
    ],
)
def test_anything_else_stays_as_it_is(body: bytes) -> None:
    assert with_base64(body) == body


async def test_a_photo_may_come_as_a_list_of_bytes(serve: Serve) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    photo = sample_images.encoded(sample_images.shape("circle", "red", size=(400, 300))) + bytes(60_000)
    assert len(photo) > 50_000
    body = {"model": "scripted", "prompt": "Hi", "images": [{"type": "Buffer", "data": list(photo)}], "stream": False}
    assert (await served.client.post("/api/generate", json=body)).status_code == 200
    assert len(engine.requests[0].images) == 1
