"""Test which turns stay, which are dropped, and in which steps: values in, values out."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.chat import Policy
from llava_gateway.context.window import (
    MOST_TRACES,
    DoesNotFit,
    Exchange,
    Rules,
    Window,
    answer_room,
    bucket,
    choose,
    cost,
    is_sent,
    later,
    num_ctx_needed,
    shown,
)
from llava_gateway.parts import ImagePart, Part, TextPart
from tests.context import talk as talks

IMAGE = 100
TEXT = 20


def talk(turns: int, *images_at: int) -> tuple[Exchange, ...]:
    """Build turns of TEXT tokens each, some of them with an image."""
    found = []
    number = itertools.count(1)
    first = 1
    for turn in range(turns):
        parts: tuple[Part, ...] = (TextPart(f"Question {turn}"),)
        images: tuple[int, ...] = ()
        if turn in images_at:
            parts, images = (ImagePart(f"image {next(number)}"), *parts), (IMAGE,)
        found.append(talks.exchange(turn, parts, f"Answer {turn}", TEXT, images, first))
        first += len(images)
    return tuple(found)


def sent_turns(exchanges: tuple[Exchange, ...], window: Window, rules: Rules) -> list[int]:
    return [exchange.turn for index, exchange in enumerate(exchanges) if is_sent(exchange, index, window, rules)]


def test_what_fits_is_left_alone() -> None:
    exchanges = talk(10, 0)
    assert choose(exchanges, Window(), Rules(), budget=300, context=400) == Window()
    later = Window(start=4)
    assert choose(exchanges, later, Rules(), budget=300, context=400) == later


def test_the_oldest_text_goes_first_in_a_large_step_and_images_stay() -> None:
    exchanges = talk(20, 0, 10)
    window = choose(exchanges, Window(), Rules(), budget=550, context=600)
    assert window == Window(start=17)
    assert sent_turns(exchanges, window, Rules()) == [0, 10, 17, 18, 19]
    assert cost(exchanges, window, Rules()) == 5 * TEXT + 2 * IMAGE <= 550 - 0.4 * 600


def test_sliding_lets_images_go_with_their_turns_unless_a_person_pinned_them() -> None:
    exchanges = talk(20, 0, 10)
    rules = Rules("sliding", {"image 1": True})
    window = choose(exchanges, Window(), rules, budget=550, context=600)
    assert sent_turns(exchanges, window, Rules("sliding"))[0] == window.start
    assert sent_turns(exchanges, window, rules)[0] == 0


def test_an_image_that_was_let_go_leaves_with_its_text() -> None:
    exchanges = talk(20, 0, 10)
    rules = Rules("pin_images", {"image 1": False})
    window = choose(exchanges, Window(), rules, budget=500, context=600)
    assert 0 not in sent_turns(exchanges, window, rules)
    assert 10 in sent_turns(exchanges, window, rules)


def test_strict_drops_nothing() -> None:
    with pytest.raises(DoesNotFit) as caught:
        choose(talk(10), Window(), Rules("strict"), budget=150, context=400)
    assert caught.value.over == 50


def test_images_go_only_where_all_text_is_gone_oldest_first() -> None:
    exchanges = talk(6, 0, 1, 2, 3)
    window = choose(exchanges, Window(), Rules(), budget=400, context=500)
    assert window == Window(start=6, gone=frozenset({1, 2}))
    assert sent_turns(exchanges, window, Rules()) == [2, 3]
    pinned = Rules("pin_images", {"image 1": True})
    assert choose(exchanges, Window(), pinned, budget=400, context=500).gone == {2, 3}


def test_images_that_a_person_pinned_never_go() -> None:
    rules = Rules("pin_images", dict.fromkeys(("image 1", "image 2"), True))
    with pytest.raises(DoesNotFit) as caught:
        choose(talk(6, 0, 1), Window(), rules, budget=200, context=500)
    assert caught.value.over == 2 * (IMAGE + TEXT) - 200


@pytest.mark.parametrize("policy", ["strict", "pin_images", "sliding", "summarise"])
def test_a_question_that_alone_is_too_long_is_refused_under_every_policy(policy: Policy) -> None:
    with pytest.raises(DoesNotFit) as caught:
        choose((), Window(), Rules(policy), budget=-7, context=500)
    assert caught.value.over == 7


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_talk_it_fits_moves_forward_only_and_rarely(seed: int) -> None:
    """The window is chosen anew for each of 200 turns."""
    rng = random.Random(seed)
    sizes = [rng.randint(10, 40) for _ in range(200)]
    turns_with_one = set(rng.sample(range(60), 3))
    exchanges: tuple[Exchange, ...] = ()
    window, moves, first = Window(), 0, 1
    for turn, size in enumerate(sizes):
        budget, context = 1700 - size, 1800
        before = window
        window = choose(exchanges, window, Rules(), budget=budget, context=context)
        assert cost(exchanges, window, Rules()) <= budget
        assert window.start >= before.start
        assert not window.gone
        moves += window != before
        images = (IMAGE,) if turn in turns_with_one else ()
        parts: tuple[Part, ...] = (*(ImagePart(f"{turn}") for _ in images), TextPart("?"))
        exchanges += (talks.exchange(turn, parts, "!", size, images, first),)
        first += len(images)
    assert sum(len(shown(exchange, index, window, Rules())) for index, exchange in enumerate(exchanges)) == 3
    assert moves <= 20


def test_the_answer_has_room() -> None:
    assert answer_room(None, 256, 4096) == 256
    assert answer_room(-1, 256, 1024) == 128
    assert answer_room(100, 256, 4096) == 100
    assert answer_room(9000, 256, 4096) == 2048


def test_contexts_grow_in_few_sizes() -> None:
    assert [bucket(size) for size in (1, 4096, 4097, 32768, 32769)] == [4096, 4096, 8192, 32768, 36864]
    assert [num_ctx_needed(size) for size in (1, 256, 257)] == [256, 256, 512]


@pytest.mark.parametrize("policy", ["pin_images", "sliding", "summarise"])
def test_what_goes_next_goes_in_the_order_in_which_it_is_chosen(policy: Policy) -> None:
    exchanges = talk(8, 0, 5)
    rules = Rules(policy, {"image 2": False})
    windows = [move.window for move in later(exchanges, Window(start=2), rules)]
    assert [window.start for window in windows if not window.gone] == [3, 4, 5, 6, 7, 8]
    assert [window.gone for window in windows if window.gone] == ([] if policy == "sliding" else [frozenset({1})])
    for budget in range(5 * TEXT):
        try:
            chosen = choose(exchanges, Window(start=2), rules, budget=budget, context=600)
        except DoesNotFit:
            continue
        assert replace(chosen, traces=MOST_TRACES) in windows


def test_nothing_goes_where_the_policy_or_a_pin_keeps_it() -> None:
    exchanges = talk(3, 0)
    assert not list(later(exchanges, Window(), Rules("strict")))
    assert all(not move.window.gone for move in later(exchanges, Window(), Rules(pins={"image 1": True})))


@pytest.mark.parametrize("policy", ["sliding", "pin_images"])
@pytest.mark.parametrize("traces", [0, MOST_TRACES])
def test_each_move_changes_one_exchange_and_costs_what_its_window_costs(policy: Policy, traces: int) -> None:
    exchanges = talk(30, *range(0, 30, 2))
    rules = Rules(policy, {"image 3": True, "image 4": False})
    before = Window(start=3, gone=frozenset({2}), traces=traces)
    for move in later(exchanges, before, rules):
        assert move.cost == cost(exchanges, move.window, rules)
        for index, exchange in enumerate(exchanges):
            if index != move.index:
                assert shown(exchange, index, move.window, rules) == shown(exchange, index, before, rules)
                assert is_sent(exchange, index, move.window, rules) == is_sent(exchange, index, before, rules)
        before = move.window


class CountedPins(dict[str, bool]):
    """Counts how often the code asks whether an image stays."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


def test_a_window_is_chosen_by_going_over_a_long_talk_a_few_times_only() -> None:
    exchanges, pins = talk(500, *range(500)), CountedPins()
    chosen = choose(exchanges, Window(), Rules("pin_images", pins), budget=10_000, context=12_000)
    assert len(chosen.gone) > 400
    assert pins.asked < 10 * len(exchanges)


@pytest.mark.parametrize("policy", ["sliding", "pin_images", "summarise"])
@pytest.mark.parametrize("context", [512, 2048])
def test_however_many_images_there_were_the_next_question_fits(policy: Policy, context: int) -> None:
    """The traces of dropped images do not fill the context."""
    exchanges, window, rules = talk(100, *range(100)), Window(), Rules(policy)
    for turns in range(1, len(exchanges)):
        window = choose(exchanges[:turns], window, rules, budget=context - 60, context=context)
    assert cost(exchanges[:-1], window, rules) <= context - 60
