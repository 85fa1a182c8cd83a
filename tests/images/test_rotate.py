from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from llava_gateway.images.info import Degrees
from llava_gateway.images.rotate import rotated
from tests import sample_images
from tests.odd_images import saved

QUARTERS: list[tuple[Degrees, Image.Transpose]] = [
    (90, Image.Transpose.ROTATE_270),
    (180, Image.Transpose.ROTATE_180),
    (270, Image.Transpose.ROTATE_90),
]


@pytest.mark.parametrize(("degrees", "clockwise"), QUARTERS)
def test_a_png_keeps_every_pixel(degrees: Degrees, clockwise: Image.Transpose) -> None:
    image = sample_images.words("F7", size=(320, 240))
    made = rotated(saved(image, "PNG"), degrees)
    found = Image.open(BytesIO(made.data))
    assert (made.format, found.size) == ("PNG", (made.width, made.height))
    assert found.tobytes() == image.transpose(clockwise).tobytes()


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_a_jpeg_stays_close_and_keeps_its_chroma_as_it_was(subsampling: str) -> None:
    data = BytesIO()
    sample_images.words("F7", size=(320, 240)).save(data, "JPEG", quality=92, subsampling=subsampling)
    made = rotated(data.getvalue(), 90)
    before = Image.open(BytesIO(data.getvalue())).transpose(Image.Transpose.ROTATE_270)
    after = Image.open(BytesIO(made.data))
    assert (made.format, after.size) == ("JPEG", (240, 320))
    pixels = zip(before.tobytes(), after.tobytes(), strict=True)
    assert sum((a - b) ** 2 for a, b in pixels) / (240 * 320 * 3) < 2  # 45 dB
    assert len(made.data) < 1.1 * len(data.getvalue())
