"""Rotate a stored image by 90, 180 or 270 degrees at a user's request. Runs in a worker."""

from __future__ import annotations

from PIL import Image

from llava_gateway.images import encode
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import UNLIMITED, Degrees

# Pillow counts counterclockwise.
_CLOCKWISE = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


def rotated(canonical: bytes, degrees: Degrees) -> Encoded:
    """Rotate a canonical image clockwise. A PNG keeps its pixels; a JPEG is encoded again at the same quality. Raises ImageError."""
    source = Source(canonical, UNLIMITED)
    im, _ = source.pixels(source.size)
    return encode.encode(im.transpose(_CLOCKWISE[degrees]), lossless=source.lossless, subsampled=source.subsampled)
