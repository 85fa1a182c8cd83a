"""Options, presets and keep_alive in requests: valid ones are accepted, and the others get an error."""

from __future__ import annotations

from typing import Any

import pytest

from llava_gateway.api.app import create_app
from llava_gateway.api.options import parse_keep_alive, parse_options
from llava_gateway.errors import InvalidOption
from llava_gateway.options import OPTION_LIMITS, Options
from llava_gateway.settings import Settings


@pytest.mark.parametrize("name", OPTION_LIMITS)
def test_every_option_is_taken_at_its_bounds_and_refused_beyond_them(name: str) -> None:
    limit = OPTION_LIMITS[name]
    for value in (limit.low, limit.high):
        number = int(value) if limit.whole else value
        assert getattr(parse_options({name: number}, None, Settings()), name) == number
    wrong: list[Any] = [limit.low - 1, limit.high + 1, "1", True, [1], float("nan")]
    for beyond in wrong:
        with pytest.raises(InvalidOption) as refused:
            parse_options({name: beyond}, None, Settings())
        assert refused.value.param == f"options.{name}"
        assert refused.value.reason == "option_out_of_range"
        assert (refused.value.values["low"], refused.value.values["high"]) == (limit.low, limit.high)


def test_an_answer_of_no_words_can_not_be_asked_for() -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_options({"num_predict": 0}, None, Settings())
    assert refused.value.reason == "num_predict_zero"


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert parse_options({"top_k": 40.0}, None, Settings()) == Options(top_k=40)


def test_options_win_over_the_preset_they_stand_beside() -> None:
    assert parse_options({"temperature": 0}, "factual", Settings()).temperature == 0
    assert parse_options({}, "factual", Settings()).temperature == 0.2
    assert parse_options({}, "creative", Settings()).temperature == 0.7


def test_a_preset_of_the_settings_is_known_and_an_unknown_one_names_those_that_are() -> None:
    settings = Settings(presets={"receipts": {"temperature": 0.0, "about": "Reading receipts."}})
    assert parse_options({}, "receipts", settings) == Options(temperature=0.0)
    with pytest.raises(InvalidOption) as refused:
        parse_options({}, "nosuch", settings)
    assert (refused.value.reason, refused.value.values["known"]) == (
        "unknown_preset",
        ("balanced", "creative", "factual", "receipts"),
    )


@pytest.mark.parametrize("wrong", [{"presets": {"mine": {"temperature": 9}}}, {"presets": {"mine": {"nosuch": 1}}}, {"preset": "nosuch"}])
def test_a_preset_that_is_not_right_is_told_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption) as refused:
        create_app(Settings(**wrong))
    assert (refused.value.reason, refused.value.values["preset"] in ("mine", "nosuch")) == ("preset_wrong", True)


@pytest.mark.parametrize(("value", "taken"), [(None, None), (0, 0), (-1, -1), ("300", 300), ("5m", "5m"), ("1h30m", "1h30m"), ("-1", -1)])
def test_keep_alive_is_seconds_or_a_duration(value: Any, taken: Any) -> None:
    assert parse_keep_alive(value) == taken


@pytest.mark.parametrize("value", ["abc", "5 minutes", "", True, 1.5, []])
def test_any_other_keep_alive_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_keep_alive(value)
    assert refused.value.reason == "keep_alive_wrong"


@pytest.mark.parametrize("stop", ["</s>", ["a", "b"]])
def test_stop_is_one_text_or_several(stop: Any) -> None:
    assert parse_options({"stop": stop}, None, Settings()).stop == ((stop,) if isinstance(stop, str) else tuple(stop))


@pytest.mark.parametrize("stop", [1, [""], ["x" * 257], ["x"] * 17, [None]])
def test_any_other_stop_is_refused(stop: Any) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_options({"stop": stop}, None, Settings())
    assert refused.value.reason == "stop_wrong"
