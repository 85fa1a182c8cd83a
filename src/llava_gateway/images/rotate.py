"""A kept image rotated by a quarter, a half or three quarters, as a person asked. Runs in a worker."""

from __future__ import annotations

from PIL import Image

from llava_gateway.images import encode
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import UNLIMITED, Degrees

# Pillow counts the other way round.
_CLOCKWISE = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


def rotated(canonical: bytes, degrees: Degrees) -> Encoded:
    """A canonical image, rotated. A PNG keeps its pixels; a JPEG is encoded again as it was the first time. Raises ImageError."""
    source = Source(canonical, UNLIMITED)
    im, _ = source.pixels(source.size)
    return encode.encode(im.transpose(_CLOCKWISE[degrees]), lossless=source.lossless, subsampled=source.subsampled)
