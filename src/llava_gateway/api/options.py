"""Options, presets, glossary and keep_alive of requests and settings: checked, with what would be right where they are wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llava_gateway.api import aliases
from llava_gateway.api.bodies import KEEP_ALIVE_SAYS, AskBody, KeepAlive
from llava_gateway.api.sight import IN_OPTIONS
from llava_gateway.errors import InvalidOption, InvalidRequest
from llava_gateway.options import OPTION_LIMITS, STOP_MAX_CHARS, STOP_MAX_COUNT, OptionLimit, Options
from llava_gateway.settings import Settings, built_in_presets

KEEP_ALIVE = re.compile(r"-?(\d+|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+)", re.ASCII)
KEEP_ALIVE_MAX_CHARS = 32
KEEP_ALIVE_MAX_SECONDS = 10 * 365 * 24 * 3600
GLOSSARY_MAX_LINES = 200
GLOSSARY_LINE_MAX_CHARS = 300
GLOSSARY_MAX_CHARS = GLOSSARY_MAX_LINES * (GLOSSARY_LINE_MAX_CHARS + 2)
"""With the ends of its lines."""
BESIDE_OPTIONS = frozenset({"about", "glossary"})
"""What a preset has beside options."""


def presets(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Built-in presets and those of the settings, by name."""
    return {**built_in_presets(), **settings.presets}


def parse_options(given: Mapping[str, Any], preset: str | None, settings: Settings) -> Options:
    """Checked options over those of the preset. Raises InvalidOption saying what would be right."""
    base = {name: value for name, value in preset_values(preset, settings).items() if name not in BESIDE_OPTIONS}
    own = {name: value for name, value in given.items() if name not in ("keep_alive", *IN_OPTIONS)}
    return Options(**{name: _option(name, value) for name, value in {**base, **own}.items() if value is not None})


def preset_values(name: str | None, settings: Settings) -> Mapping[str, Any]:
    """What a preset holds. Raises InvalidOption where there is none of this name."""
    if name is None:
        return {}
    known = presets(settings)
    if name not in known:
        raise InvalidOption(f"There is no preset {name[:64]!r}.", param="preset", hint=f"Presets: {', '.join(sorted(known))}.")
    return known[name]


def glossary_of(given: list[str] | None, preset: str | None, settings: Settings) -> tuple[str, ...] | None:
    """The lines that were given, else those of the preset, each on one line; None where there are neither. Raises InvalidRequest."""
    lines = preset_values(preset, settings).get("glossary") if given is None else given
    if lines is None:
        return None
    if (
        not isinstance(lines, list)
        or len(lines) > GLOSSARY_MAX_LINES
        or any(not isinstance(line, str) or len(line) > GLOSSARY_LINE_MAX_CHARS for line in lines)
    ):
        raise InvalidRequest(
            f"glossary must be a list of at most {GLOSSARY_MAX_LINES} texts of at most {GLOSSARY_LINE_MAX_CHARS} characters.",
            param="glossary",
            hint="One name or term to a line, with what it means.",
        )
    return tuple(" ".join(line.split()) for line in lines if line.strip())


def check_presets(settings: Settings) -> None:
    """Raises InvalidOption, at the start rather than at the first question, for a preset that is not right or not there."""
    for name in (*presets(settings), settings.preset):
        try:
            parse_options({}, name, settings)
            glossary_of(None, name, settings)
        except InvalidRequest as error:
            raise InvalidOption(f"The preset {name} of the settings: {error.message}", hint=error.hint) from None


def _option(name: str, value: Any) -> Any:
    if name == "stop":
        return _stop(value)
    limit = OPTION_LIMITS.get(name)
    if limit is None and name in AskBody.model_fields:
        raise InvalidOption(
            f"{name} is no option.", param=f"options.{name}", hint=f'It stands beside options: {{"{name}": …, "options": {{…}}}}.'
        )
    if limit is None:
        raise InvalidOption(
            f"There is no option {name[:64]!r}.",
            param=f"options.{name[:64]}",
            hint=_option_hint(name),
        )
    whole = limit.whole and isinstance(value, float) and value.is_integer()
    number = int(value) if whole else value
    if isinstance(number, bool) or not isinstance(number, int if limit.whole else int | float) or not limit.low <= number <= limit.high:
        raise InvalidOption(
            f"{name} must be {describe(limit)}; got {json.dumps(value, ensure_ascii=False, default=str)[:40]}.",
            param=f"options.{name}",
            hint=f"{name}: {limit.about}.",
        )
    if name == "num_predict" and number == 0:  # Ollama takes it for no limit at all, llama.cpp for no answer
        raise InvalidOption("num_predict must not be 0.", param="options.num_predict", hint="1 is the shortest answer, -1 means no limit.")
    return number


def _option_hint(name: str) -> str:
    known = f"Options: {', '.join([*OPTION_LIMITS, 'stop', *IN_OPTIONS])}."
    if name in aliases.OPTIONS:
        return f"It is named {aliases.OPTIONS[name]} here."
    return f"{aliases.HINTS[name]} {known}" if name in aliases.HINTS else known


def describe(limit: OptionLimit) -> str:
    """'a whole number from 256 to 1048576 tokens'."""
    kind = "a whole number" if limit.whole else "a number"
    return f"{kind} from {limit.low:g} to {limit.high:.10g}{' ' + limit.unit if limit.unit else ''}"


def _stop(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if (
        not isinstance(words, list)
        or len(words) > STOP_MAX_COUNT
        or any(not isinstance(w, str) or not 0 < len(w) <= STOP_MAX_CHARS for w in words)
    ):
        raise InvalidOption(
            f"stop must be a text or a list of at most {STOP_MAX_COUNT} texts of 1 to {STOP_MAX_CHARS} characters.",
            param="options.stop",
            hint="The answer ends before the first of these texts.",
        )
    return tuple(words)


def parse_keep_alive(value: Any) -> KeepAlive | None:
    """Seconds or a Go duration ('5m', '1h30m'), as Ollama takes it. Raises InvalidOption."""
    if isinstance(value, str) and len(value) <= KEEP_ALIVE_MAX_CHARS and KEEP_ALIVE.fullmatch(value):
        if not value.lstrip("-").isdigit():
            return value
        value = int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= KEEP_ALIVE_MAX_SECONDS):
        return value
    raise InvalidOption(f"keep_alive {KEEP_ALIVE_SAYS.words}", param="keep_alive", hint=KEEP_ALIVE_SAYS.hint)
