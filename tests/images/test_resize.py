from __future__ import annotations

import pytest
from PIL import Image

from llava_gateway.images import resize
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.families import AnyShape
from llava_gateway.images.plan import CLIP_MEAN, Size, letterbox, pixels
from llava_gateway.images.profile import VisionProfile
from tests.odd_images import TURNS, rotated_back

SQUARE = VisionProfile(SquareEye(336))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_upright_undoes_what_the_camera_did(orientation: int) -> None:
    image = Image.frombytes("L", (3, 2), bytes(range(6)))
    stored = rotated_back(image, orientation)
    assert resize.rotate_upright(stored, orientation).tobytes() == image.tobytes()
    assert resize.rotated(stored.size, orientation) == image.size
    assert resize.turn_note(orientation) == TURNS.get(orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_part_of_the_upright_image_is_found_in_the_stored_one(orientation: int) -> None:
    upright = Image.frombytes("L", (8, 4), bytes(range(32)))
    stored = rotated_back(upright, orientation)
    box = pixels(resize.rotated_box((0.125, 0.25, 0.375, 0.5), orientation), stored.size)
    part = resize.rotate_upright(stored.crop(box), orientation)
    assert part.size == (3, 2)
    assert part.tobytes() == upright.crop((1, 1, 4, 3)).tobytes()


@pytest.mark.parametrize(
    ("size", "most", "stored"),
    [
        ((4000, 3000), 12_000_000, (4000, 3000)),
        ((8000, 6000), 12_000_000, (4000, 3000)),
        ((3000, 4001), 12_000_000, (2999, 4000)),
        ((20, 20), 12_000_000, (32, 32)),
        ((8, 512), 12_000_000, (32, 2048)),
        ((32, 32), 12_000_000, (32, 32)),
        ((31, 64), 12_000_000, (32, 66)),
    ],
)
def test_the_size_at_which_an_image_is_kept(size: Size, most: int, stored: Size) -> None:
    assert resize.stored_size(size, most) == stored
    assert stored[0] * stored[1] <= most


@pytest.mark.parametrize(
    ("size", "profile", "inner"),
    [
        ((4000, 3000), SQUARE, (336, 252)),
        ((3000, 4000), SQUARE, (252, 336)),
        ((336, 336), SQUARE, (336, 336)),
        ((100, 50), SQUARE, (336, 168)),
        ((1000, 333), SQUARE, (336, 112)),
        ((6400, 100), SQUARE, (336, 6)),
        ((4000, 3000), VisionProfile(AnyShape(1344)), (1344, 1008)),
        ((100, 50), VisionProfile(AnyShape(1344)), (100, 50)),
    ],
)
def test_the_size_inside_a_rendition(size: Size, profile: VisionProfile, inner: Size) -> None:
    assert profile.plan(size).canvases[0].inner == inner


def test_padding_is_centred_and_of_llama_cpps_colour() -> None:
    padded = resize.on_canvas(Image.new("RGB", (336, 100), "red"), letterbox((336, 100), 336))
    assert padded.size == (336, 336)
    assert [padded.getpixel((9, y)) for y in (117, 118, 217, 218)] == [CLIP_MEAN, (255, 0, 0), (255, 0, 0), CLIP_MEAN]


def test_a_thin_image_is_padded_to_what_engines_take() -> None:
    assert VisionProfile().plan((1344, 21)).canvases[0].size == (1344, 32)
    assert VisionProfile().plan((1344, 40)).canvases[0].size == (1344, 40)


def test_shrinking_averages_what_an_engine_would_pick_from() -> None:
    """Stripes of one pixel become gray; point sampling makes them black or white (llama.cpp before b11549)."""
    stripes = Image.new("L", (1344, 1344))
    for x in range(0, 1344, 2):
        stripes.paste(255, (x, 0, x + 1, 1344))
    tones = set(resize.resample(stripes, (336, 336)).crop((9, 9, 300, 300)).tobytes())
    assert 120 <= min(tones) <= max(tones) <= 135


@pytest.mark.parametrize(
    ("size", "target", "scale"),
    [
        ((4000, 3000), (336, 252), 4),
        ((4000, 3000), (672, 504), 4),
        ((4000, 3000), (112, 84), 8),
        ((4000, 3000), (1344, 1008), 2),
        ((4000, 3000), (4000, 3000), 1),
        ((8000, 6000), (4000, 3000), 1),
        ((500, 400), (336, 269), 1),
        ((6400, 100), (336, 6), 8),
    ],
)
def test_how_far_a_jpeg_is_reduced_while_decoding(size: Size, target: Size, scale: int) -> None:
    assert resize.draft_scale(size, target) == scale
    assert scale == 1 or size[0] / scale >= 1.4 * target[0]
