from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from llava_gateway.images.anyres import Overview, SquareEye
from llava_gateway.images.encode import Encoded
from llava_gateway.images.families import AnyShape
from llava_gateway.images.info import ImageInfo, Limits
from llava_gateway.images.ingest import Ready, Rendered, ingest, render
from llava_gateway.images.plan import CLIP_MEAN
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import note
from llava_gateway.parts import Sight
from tests.images.conftest import DirectWorker
from tests.odd_images import exif, odd, rotated_back, saved, scene

pytestmark = pytest.mark.real

SQUARE = VisionProfile(SquareEye(336))


def photo(width: int, height: int) -> Image.Image:
    """Draw an image that is smooth at every scale and slightly noisy, like a photo."""
    soft = Image.effect_noise((width // 50, height // 50), 120).resize((width, height), Image.Resampling.BICUBIC)
    fine = Image.effect_noise((width, height), 12)
    return Image.merge("RGB", (soft, ImageChops.blend(soft, fine, 0.2), ImageChops.invert(soft)))


@pytest.fixture(scope="module")
def twelve_megapixels() -> bytes:
    """Make a photo as a phone stores it: on its side."""
    return saved(rotated_back(photo(3000, 4000), 6), "JPEG", quality=90, exif=exif(6))


def test_the_rendition_comes_before_the_canonical_image(twelve_megapixels: bytes) -> None:
    first, second = ingest(twelve_megapixels, Limits(), SQUARE)
    assert isinstance(first, Ready)
    assert isinstance(second, Encoded)
    assert first.rendered
    assert _form(first.rendered) == ("PNG", 336, 336)
    assert (second.format, second.width, second.height) == ("JPEG", 3000, 4000)
    sizes = (first.info.width, first.info.height, first.info.original_width, first.info.original_height)
    assert sizes == (3000, 4000, 4000, 3000)
    assert first.info.changes == (note("rotated", degrees=90),)
    assert (first.info.original_format, first.info.original_bytes) == ("JPEG", len(twelve_megapixels))


@pytest.mark.parametrize("square", [112, 336, 672])
def test_a_reduced_decode_shows_what_a_whole_one_does(twelve_megapixels: bytes, square: int) -> None:
    """Differences beyond 40 dB are invisible."""
    first, _ = ingest(twelve_megapixels, Limits(), VisionProfile(SquareEye(square)))
    assert isinstance(first, Ready)
    assert first.rendered
    with Image.open(BytesIO(twelve_megapixels)) as whole:
        upright = whole.transpose(Image.Transpose.ROTATE_270).resize((square * 3 // 4, square), Image.Resampling.BICUBIC)
    left = (square - upright.width) // 2
    made = Image.open(BytesIO(first.rendered.pieces[0].data)).crop((left, 0, left + upright.width, square))
    error = ImageStat.Stat(ImageChops.difference(made, upright)).rms
    assert max(error) < 2.55  # 40 dB


def test_what_is_too_large_to_keep_is_shrunk() -> None:
    data = saved(scene(size=(1200, 800)), "PNG")
    first, second = ingest(data, replace(Limits(), store_max_pixels=240_000), None)
    assert isinstance(first, Ready)
    assert isinstance(second, Encoded)
    assert (second.width, second.height) == (600, 400) == (first.info.width, first.info.height)
    assert first.info.changes == (note("kept_smaller", from_width=1200, from_height=800, width=600, height=400),)


def test_a_photo_that_came_lossless_is_kept_as_jpeg_and_said_so() -> None:
    noise = Image.merge("RGB", [Image.effect_noise((800, 600), 60) for _ in range(3)])
    first, second = ingest(saved(noise, "PNG"), Limits(), VisionProfile(AnyShape(700)))
    assert isinstance(first, Ready)
    assert isinstance(second, Encoded)
    assert second.format == "JPEG"
    assert first.rendered
    assert _form(first.rendered) == ("JPEG", 700, 525)
    assert first.info.changes == (note("kept_as", original="PNG", format="JPEG"),)


def test_a_profile_that_keeps_the_shape_never_enlarges() -> None:
    first, second = ingest(odd("png").data, Limits(), VisionProfile(AnyShape(1344)))
    assert isinstance(first, Ready)
    assert first.rendered
    assert first.rendered.pieces == (second,)


@pytest.mark.parametrize(
    "name", ["jpeg turned 6", "png with alpha in Display P3", "heic", "avif", "tiff 16-bit colour big endian", "gif animated"]
)
def test_the_same_file_gives_the_same_bytes_in_every_process(worker: DirectWorker, name: str) -> None:
    other = DirectWorker()
    try:
        data = odd(name).data
        assert worker.ingest(data, SQUARE) == other.ingest(data, SQUARE) == worker.ingest(data, SQUARE)
        canonical = worker.ingest(data, None).canonical
        assert worker.render(canonical, VisionProfile(AnyShape(64))) == other.render(canonical, VisionProfile(AnyShape(64)))
    finally:
        other.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_large_jpeg_takes_little_memory_until_it_must(worker: DirectWorker) -> None:
    """50 MP take 200 MB in full. The rendition comes from a decode at one eighth, before any rotation or conversion."""
    data = saved(Image.new("RGB", (8000, 6000), "teal"), "JPEG", exif=exif(6))
    small = DirectWorker(memory=450 * 2**20)
    try:
        small._send({"do": "ingest", "limits": Limits().to_json(), "profile": SQUARE.to_json(), "sight": {}}, data)
        header, rendition = small.next()
        assert ImageInfo.from_json(header["info"]).changes[0] == note("rotated", degrees=90)
        assert Image.open(BytesIO(rendition)).size == (336, 336)
    finally:
        small.kill()


TILES = Sight(detail="high")


def test_tiles_and_overview_come_from_one_decode(twelve_megapixels: bytes) -> None:
    """The decode is a reduced one; differences beyond 40 dB are invisible."""
    first, second = ingest(twelve_megapixels, Limits(), VisionProfile(SquareEye(336, 576)), TILES)
    assert isinstance(first, Ready)
    assert isinstance(second, Encoded)
    assert first.rendered
    assert (first.rendered.plan.tokens, first.rendered.plan.detail) == (2880, "high")
    tiles = opened(first.rendered)
    assert [(piece.format, tile.size) for piece, tile in zip(first.rendered.pieces, tiles, strict=True)] == [("PNG", (336, 336))] * 5
    with Image.open(BytesIO(twelve_megapixels)) as whole:
        upright = whole.transpose(Image.Transpose.ROTATE_270)
    grid = Image.new("RGB", (672, 672))
    grid.paste(upright.resize((505, 672), Image.Resampling.BICUBIC), (83, 0))
    corners = [(x, y, x + 336, y + 336) for y in (0, 336) for x in (0, 336)]
    expected = [*(grid.crop(corner) for corner in corners), upright.resize((336, 336), Image.Resampling.BICUBIC)]
    for tile, right in zip(tiles, expected, strict=True):
        assert max(ImageStat.Stat(ImageChops.difference(tile, right)).rms) < 2.55  # 40 dB
    assert tiles[0].getpixel((0, 0)) == (0, 0, 0)


def test_the_overview_may_come_first() -> None:
    data = saved(scene(size=(672, 672)), "PNG")
    orders: tuple[Overview, Overview] = ("last", "first")
    last, first = (rendered(data, VisionProfile(SquareEye(336, overview=overview)), TILES) for overview in orders)
    pixels = [tile.tobytes() for tile in opened(last)]
    assert [tile.tobytes() for tile in opened(first)] == [pixels[-1], *pixels[:-1]]


def test_a_region_is_cut_at_full_resolution_after_an_overview() -> None:
    image = photo(1600, 1200)
    data = saved(rotated_back(image, 6), "PNG", exif=exif(6))
    made = rendered(data, VisionProfile(SquareEye(336)), Sight(region=(0.25, 0.5, 0.21, 0.14)))
    overview, close = opened(made)
    assert overview.getpixel((5, 5)) == CLIP_MEAN
    assert close.crop((0, 84, 336, 252)).tobytes() == image.crop((400, 600, 736, 768)).tobytes()
    assert made.plan.detail == "low"


def test_a_later_rendition_has_the_same_pieces_as_the_first() -> None:
    data = saved(scene(size=(800, 600)), "PNG")
    first, canonical = ingest(data, Limits(), VisionProfile(SquareEye(112)), TILES)
    assert isinstance(first, Ready)
    assert isinstance(canonical, Encoded)
    assert render(canonical.data, VisionProfile(SquareEye(112)), TILES) == first.rendered


def test_no_piece_of_an_image_is_a_piece_of_another() -> None:
    """Both images are black at the top, and their padding is black too."""
    images = []
    for colour in ("red", "blue"):
        image = Image.new("RGB", (448, 448))
        image.paste(colour, (224, 300, 448, 448))
        images.append(rendered(saved(image, "PNG"), VisionProfile(SquareEye(112)), TILES))
    one, other = images
    assert [tile.tobytes() for tile in opened(one)[:2]] == [tile.tobytes() for tile in opened(other)[:2]]
    assert not {piece.data for piece in one.pieces} & {piece.data for piece in other.pieces}


def rendered(data: bytes, profile: VisionProfile, sight: Sight) -> Rendered:
    first = next(ingest(data, Limits(), profile, sight))
    assert isinstance(first, Ready)
    assert first.rendered
    return first.rendered


def opened(made: Rendered) -> list[Image.Image]:
    return [Image.open(BytesIO(piece.data)).convert("RGB") for piece in made.pieces]


def _form(made: Rendered) -> tuple[str, int, int]:
    (piece,) = made.pieces
    return piece.format, piece.width, piece.height
