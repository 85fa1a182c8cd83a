from __future__ import annotations

from dataclasses import replace

import pytest

from llava_gateway.images.anyres import SquareEye, best_grid, fit_inside, plan
from llava_gateway.images.plan import BLACK, CLIP_MEAN, WHOLE, Canvas, Plan, Size
from llava_gateway.notes import Note, note
from llava_gateway.parts import Sight

EYE = SquareEye(336, 576)
TRAINED = replace(EYE, trained=True)
HIGH = Sight(detail="high")
WIDE = (2000, 500)
LANDSCAPE = (4000, 3000)


def grid(made: Plan) -> Size | None:
    """Return the (width, height) of the grid in pixels; None if the plan has no tiles."""
    return next((canvas.size for canvas in made.canvases if canvas.tile), None)


def test_a_grid_is_tiles_row_by_row_then_an_overview() -> None:
    # LLaVA-NeXT's own processor makes 505 rows instead of 504 (3000 * (672 / 4000) is slightly more), and the model was trained on that.
    tiles = Canvas("tiles", (672, 505), (672, 672), WHOLE, BLACK, (336, 336))
    overview = Canvas("overview", (336, 336), (336, 336))
    assert plan(LANDSCAPE, HIGH, EYE) == Plan((tiles, overview), 2880, "exact", "high", lossless=True)
    assert plan(LANDSCAPE, HIGH, replace(EYE, overview="first")).canvases == (overview, tiles)


def test_low_is_one_square_letterboxed_or_stretched_as_the_engine_would() -> None:
    low = Sight(detail="low")
    assert plan(LANDSCAPE, low, TRAINED) == Plan((Canvas("whole", (336, 252), (336, 336)),), 576, "exact", "low", lossless=True)
    assert plan(LANDSCAPE, low, replace(TRAINED, stretched=True)).canvases == (Canvas("whole", (336, 336), (336, 336)),)


@pytest.mark.parametrize("size", [(336, 336), (100, 336), (20, 20)])
def test_an_image_within_one_square_is_one_square(size: Size) -> None:
    for wish in (HIGH, Sight(), Sight(image_size=(336, 336)), Sight(num_visual_tokens=576)):
        made = plan(size, wish, TRAINED)
        assert (grid(made), made.tokens, made.notes) == (None, 576, ())


def test_auto_takes_tiles_where_the_model_learned_them_and_they_fit() -> None:
    assert grid(plan(LANDSCAPE, Sight(), EYE)) is None
    assert grid(plan(LANDSCAPE, Sight(), TRAINED)) == (672, 672)
    assert grid(plan(LANDSCAPE, Sight(max_image_tokens=2880), TRAINED)) == (672, 672)
    bounded = plan(LANDSCAPE, Sight(max_image_tokens=2879), TRAINED)
    assert (grid(bounded), bounded.notes) == (None, ())


def test_high_takes_the_best_grid_that_fits() -> None:
    assert grid(plan(LANDSCAPE, replace(HIGH, max_image_tokens=2000), EYE)) == (672, 336)
    assert grid(plan(LANDSCAPE, replace(HIGH, max_image_tokens=1000), EYE)) is None


@pytest.mark.parametrize(
    ("size", "best"),
    [
        ((500, 500), (672, 672)),
        ((1000, 400), (1008, 336)),
        ((800, 420), (672, 672)),
        (WIDE, (1008, 336)),
        ((500, 2000), (336, 1008)),
        ((337, 20), (672, 336)),
    ],
)
def test_the_best_grid_keeps_most_pixels_with_least_padding(size: Size, best: Size) -> None:
    assert best_grid(size, EYE.usual_grids) == best == grid(plan(size, HIGH, EYE))


def test_the_image_fills_the_grid_one_way() -> None:
    assert fit_inside((1000, 400), (672, 336)) == (672, 269)
    assert fit_inside((400, 1000), (672, 672)) == (269, 672)


def test_grids_go_with_the_side_or_are_the_projectors_own() -> None:
    assert grid(plan((300, 300), HIGH, SquareEye(112, 64))) == (224, 224)
    assert grid(plan((300, 300), HIGH, SquareEye(112, 64, ((224, 112),)))) == (224, 112)


def size_note(width: int, height: int, wanted_width: int, wanted_height: int) -> Note:
    return note("image_size_adjusted", width=width, height=height, wanted_width=wanted_width, wanted_height=wanted_height)


