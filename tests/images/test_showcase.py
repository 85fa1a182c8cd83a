from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from llava_gateway.cli.odd_images import Odd, odd_images
from llava_gateway.errors import ImageParseError
from llava_gateway.notes import note
from tests.images.conftest import DirectWorker

ODD = {odd.name: odd for odd in odd_images()}
SAME = ["circle.heic", "circle.avif", "circle.tiff", "logo.png", "cut-out.png", "cmyk-adobe.jpg", "cmyk.jpg", "prophoto.jpg"]
CHANGES = {
    "logo.png": note("white_ground"),
    "cmyk.jpg": note("cmyk_to_srgb"),
    "prophoto.jpg": note("profile_to_srgb", profile="ProPhoto RGB"),
}


def middle(image: Image.Image) -> Iterable[float]:
    """Return the mean colour of the middle of an image, which shows the subject of the question."""
    width, height = image.size
    box = image.convert("RGB").crop((width * 3 // 10, height * 3 // 10, width * 7 // 10, height * 7 // 10))
    return np.asarray(box, dtype=float).mean(axis=(0, 1)).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", SAME)
def test_the_gateway_makes_the_plain_image_of_an_odd_one(worker: DirectWorker, name: str) -> None:
    odd: Odd = ODD[name]
    plain = Image.open(BytesIO(odd.plain))
    made = worker.ingest(odd.data, None)
    assert middle(made.image) == pytest.approx(middle(plain), abs=12)
    assert name not in CHANGES or CHANGES[name] in made.info.changes


def test_a_phones_photo_is_rotated(worker: DirectWorker) -> None:
    odd = ODD["phone.jpg"]
    assert Image.open(BytesIO(odd.data)).size == (2016, 1512)
    made = worker.ingest(odd.data, None)
    assert made.image.size == (1512, 2016)
    assert made.info.changes == (note("rotated", degrees=90),)


def test_all_are_different_files() -> None:
    assert len(ODD) == len(list(odd_images())) >= 14


def test_half_a_file_is_refused(worker: DirectWorker) -> None:
    assert ODD["cut-off.jpg"].right == ()
    with pytest.raises(ImageParseError):
        worker.ingest(ODD["cut-off.jpg"].data, None)


def test_what_is_cut_from_a_large_image_has_the_letters(worker: DirectWorker) -> None:
    for name in ("screenshot.png", "small-print.png"):
        region = ODD[name].sight.region
        assert region
        image = Image.open(BytesIO(ODD[name].data)).convert("L")
        left, top, width, height = (round(at * side) for at, side in zip(region, image.size * 2, strict=True))
        inside = image.crop((left, top, left + width, top + height))
        assert np.asarray(inside).min() < 30
        image.paste(255, (left, top, left + width, top + height))
        assert np.asarray(image).min() > 100
