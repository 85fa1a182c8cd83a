"""Read and write the frames that the gateway and a worker process exchange: two lengths, a JSON header, a blob."""

from __future__ import annotations

import json
import struct
from itertools import accumulate
from typing import Any, BinaryIO, TypeAlias

from llava_gateway.errors import ImageError, ImageParseError, InvalidRequest, UnsupportedImageType

Frame: TypeAlias = tuple[dict[str, Any], bytes]

LENGTHS = struct.Struct(">II")
"""The start of a frame: the lengths of its header and of its blob in bytes, as 32-bit big-endian integers."""
_KINDS: dict[str, type[ImageError | InvalidRequest]] = {
    cls.__name__: cls for cls in (ImageError, ImageParseError, UnsupportedImageType, InvalidRequest)
}


def pack(header: dict[str, Any], blob: bytes) -> bytes:
    """Return the start of a frame, without the blob; write the blob separately, so that 20 MB are not copied."""
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(blob)) + text


def read(stream: BinaryIO) -> Frame | None:
    """Read the next frame; None at the end of the stream."""
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
    """Split a blob into the concatenated files of these `sizes` in bytes."""
    ends = list(accumulate(sizes))
    return [blob[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def error_header(error: ImageError | InvalidRequest) -> dict[str, Any]:
    values = {"reason": error.reason, "values": error.values, "code": error.code, "place": error.place}
    return {"is": "error", "kind": type(error).__name__, **values}


def error_from(header: dict[str, Any]) -> ImageError | InvalidRequest:
    return _KINDS[header["kind"]](header["reason"], values=header["values"], code=header["code"]).at(*header["place"])
