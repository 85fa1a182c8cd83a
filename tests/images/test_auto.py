"""How much of a picture `detail: auto` shows, by room and by speed."""

from __future__ import annotations

import pytest

from llava_gateway.chat import Piece, Rendition, Sight
from llava_gateway.images.auto import AutoBound, auto_bound
from llava_gateway.images.picture import PictureInfo
from llava_gateway.images.profile import VisionProfile

TRAINED = VisionProfile(square=336, tokens=576, trained=True, family="llava")
ALL = 5 * 576


def bound(free: int, ms_per_token: float | None, *, on_gpu: bool = False) -> AutoBound | None:
    return auto_bound(TRAINED, free, ms_per_token, on_gpu=on_gpu, limit=4096)


def test_nothing_is_bounded_where_there_is_room_and_speed() -> None:
    assert bound(ALL, 1.0) is None
    assert bound(ALL, None, on_gpu=True) is None


def test_the_room_in_the_context_bounds() -> None:
    found = bound(ALL - 1, 1.0)
    assert found
    assert ALL - 256 <= found.tokens < ALL
    assert "4096 tokens of context" in found.note
    assert bound(0, 1.0) == AutoBound(576, found.note), "one tile is the least"


@pytest.mark.parametrize(("ms_per_token", "bounded"), [(120_000 / ALL, False), (121_000 / ALL, True), (1000.0, True)])
def test_more_than_two_minutes_is_too_slow(ms_per_token: float, bounded: bool) -> None:
    found = bound(10**6, ms_per_token)
    assert (found is not None) is bounded
    if found:
        assert f"{round(ALL * ms_per_token / 1000)} s" in found.note
        assert found.tokens * ms_per_token <= 120_000 or found.tokens == 576


def test_before_the_first_picture_one_tile_is_shown_unless_a_gpu_has_it_all() -> None:
    found = bound(10**6, None)
    assert found
    assert found.tokens == 576
    assert "not known" in found.note


def test_a_model_that_sees_one_square_needs_no_bound() -> None:
    assert auto_bound(VisionProfile(square=336, tokens=576), 0, 1000.0, on_gpu=False, limit=4096) is None
    assert auto_bound(VisionProfile(), 0, None, on_gpu=False, limit=4096) is None


def test_only_what_nobody_wished_for_is_bounded() -> None:
    found = AutoBound(576, "why")
    assert found.put_on(Sight()) == Sight(max_image_tokens=576)
    for wished in (Sight("high"), Sight("low"), Sight(image_size=(672, 672)), Sight(region=(0, 0, 0.5, 0.5)), Sight(max_image_tokens=9)):
        assert found.put_on(wished) == wished


def test_it_is_explained_only_where_tiles_would_have_shown_more() -> None:
    found = AutoBound(576, "why")
    one = Rendition((Piece(b"", "PNG", 336, 336),), 576, "exact", "low")
    large, small = (PictureInfo(side, side, side, side, "PNG", 1) for side in (800, 300))
    assert found.kept_from_tiles(TRAINED, large, Sight(), one)
    assert not found.kept_from_tiles(TRAINED, small, Sight(), one)
    assert not found.kept_from_tiles(TRAINED, large, Sight("low"), one)
    assert not found.kept_from_tiles(VisionProfile(square=336, tokens=576), large, Sight(), one)
