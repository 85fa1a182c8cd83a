from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from llava_gateway.images.profile import CLIP_MEAN, Size
from llava_gateway.images.sheet import MOST_SIDE, best_grid, sheet
from tests.odd_images import saved

pytestmark = pytest.mark.real

COLOURS = [(200, 0, 0), (0, 150, 0), (0, 0, 200), (200, 200, 0), (0, 180, 180)]


def plain(number: int, size: Size) -> bytes:
    return saved(Image.new("RGB", size, COLOURS[number]), "PNG")


@pytest.mark.parametrize(
    ("sizes", "grid"),
    [
        ([(400, 300)], (1, 1)),
        ([(400, 300)] * 2, (1, 2)),
        ([(300, 400)] * 2, (2, 1)),
        ([(100, 100)] * 4, (2, 2)),
        ([(1600, 400)] * 4, (1, 4)),
        ([(400, 1600)] * 4, (4, 1)),
        ([(400, 300)] * 5, (2, 3)),
        ([(100, 100)] * 8, (3, 3)),
    ],
)
def test_the_grid_follows_the_shapes_of_the_images(sizes: list[Size], grid: Size) -> None:
    assert best_grid(sizes)[:2] == grid


def test_images_lie_row_by_row_whole_and_undistorted() -> None:
    sizes = [(400, 300), (300, 400), (400, 300), (200, 200)]
    made = sheet([plain(i, size) for i, size in enumerate(sizes)])
    image = Image.open(BytesIO(made.data))
    assert (made.format, image.size) == ("PNG", (made.width, made.height))
    found = []
    for colour, (width, height) in zip(COLOURS, sizes, strict=False):
        places = [(x, y) for x in range(image.width) for y in range(image.height) if image.getpixel((x, y)) == colour]
        left, right = min(x for x, _ in places), max(x for x, _ in places) + 1
        top, bottom = min(y for _, y in places), max(y for _, y in places) + 1
        assert abs((right - left) / (bottom - top) - width / height) < 0.02
        found.append((left, top, right, bottom))
    assert found[0][0] < found[1][0]
    assert found[0][1] < found[2][1]
    assert found[2][0] < found[3][0]


def test_each_image_has_its_number_in_its_corner() -> None:
    one = [plain(0, (300, 300))] * 4
    image = Image.open(BytesIO(sheet(one).data))
    half = (image.width + 6) // 2
    badges = [image.crop((x, y, x + 40, y + 40)) for y in (0, half) for x in (0, half)]
    assert len({badge.tobytes() for badge in badges}) == 4
    for badge in badges:
        assert {(0, 0, 0), (255, 255, 255)} <= {colour for _, colour in badge.getcolors() or []}


def test_a_sheet_is_large_enough_for_its_images_and_no_larger() -> None:
    large = sheet([plain(i, (4000, 3000)) for i in range(2)])
    assert max(large.width, large.height) == pytest.approx(MOST_SIDE, abs=MOST_SIDE // 50)
    small = sheet([plain(0, (120, 120)), plain(1, (40, 40))])
    assert max(small.width, small.height) <= 2 * 120 + 10
    # The small image is enlarged to the size of its cell.
    image = Image.open(BytesIO(small.data))
    counts = {colour: count for count, colour in image.getcolors(2**20) or []}
    assert counts[COLOURS[1]] > 100 * 100


def test_what_came_lossless_stays_so_and_photos_do_not() -> None:
    noise = Image.effect_noise((900, 900), 80).convert("RGB")
    photo = saved(noise, "JPEG")
    assert sheet([plain(0, (900, 900)), plain(1, (900, 900))]).format == "PNG"
    assert sheet([plain(0, (900, 900)), photo]).format == "JPEG"


def test_it_is_the_same_each_time_and_its_ground_is_what_models_take_for_nothing() -> None:
    images = [plain(i, (200, 100)) for i in range(5)]
    made = sheet(images)
    assert made == sheet(images)
    image = Image.open(BytesIO(made.data))
    assert image.getpixel((image.width - 1, image.height - 1)) == CLIP_MEAN, "five images leave a cell of six empty"
