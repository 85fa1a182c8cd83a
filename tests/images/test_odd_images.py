"""Send every odd image through a real worker, and check the stored image and the rendition by pixels, or the error's code."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from llava_gateway.errors import ImageError
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.profile import CLIP_MEAN, VisionProfile
from llava_gateway.notes import SENTENCES
from tests.images.conftest import DirectWorker
from tests.odd_images import LOSSY, OddImage, corners_of, farthest, odd_images

SQUARE = VisionProfile(SquareEye(112))
READABLE = [p for p in odd_images() if p.corners]
REFUSED = [p for p in odd_images() if p.error and p.error not in ("unsupported_image_media_type", "empty_image_file")]


def test_there_are_more_than_a_hundred() -> None:
    assert len(odd_images()) > 200
    assert len({image.name for image in odd_images()}) == len(odd_images())


@pytest.mark.parametrize("image", READABLE, ids=lambda p: p.name)
def test_a_readable_image_is_upright_and_in_true_colour(worker: DirectWorker, image: OddImage) -> None:
    assert image.corners
    made = worker.ingest(image.data, SQUARE)
    assert made.image.size == image.size == (made.info.width, made.info.height)
    assert made.image.mode == "RGB"
    assert farthest(corners_of(made.image), image.corners) <= image.tolerance
    assert_letterboxed(made.sent, image)
    assert set(image.changes) <= set(made.info.changes), made.info.changes
    assert made.info.warnings == image.warnings
    assert all(change.code in SENTENCES for change in made.info.changes)


@pytest.mark.parametrize("image", READABLE, ids=lambda p: p.name)
def test_nothing_but_pixels_is_kept(worker: DirectWorker, image: OddImage) -> None:
    made = worker.ingest(image.data, SQUARE)
    for kept in (made.image, made.sent):
        assert set(kept.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert not kept.getexif()


@pytest.mark.parametrize("image", READABLE, ids=lambda p: p.name)
def test_a_rendition_of_the_canonical_image_shows_the_same(worker: DirectWorker, image: OddImage) -> None:
    made = worker.ingest(image.data, None)
    assert made.rendition == b""
    sent = Image.open(BytesIO(worker.render(made.canonical, SQUARE)))
    assert_letterboxed(sent, image)


@pytest.mark.parametrize("image", REFUSED, ids=lambda p: p.name)
def test_a_broken_image_is_refused_with_its_code(worker: DirectWorker, image: OddImage) -> None:
    with pytest.raises(ImageError) as caught:
        worker.ingest(image.data, SQUARE)
    assert caught.value.code == image.error
    assert caught.value.hint
    # A rejection must not depend on how much of the image is decoded.
    with pytest.raises(ImageError, match=r".") as again:
        worker.ingest(image.data, None)
    assert again.value.code == image.error


def test_files_of_the_same_scene_say_nothing_without_cause(worker: DirectWorker) -> None:
    plain = next(p for p in odd_images() if p.name == "png")
    assert worker.ingest(plain.data, SQUARE).info.changes == ()
    plain = next(p for p in odd_images() if p.name == "jpeg")
    assert worker.ingest(plain.data, SQUARE).info.changes == ()


def assert_letterboxed(sent: Image.Image, image: OddImage) -> None:
    """Check a rendition of 112x112 pixels: the image across the middle, llama.cpp's padding above and below."""
    assert image.corners
    assert sent.size == (112, 112)
    height = -(-112 * image.size[1] // image.size[0])
    top = (112 - height) // 2
    assert farthest(corners_of(sent, (0, top, 112, top + height)), image.corners) <= max(image.tolerance, LOSSY)
    if top:
        assert sent.getpixel((56, 0)) == CLIP_MEAN == sent.getpixel((56, 111))
