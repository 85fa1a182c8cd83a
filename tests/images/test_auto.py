"""Test how much of an image `detail: auto` shows, by free context and by speed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.auto import Auto, AutoBound, auto_bound, choose
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.profile import Size, VisionProfile
from llava_gateway.notes import Note, note
from llava_gateway.parts import Sight

TRAINED = VisionProfile(SquareEye(336, 576, trained=True), family="llava")
ALL = 5 * 576
WHY = note("detail_auto_context", limit=4096)
PIXTRAL = profile_for(VisionFacts("pixtral", 1540, 14, merge=2))
QWEN_IN_OLLAMA = profile_for(VisionFacts("qwen25vl", 560, 14, merge=2, least_tokens=1024))


def bound(free: int, ms_per_token: float | None, *, on_gpu: bool = False) -> AutoBound | None:
    return auto_bound(TRAINED, free, ms_per_token, on_gpu=on_gpu, limit=4096)


def test_nothing_is_bounded_where_there_is_room_and_speed() -> None:
    assert bound(ALL, 1.0) is None
    assert bound(ALL, None, on_gpu=True) is None


def test_the_room_in_the_context_bounds() -> None:
    found = bound(ALL - 1, 1.0)
    assert found
    assert ALL - 256 <= found.tokens < ALL
    assert found.why == note("detail_auto_context", limit=4096)
    assert bound(0, 1.0) == AutoBound(576, found.why), "one tile is the least"


@pytest.mark.parametrize(("ms_per_token", "bounded"), [(120_000 / ALL, False), (121_000 / ALL, True), (1000.0, True)])
def test_more_than_two_minutes_is_too_slow(ms_per_token: float, bounded: bool) -> None:
    found = bound(10**6, ms_per_token)
    assert (found is not None) is bounded
    if found:
        assert found.why == note("detail_auto_slow", largest=ALL, seconds=round(ALL * ms_per_token / 1000))
        assert found.tokens * ms_per_token <= 120_000 or found.tokens == 576


def test_before_the_first_image_one_tile_is_shown_unless_a_gpu_has_it_all() -> None:
    found = bound(10**6, None)
    assert found
    assert found.tokens == 576
    assert found.why == note("detail_auto_unmeasured")


def test_a_model_that_sees_one_square_needs_no_bound() -> None:
    assert auto_bound(VisionProfile(SquareEye(336, 576)), 0, 1000.0, on_gpu=False, limit=4096) is None
    assert auto_bound(VisionProfile(), 0, None, on_gpu=False, limit=4096) is None


def test_only_what_nobody_wished_for_is_bounded() -> None:
    found = AutoBound(576, WHY)
    assert found.apply_to(Sight()) == Sight(max_image_tokens=576)
    part = Sight(region=(0, 0, 0.5, 0.5))
    assert found.apply_to(part) == replace(part, max_image_tokens=576)
    assert found.apply_to(Sight(max_image_tokens=3000)) == Sight(max_image_tokens=576)
    for wished in (Sight("high"), Sight("low"), Sight(image_size=(672, 672)), Sight(num_visual_tokens=64), Sight(max_image_tokens=9)):
        assert found.apply_to(wished) == wished


def auto(bound_: AutoBound | None, room: int = 4000, *, limit: int = 4096, images: int = 1) -> Auto:
    return Auto(bound_, room, limit, images)


LESS = AutoBound(768, WHY)


def less(tokens: int, full: int) -> Note:
    return Note(WHY.code, {"tokens": tokens, "full": full, **WHY.values})


@pytest.mark.parametrize(
    ("profile", "size", "bound_", "warning"),
    [
        (TRAINED, (800, 800), LESS, less(576, 2880)),
        (TRAINED, (300, 300), LESS, None),
        (TRAINED, (800, 800), None, None),
        (VisionProfile(SquareEye(336, 576)), (800, 800), LESS, None),
        (PIXTRAL, (1600, 1200), AutoBound(256, WHY), less(247, 999)),
        (PIXTRAL, (100, 100), AutoBound(256, WHY), None),
        (QWEN_IN_OLLAMA, (1600, 1200), LESS, less(1038, 2257)),
        (QWEN_IN_OLLAMA, (400, 300), LESS, None),
    ],
)
def test_it_is_explained_wherever_less_is_shown(profile: VisionProfile, size: Size, bound_: AutoBound | None, warning: Note | None) -> None:
    choice = choose(profile, size, auto(bound_), None)
    assert choice.note == warning
    assert choice.explain(profile.plan(size, choice.sight).notes) == ((warning,) if warning else ())


def test_other_notes_stay() -> None:
    choice = choose(TRAINED, (800, 800), auto(LESS), None)
    other, bounded = note("image_size_adjusted"), note("max_image_tokens_adjusted", tokens=2, wanted=1)
    assert choice.explain((other, bounded)) == (other, choice.note)


def test_what_was_chosen_stays_while_it_fits() -> None:
    first = choose(TRAINED, (800, 800), auto(None), None)
    assert first.sight == Sight()
    assert choose(TRAINED, (800, 800), auto(AutoBound(2560, WHY)), first) is first, "there is room, though less was to be taken of it"
    assert choose(TRAINED, (800, 800), auto(AutoBound(2560, WHY), room=2600), first).sight == Sight(max_image_tokens=2560)
    low = choose(TRAINED, (800, 800), auto(LESS), None)
    assert choose(TRAINED, (800, 800), auto(None), low) is low, "and the note with it"
    assert choose(QWEN_IN_OLLAMA, (1600, 1200), auto(LESS, room=700), low) is low, "less than the least can't be shown"


def test_another_context_or_number_of_images_is_chosen_for_anew() -> None:
    low = choose(TRAINED, (800, 800), auto(LESS), None)
    for other in (auto(None, limit=32768), auto(None, images=2)):
        assert choose(TRAINED, (800, 800), other, low).sight == Sight()
