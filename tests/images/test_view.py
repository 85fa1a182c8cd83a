from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from llava_gateway.images.layout import GAP, drawn_size
from llava_gateway.images.plan import CLIP_MEAN, Canvas, letterbox
from llava_gateway.images.view import draw
from tests.odd_images import saved

pytestmark = pytest.mark.real

ORANGE = (255, 140, 0)
RED, GREEN, BLUE, YELLOW, BLACK = (200, 0, 0), (0, 150, 0), (0, 0, 200), (200, 200, 0), (0, 0, 0)
TILES = Canvas("tiles", (672, 504), (672, 672), fill=BLACK, tile=(336, 336))
OVERVIEW = Canvas("overview", (336, 336), (336, 336))


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (336, 336)) -> bytes:
    return saved(Image.new("RGB", size, colour), "PNG")


def drawn(pieces: list[bytes], *canvases: Canvas) -> Image.Image:
    made = draw(pieces, canvases)
    image = Image.open(BytesIO(made.data))
    assert (made.format, made.width, made.height) == ("PNG", *image.size)
    assert drawn_size(canvases) == image.size
    return image


def test_a_small_square_is_magnified_and_keeps_every_pixel() -> None:
    noise = Image.effect_noise((112, 84), 90).convert("RGB")
    square = Image.new("RGB", (112, 112), CLIP_MEAN)
    square.paste(noise, (0, 14))
    image = drawn([saved(square, "PNG")], letterbox((4000, 3000), 112))
    assert image.size == (672, 672)
    middles = image.crop((0, 84, 672, 588)).resize((112, 84), Image.Resampling.NEAREST)
    assert middles.tobytes() == noise.tobytes()


def test_padding_can_be_told_from_the_image() -> None:
    square = Image.new("RGB", (336, 336), CLIP_MEAN)  # an image in the colour of its padding
    image = drawn([saved(square, "PNG")], letterbox((400, 300), 336))
    colours = {colour for _, colour in image.crop((0, 0, 672, 80)).getcolors() or []}
    assert CLIP_MEAN in colours
    assert len(colours) == 2
    assert image.crop((0, 90, 672, 580)).getcolors() == [(672 * 490, CLIP_MEAN)]


def test_an_image_without_padding_and_tiles_is_shown_as_it_is() -> None:
    piece = saved(Image.effect_noise((700, 300), 80).convert("RGB"), "PNG")
    image = drawn([piece], Canvas("whole", (700, 300), (700, 300)))
    assert image.tobytes() == Image.open(BytesIO(piece)).tobytes()


def test_tiles_lie_in_the_order_they_are_sent_with_the_overview_beside_them() -> None:
    image = drawn([plain(c) for c in (RED, GREEN, BLUE, YELLOW, BLACK)], TILES, OVERVIEW)
    assert image.size == (672 + GAP + 336, 672)
    for place, colour in (
        ((300, 200), RED),
        ((600, 200), GREEN),
        ((300, 450), BLUE),
        ((600, 450), YELLOW),
        ((672 + GAP + 300, 300), BLACK),
    ):
        assert image.getpixel(place) == (*colour, 255)
    assert image.getpixel((672 + GAP + 168, 500)) == (0, 0, 0, 0), "below the overview is nothing"
    # The lines between the tiles, dark and light.
    assert image.getpixel((335, 250)) != image.getpixel((336, 250)) == (255, 255, 255, 255)
    assert image.getpixel((250, 335)) != image.getpixel((250, 336)) == (255, 255, 255, 255)


def test_every_piece_has_a_number_of_its_own() -> None:
    image = drawn([plain(BLACK)] * 5, TILES, OVERVIEW).convert("RGB")
    corners = [(0, 0), (336, 0), (0, 336), (336, 336), (672 + GAP, 0)]
    # Starts at x + 6, because the lines between the tiles cover the first pixels.
    badges = {image.crop((x + 6, y + 6, x + 24, y + 24)).tobytes() for x, y in corners}
    assert len(badges) == 5


def test_the_region_is_marked_on_the_overview() -> None:
    region = Canvas("region", (336, 252), (336, 336), region=(0.5, 0.25, 0.25, 0.5))
    image = drawn([plain(BLUE), plain(RED)], OVERVIEW, region).convert("RGB")
    # 336 px are magnified twice.
    left, top, right, bottom = 336, 168, 503, 503
    for place in ((left + 1, 300), (right - 1, 300), (400, top + 1), (400, bottom - 1)):
        assert image.getpixel(place) == ORANGE
    for place in ((left - 2, 300), (right + 2, 300), (400, top - 2), (400, bottom + 2), (420, 300)):
        assert image.getpixel(place) == BLUE
    crop = image.crop((672 + GAP, 0, 672 + GAP + 672, 672))
    assert ORANGE not in {colour for _, colour in crop.getcolors() or []}


def test_the_same_pieces_give_the_same_bytes() -> None:
    pieces = [plain(c) for c in (RED, GREEN, BLUE, YELLOW, BLACK)]
    assert draw(pieces, (TILES, OVERVIEW)) == draw(pieces, (TILES, OVERVIEW))


@pytest.mark.parametrize("pieces", [[], [plain(RED)] * 2, [plain(RED, (300, 336))]], ids=["none", "too many", "of another size"])
def test_what_is_not_of_the_plan_is_not_drawn(pieces: list[bytes]) -> None:
    with pytest.raises(ValueError, match="piece"):
        draw(pieces, (OVERVIEW,))


def test_a_part_that_is_thinner_than_a_pixel_is_a_line() -> None:
    for top in range(99):
        image = drawn([plain(BLUE), plain(RED)], OVERVIEW, Canvas("region", (336, 2), (336, 336), region=(0.1, top / 100, 0.3, 0.001)))
        overview = image.convert("RGB").crop((0, 0, 672, 672))
        line = [y for y in range(672) if overview.getpixel((136, y)) == ORANGE]
        assert line, top
        assert abs(line[0] - 6.72 * top) < 8
