"""Options, presets, glossary and keep_alive of requests and settings: checked, with the allowed values in the error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llava_gateway.api import aliases
from llava_gateway.api.bodies import NO_KEEP_ALIVE, AskBody, KeepAlive
from llava_gateway.api.sight import IN_OPTIONS
from llava_gateway.built_in import built_in_presets
from llava_gateway.errors import InvalidOption, InvalidRequest
from llava_gateway.notes import Value
from llava_gateway.options import OPTION_LIMITS, STOP_MAX_CHARS, STOP_MAX_COUNT, OptionLimit, Options
from llava_gateway.settings import Settings

KEEP_ALIVE = re.compile(r"-?(\d+|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+)", re.ASCII)
KEEP_ALIVE_MAX_CHARS = 32
KEEP_ALIVE_MAX_SECONDS = 10 * 365 * 24 * 3600
GLOSSARY_MAX_LINES = 200
GLOSSARY_LINE_MAX_CHARS = 300
GLOSSARY_MAX_CHARS = GLOSSARY_MAX_LINES * (GLOSSARY_LINE_MAX_CHARS + 2)
"""Characters, including line ends."""
BESIDE_OPTIONS = frozenset({"about", "glossary"})
"""The keys of a preset that are not options."""


def presets(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Return the built-in presets and those of the settings, by name."""
    return {**built_in_presets(), **settings.presets}


def parse_options(given: Mapping[str, Any], preset: str | None, settings: Settings) -> Options:
    """Check the given options and merge them over those of the preset. Raises InvalidOption with the allowed values."""
    base = {name: value for name, value in preset_values(preset, settings).items() if name not in BESIDE_OPTIONS}
    own = {name: value for name, value in given.items() if name not in ("keep_alive", *IN_OPTIONS)}
    return Options(**{name: _option(name, value) for name, value in {**base, **own}.items() if value is not None})


def preset_values(name: str | None, settings: Settings) -> Mapping[str, Any]:
    """Return the values of a preset. Raises InvalidOption if there is none of this name."""
    if name is None:
        return {}
    known = presets(settings)
    if name not in known:
        raise InvalidOption("unknown_preset", values={"preset": name[:64], "known": tuple(sorted(known))}, param="preset")
    return known[name]


def glossary_of(given: list[str] | None, preset: str | None, settings: Settings) -> tuple[str, ...] | None:
    """Return the given lines, else those of the preset, each on one line; None if there are neither. Raises InvalidRequest."""
    lines = preset_values(preset, settings).get("glossary") if given is None else given
    if lines is None:
        return None
    if (
        not isinstance(lines, list)
        or len(lines) > GLOSSARY_MAX_LINES
        or any(not isinstance(line, str) or len(line) > GLOSSARY_LINE_MAX_CHARS for line in lines)
    ):
        values = {"lines": GLOSSARY_MAX_LINES, "characters": GLOSSARY_LINE_MAX_CHARS}
        raise InvalidRequest("glossary_wrong", values=values, param="glossary")
    return tuple(" ".join(line.split()) for line in lines if line.strip())


def check_presets(settings: Settings) -> None:
    """Check the presets at start-up, not at the first question. Raises InvalidOption for an invalid or missing preset."""
    for name in (*presets(settings), settings.preset):
        try:
            parse_options({}, name, settings)
            glossary_of(None, name, settings)
        except InvalidRequest as error:
            values = {"field": (error.param or "").removeprefix("options."), **error.values}
            raise InvalidOption("preset_wrong", values={**values, "preset": name or "", "why": error.reason}) from None


def _option(name: str, value: Any) -> Any:
    if name == "stop":
        return _stop(value)
    limit = OPTION_LIMITS.get(name)
    if limit is None and name in AskBody.model_fields:
        raise InvalidOption("no_option", param=f"options.{name}")
    if limit is None:
        raise _unknown_option(name)
    whole = limit.whole and isinstance(value, float) and value.is_integer()
    number = int(value) if whole else value
    if isinstance(number, bool) or not isinstance(number, int if limit.whole else int | float) or not limit.low <= number <= limit.high:
        values: dict[str, Value] = {"option": name, "low": limit.low, "high": limit.high, "unit": limit.unit, "whole": int(limit.whole)}
        values |= {"given": json.dumps(value, ensure_ascii=False, default=str)[:40], "about": limit.about}
        raise InvalidOption("option_out_of_range", values=values, param=f"options.{name}")
    if name == "num_predict" and number == 0:  # Ollama reads it as no limit at all, llama.cpp as no answer
        raise InvalidOption("num_predict_zero", param="options.num_predict")
    return number


def _unknown_option(name: str) -> InvalidOption:
    values: dict[str, Value] = {"known": (*OPTION_LIMITS, "stop", *IN_OPTIONS)}
    if name in aliases.OPTIONS:
        reason, values = "unknown_option_name", {"known": aliases.OPTIONS[name]}
    elif meaning := aliases.MEANINGS.get(name):
        reason = f"unknown_option_{meaning}"
    else:
        reason = "unknown_option"
    return InvalidOption(reason, values=values, param=f"options.{name[:64]}")


def describe(limit: OptionLimit) -> str:
    """Describe a limit: 'a whole number from 256 to 1048576 tokens'."""
    kind = "a whole number" if limit.whole else "a number"
    return f"{kind} from {limit.low:g} to {limit.high:.10g}{' ' + limit.unit if limit.unit else ''}"


def _stop(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if (
        not isinstance(words, list)
        or len(words) > STOP_MAX_COUNT
        or any(not isinstance(w, str) or not 0 < len(w) <= STOP_MAX_CHARS for w in words)
    ):
        raise InvalidOption("stop_wrong", values={"most": STOP_MAX_COUNT, "characters": STOP_MAX_CHARS}, param="options.stop")
    return tuple(words)


def parse_keep_alive(value: Any) -> KeepAlive | None:
    """Parse seconds or a Go duration ('5m', '1h30m'), as Ollama does. Raises InvalidOption."""
    if isinstance(value, str) and len(value) <= KEEP_ALIVE_MAX_CHARS and KEEP_ALIVE.fullmatch(value):
        if not value.lstrip("-").isdigit():
            return value
        value = int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= KEEP_ALIVE_MAX_SECONDS):
        return value
    raise NO_KEEP_ALIVE.error(NO_KEEP_ALIVE.reason, param="keep_alive")
