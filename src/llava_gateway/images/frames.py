"""The frames that the gateway and a worker process exchange: two lengths, a JSON header, a blob."""

from __future__ import annotations

import json
import struct
from itertools import accumulate
from typing import Any, BinaryIO, TypeAlias

from llava_gateway.errors import ImageError, ImageParseError, UnsupportedImageType

Frame: TypeAlias = tuple[dict[str, Any], bytes]

LENGTHS = struct.Struct(">II")
"""How a frame begins: the lengths of its header and of its blob."""
_KINDS: dict[str, type[ImageError]] = {cls.__name__: cls for cls in (ImageError, ImageParseError, UnsupportedImageType)}


def pack(header: dict[str, Any], blob: bytes) -> bytes:
    """The start of a frame; the blob follows it (apart, so that 20 MB are not copied)."""
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(blob)) + text


def read(stream: BinaryIO) -> Frame | None:
    """The next frame, None at the end of the stream."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    header, blob = LENGTHS.unpack(lengths)
    return json.loads(stream.read(header)), stream.read(blob)


def write(stream: BinaryIO, header: dict[str, Any], blob: bytes = b"") -> None:
    stream.write(pack(header, blob))
    stream.write(blob)
    stream.flush()


def split(blob: bytes, sizes: list[int]) -> list[bytes]:
    """The files that lie in a blob one after the other."""
    ends = list(accumulate(sizes))
    return [blob[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def error_header(error: ImageError) -> dict[str, Any]:
    return {"is": "error", "kind": type(error).__name__, "reason": error.reason, "values": error.values, "code": error.code}


def error_from(header: dict[str, Any]) -> ImageError:
    return _KINDS[header["kind"]](header["reason"], values=header["values"], code=header["code"])