@pytest.mark.parametrize(
    ("size", "wish", "found", "notes"),
    [
        (WIDE, Sight(image_size=(672, 672)), (672, 672), ()),
        (LANDSCAPE, Sight(image_size=(1344, 336)), (1344, 336), ()),
        (LANDSCAPE, Sight(image_size=(336, 336)), None, ()),
        (WIDE, Sight(image_size=(1100, 700)), (1008, 336), (size_note(1008, 336, 1100, 700),)),
        (LANDSCAPE, Sight(image_size=(1100, 700)), (672, 672), (size_note(672, 672, 1100, 700),)),
        (LANDSCAPE, Sight(image_size=(200, 200)), None, (size_note(336, 336, 200, 200),)),
        ((300, 300), Sight(image_size=(672, 672)), None, (size_note(336, 336, 672, 672),)),
        (LANDSCAPE, Sight(detail="low", image_size=(672, 672)), None, (size_note(336, 336, 672, 672),)),
        (LANDSCAPE, Sight(num_visual_tokens=576), None, ()),
        (LANDSCAPE, Sight(num_visual_tokens=1728), (672, 336), ()),
        ((3000, 4000), Sight(num_visual_tokens=1728), (336, 672), ()),
        (LANDSCAPE, Sight(num_visual_tokens=2880), (672, 672), ()),
        (WIDE, Sight(num_visual_tokens=2880), (1344, 336), ()),
        (WIDE, Sight(num_visual_tokens=2000), (672, 336), (note("num_visual_tokens_adjusted", tokens=1728, wanted=2000),)),
        (LANDSCAPE, Sight(num_visual_tokens=144), None, (note("num_visual_tokens_adjusted", tokens=576, wanted=144),)),
        (
            LANDSCAPE,
            Sight(num_visual_tokens=2880, max_image_tokens=2304),
            (1008, 336),
            (note("num_visual_tokens_adjusted", tokens=2304, wanted=2880),),
        ),
        (
            LANDSCAPE,
            Sight(max_image_tokens=100),
            None,
            (note("max_image_tokens_adjusted", tokens=576, wanted=100),),
        ),
    ],
)
def test_wishes_are_met_or_it_is_said_what_came_of_them(size: Size, wish: Sight, found: Size | None, notes: tuple[Note, ...]) -> None:
    made = plan(size, wish, EYE)
    assert (grid(made), made.notes) == (found, notes)


def test_a_wish_for_tokens_needs_a_known_cost() -> None:
    made = plan(LANDSCAPE, Sight(num_visual_tokens=2880), replace(EYE, tokens=None))
    assert (grid(made), made.tokens, made.label) == (None, None, "estimated")
    assert made.notes == (note("num_visual_tokens_adjusted", wanted=2880),)


def test_a_region_is_one_square_after_an_overview() -> None:
    region = (0.5, 0.5, 0.2, 0.1)
    made = plan(LANDSCAPE, Sight(region=region), EYE)
    overview = Canvas("overview", (336, 252), (336, 336))
    assert made == Plan((overview, Canvas("region", (336, 126), (336, 336), region, CLIP_MEAN)), 1152, "exact", lossless=True)
    stretched = plan(LANDSCAPE, Sight(detail="low", region=region), replace(EYE, stretched=True)).canvases
    assert stretched == (Canvas("overview", (336, 336), (336, 336)), Canvas("region", (336, 126), (336, 336), region, BLACK))
    assert plan(LANDSCAPE, Sight(region=WHOLE), EYE) == plan(LANDSCAPE, Sight(), EYE)


def test_a_region_has_a_grid_of_its_own_under_high_detail() -> None:
    made = plan(LANDSCAPE, replace(HIGH, region=(0.0, 0.0, 0.2, 0.1)), EYE)  # 800 x 300 pixels
    assert [(canvas.role, canvas.size, canvas.inner) for canvas in made.canvases] == [
        ("overview", (336, 336), (336, 252)),
        ("region", (1008, 336), (897, 336)),
    ]
    assert (made.tokens, made.detail) == (2304, "high")
    small = plan(LANDSCAPE, replace(HIGH, region=(0.0, 0.0, 0.05, 0.05)), EYE)
    assert (grid(small), small.tokens) == (None, 1152)


def test_a_region_says_where_it_takes_more_than_is_allowed() -> None:
    made = plan(LANDSCAPE, Sight(region=(0.0, 0.0, 0.5, 0.5), max_image_tokens=600), EYE)
    assert made.notes == (note("max_image_tokens_adjusted", tokens=1152, wanted=600),)
