"""Every odd picture through a real worker: what is kept and what a model gets, pixel by pixel, or the error's code."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from llava_gateway.errors import ImageError
from llava_gateway.images.profile import CLIP_MEAN, VisionProfile
from llava_gateway.notes import SENTENCES
from tests.images.conftest import DirectWorker
from tests.odd_images import LOSSY, OddPicture, corners_of, farthest, odd_pictures

SQUARE = VisionProfile(square=112)
READABLE = [p for p in odd_pictures() if p.corners]
REFUSED = [p for p in odd_pictures() if p.error and p.error not in ("unsupported_image_media_type", "empty_image_file")]


def test_there_are_more_than_a_hundred() -> None:
    assert len(odd_pictures()) > 200
    assert len({picture.name for picture in odd_pictures()}) == len(odd_pictures())


@pytest.mark.parametrize("picture", READABLE, ids=lambda p: p.name)
def test_a_readable_picture_is_upright_and_in_true_colour(worker: DirectWorker, picture: OddPicture) -> None:
    assert picture.corners
    made = worker.ingest(picture.data, SQUARE)
    assert made.picture.size == picture.size == (made.info.width, made.info.height)
    assert made.picture.mode == "RGB"
    assert farthest(corners_of(made.picture), picture.corners) <= picture.tolerance
    assert_letterboxed(made.sent, picture)
    assert set(picture.changes) <= set(made.info.changes), made.info.changes
    assert made.info.warnings == picture.warnings
    assert all(change.code in SENTENCES for change in made.info.changes)


@pytest.mark.parametrize("picture", READABLE, ids=lambda p: p.name)
def test_nothing_but_pixels_is_kept(worker: DirectWorker, picture: OddPicture) -> None:
    made = worker.ingest(picture.data, SQUARE)
    for image in (made.picture, made.sent):
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert not image.getexif()


@pytest.mark.parametrize("picture", READABLE, ids=lambda p: p.name)
def test_a_rendition_of_the_canonical_picture_shows_the_same(worker: DirectWorker, picture: OddPicture) -> None:
    made = worker.ingest(picture.data, None)
    assert made.rendition == b""
    sent = Image.open(BytesIO(worker.render(made.canonical, SQUARE)))
    assert_letterboxed(sent, picture)


@pytest.mark.parametrize("picture", REFUSED, ids=lambda p: p.name)
def test_a_broken_picture_is_refused_with_its_code(worker: DirectWorker, picture: OddPicture) -> None:
    with pytest.raises(ImageError) as caught:
        worker.ingest(picture.data, SQUARE)
    assert caught.value.code == picture.error
    assert caught.value.hint
    # A refusal must not depend on how much of the picture is decoded.
    with pytest.raises(ImageError, match=r".") as again:
        worker.ingest(picture.data, None)
    assert again.value.code == picture.error


def test_files_of_the_same_scene_say_nothing_without_cause(worker: DirectWorker) -> None:
    plain = next(p for p in odd_pictures() if p.name == "png")
    assert worker.ingest(plain.data, SQUARE).info.changes == ()
    plain = next(p for p in odd_pictures() if p.name == "jpeg")
    assert worker.ingest(plain.data, SQUARE).info.changes == ()


def assert_letterboxed(sent: Image.Image, picture: OddPicture) -> None:
    """112x112, the picture across the middle, llama.cpp's padding above and below."""
    assert picture.corners
    assert sent.size == (112, 112)
    height = -(-112 * picture.size[1] // picture.size[0])
    top = (112 - height) // 2
    assert farthest(corners_of(sent, (0, top, 112, top + height)), picture.corners) <= max(picture.tolerance, LOSSY)
    if top:
        assert sent.getpixel((56, 0)) == CLIP_MEAN == sent.getpixel((56, 111))
