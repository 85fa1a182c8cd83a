"""Test what the gateway learns about the cost of images from an engine's counts."""

from __future__ import annotations

import pytest

from llava_gateway.images.families import Cells
from llava_gateway.images.learned import MOST_SAMPLES, LearnedCosts
from llava_gateway.images.profile import VisionProfile
from tests.images.random_sizes import sent, sizes

MODEL, KEY = "odd:latest", "fit1344"


@pytest.fixture
def costs() -> LearnedCosts:
    return LearnedCosts()


def test_nothing_is_known_at_first(costs: LearnedCosts) -> None:
    assert costs.predict(MODEL, KEY, ((100, 100),)) is None


def test_a_size_that_was_seen_is_measured(costs: LearnedCosts) -> None:
    costs.learn(MODEL, KEY, [((100, 100),)], 300)
    assert costs.predict(MODEL, KEY, ((100, 100),)) == (300, "measured")
    costs.learn(MODEL, KEY, [((100, 100),)], 310)
    assert costs.predict(MODEL, KEY, ((100, 100),)) == (310, "measured")


def test_one_sample_is_taken_for_all_sizes(costs: LearnedCosts) -> None:
    costs.learn(MODEL, KEY, [((100, 100),)], 300)
    assert costs.predict(MODEL, KEY, ((1000, 1000),)) == (300, "estimated")
    assert costs.predict(MODEL, KEY, ((1000, 1000), (10, 10))) == (600, "estimated")


def test_models_and_profiles_are_kept_apart(costs: LearnedCosts) -> None:
    costs.learn(MODEL, KEY, [((100, 100),)], 300)
    assert costs.predict("other", KEY, ((100, 100),)) is None
    assert costs.predict(MODEL, "square336", ((100, 100),)) is None


def test_images_of_one_size_share_what_they_cost(costs: LearnedCosts) -> None:
    costs.learn(MODEL, KEY, [((100, 100),), ((100, 100),)], 601)
    assert costs.predict(MODEL, KEY, ((100, 100),)) == (300, "measured")


@pytest.mark.parametrize(
    ("images", "tokens"),
    [
        pytest.param([((100, 100),)], 0, id="ignored by the engine"),
        pytest.param([((100, 100),)], -3, id="fewer than the text"),
        pytest.param([], 600, id="no images"),
    ],
)
def test_what_tells_nothing_is_not_learned(costs: LearnedCosts, images: list[tuple[tuple[int, int], ...]], tokens: int) -> None:
    costs.learn(MODEL, KEY, images, tokens)
    assert costs.predict(MODEL, KEY, ((100, 100),)) is None


def test_a_fixed_cost_is_found_out(costs: LearnedCosts) -> None:
    for size in sizes(10):
        costs.learn(MODEL, KEY, [(size,)], 258)
    assert costs.predict(MODEL, KEY, ((640, 480),)) == (258, "estimated")
    assert costs.predict(MODEL, KEY, ((640, 480), (640, 480))) == (516, "estimated")


def test_a_cost_by_area_is_found_out(costs: LearnedCosts) -> None:
    """The example is a Qwen-VL whose engine reports nothing about it: the error is within 5 % or a few tokens after ten images."""
    qwen, unknown = VisionProfile(Cells(28, 8, 4096)), VisionProfile()
    for size in sizes(10):
        costs.learn(MODEL, KEY, [(sent(unknown.plan(size)),)], qwen.plan(sent(unknown.plan(size))).tokens or 0)
    for size in sizes(50, seed=9):
        real = qwen.plan(sent(unknown.plan(size))).tokens
        found = costs.predict(MODEL, KEY, (sent(unknown.plan(size)),))
        assert found
        assert found[1] == "estimated" or found[0] == real
        assert real
        assert abs(found[0] - real) <= max(30, 0.05 * real)


def test_noise_never_makes_larger_images_cheaper(costs: LearnedCosts) -> None:
    costs.learn(MODEL, KEY, [((100, 100),)], 260)
    costs.learn(MODEL, KEY, [((1000, 1000),)], 256)
    assert costs.predict(MODEL, KEY, ((4000, 4000),)) == (258, "estimated")


def test_a_cost_without_a_fixed_part_goes_through_nought(costs: LearnedCosts) -> None:
    costs.learn(MODEL, KEY, [((280, 280),)], 90)
    costs.learn(MODEL, KEY, [((560, 560),)], 410)
    assert costs.predict(MODEL, KEY, ((28, 28),)) == (1, "estimated")


def test_what_was_not_seen_for_long_is_forgotten(costs: LearnedCosts) -> None:
    for width in range(1, MOST_SAMPLES + 2):
        costs.learn(MODEL, KEY, [((width, 10),)], 300)
    found = costs.predict(MODEL, KEY, ((1, 10),))
    assert found == (300, "estimated")
    assert costs.predict(MODEL, KEY, ((2, 10),)) == (300, "measured")


def test_images_of_two_sizes_tell_about_what_one_costs_until_something_better_is_known(costs: LearnedCosts) -> None:
    small, large = ((100, 100),), ((200, 100),)
    costs.learn(MODEL, KEY, [small, large], 600)
    assert (costs.predict(MODEL, KEY, small), costs.predict(MODEL, KEY, large)) == ((300, "estimated"), (300, "estimated"))
    costs.learn(MODEL, KEY, [small], 200)
    costs.learn(MODEL, KEY, [small, large], 900)
    assert costs.predict(MODEL, KEY, small) == (200, "measured")
    costs.learn(MODEL, KEY, [small], 250, "estimated")
    assert costs.predict(MODEL, KEY, small) == (200, "measured")
    assert costs.predict(MODEL, KEY, large) == (300, "estimated")
