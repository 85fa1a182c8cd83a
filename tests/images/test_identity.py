"""Test that the pixels we send reach the vision encoder unchanged: the real engine's own preprocessing alters none of them.

The test works with any version of the engine. Its synthetic encoder sees only one pixel of each patch. If the engine resampled, shifted,
smoothed or padded the image, the neighbours of that pixel would change the engine's output.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from llava_gateway.images.encode import encode
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, ingest
from tests.images.test_tiles import SIDE, Model, noise, served
from tests.odd_images import saved
from tests.synthetic_llava import PATCH, write_pair

ROW, COLUMN = 5, 9
"""The only pixel of each patch that the needle sees."""
PROFILE = profile_for(VisionFacts("mlp", SIDE, PATCH))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


@pytest.fixture
async def eye(folder: Path) -> AsyncIterator[Model]:
    """Serve an encoder that sees every pixel."""
    async with served(write_pair(folder, name="eye", side=SIDE)) as model:
        yield model


@pytest.fixture
async def needle(folder: Path) -> AsyncIterator[Model]:
    """Serve an encoder that sees only one pixel of each patch."""
    pair = write_pair(folder, name="needle", side=SIDE)
    reader = gguf.GGUFReader(pair.mmproj, "r+")  # its arrays are mapped to the file
    kernel = next(tensor.data for tensor in reader.tensors if tensor.name == "v.patch_embd.weight")
    looked_at = kernel[:, :, ROW, COLUMN].copy()
    kernel[:] = 0
    kernel[:, :, ROW, COLUMN] = looked_at * 10
    async with served(pair) as model:
        yield model


def sent(image: Image.Image) -> bytes:
    """Return the file that the gateway sends for an image."""
    first = next(ingest(saved(image, "PNG"), Limits(), PROFILE))
    assert isinstance(first, Ready)
    assert first.rendered
    (piece,) = first.rendered.pieces
    return piece.data


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(pixels), lossless=True).data


def repainted(pixels: npt.NDArray[np.uint8], scale: int = 1) -> npt.NDArray[np.uint8]:
    """Change all pixels except those that the needle sees, in an image `scale` times as large as the encoder's input."""
    other: npt.NDArray[np.uint8] = 255 - pixels
    for y in range(scale):
        for x in range(scale):
            at = (slice(ROW * scale + y, None, PATCH * scale), slice(COLUMN * scale + x, None, PATCH * scale))
            other[at] = pixels[at]
    return other


async def test_the_engine_moves_smooths_and_mixes_no_pixel_of_ours(needle: Model) -> None:
    pixels = np.asarray(noise((SIDE, SIDE)))
    first = await needle.see([png(pixels)])
    assert await needle.see([png(repainted(pixels))]) == first, "12,480 of 12,544 pixels are others, but none that it looks at"
    one = pixels.copy()
    one[ROW + 3 * PATCH, COLUMN + 4 * PATCH] ^= 0x80
    assert await needle.see([png(one)]) != first, "one pixel is another, and it looks at it"
    for y, x in ((ROW, COLUMN + 1), (ROW + 1, COLUMN), (ROW - 1, COLUMN), (ROW, COLUMN - 1)):
        neighbour = pixels.copy()
        neighbour[y::PATCH, x::PATCH] ^= 0xFF
        assert await needle.see([png(neighbour)]) == first


async def test_an_image_of_another_size_would_be_resampled_and_this_would_show(needle: Model) -> None:
    """Proves that the test above can fail."""
    pixels = np.asarray(noise((2 * SIDE, 2 * SIDE)))
    assert await needle.see([png(repainted(pixels, 2))]) != await needle.see([png(pixels)])


async def test_what_is_sent_counts_by_its_pixels_not_by_its_file(eye: Model) -> None:
    photo = noise((301, 170))
    ours = sent(photo)
    seen = await eye.see([ours])
    with Image.open(BytesIO(ours)) as piece:
        assert piece.size == (SIDE, SIDE)
        pixels = piece.convert("RGB")
    assert await eye.see([saved(pixels, "BMP")]) == seen
    assert await eye.see([saved(pixels, "PNG", compress_level=9)]) == seen
    array = np.asarray(pixels).copy()
    array[SIDE // 2, SIDE // 2] ^= 0x80
    assert await eye.see([png(array)]) != seen


async def test_a_checkerboard_of_single_pixels_stays_one(eye: Model) -> None:
    """If the engine smoothed it, it would become the same gray as its own negative."""
    board = np.indices((SIDE, SIDE)).sum(0, dtype=np.uint8)[..., None].repeat(3, 2) % 2 * 255
    gray = np.full_like(board, 128)
    one, negative, flat = [(await eye.see([png(image)])).logprobs for image in (board, 255 - board, gray)]
    assert farthest(one, negative) > 0.01
    assert farthest(one, flat) > 0.01


def farthest(one: list[list[float]], other: list[list[float]]) -> float:
    return max(abs(a - b) for a, b in zip(one[0], other[0], strict=True))
