"""The options of a request to Ollama's API. Those that we don't know are ignored with a warning, as Ollama ignores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_gateway.api.ollama.bodies import KeepAlive
from llava_gateway.api.options import parse_keep_alive, parse_options
from llava_gateway.notes import Note, note
from llava_gateway.options import OPTION_LIMITS, Options
from llava_gateway.settings import Settings

SEEDS = 2**32
"""llama.cpp keeps this many different seeds; Ollama passes any whole number on to it."""
MOST_NAMED = 20


def options_of(given: Mapping[str, Any], settings: Settings) -> tuple[Options, tuple[Note, ...]]:
    """Check the options. Returns them, and a warning for each that is ignored. Raises InvalidOption."""
    known = {name: _as_meant(name, value) for name, value in given.items() if name in OPTION_LIMITS or name == "stop"}
    ignored = [name for name in given if name not in known and given[name] is not None][:MOST_NAMED]
    return parse_options(known, settings.preset, settings), tuple(note("option_ignored", option=name[:64]) for name in ignored)


def keep_alive_of(given: KeepAlive) -> str | int | None:
    """Check a keep_alive. Raises InvalidOption."""
    if isinstance(given, float):
        return parse_keep_alive(int(given) if given.is_integer() else f"{given:f}s")
    return parse_keep_alive(given)


def _as_meant(name: str, value: Any) -> Any:
    """Return a value as Ollama means it, where our own API means something else or rejects it."""
    if type(value) is int:
        if name == "num_predict" and value <= 0:  # 0 and all negative numbers mean no limit
            return -1
        if name == "seed" and value != -1:
            return value % SEEDS
    if name == "stop" and isinstance(value, list):
        return [text for text in value if text != ""]
    return value
