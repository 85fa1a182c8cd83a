"""Sampling and runner options: their names, ranges and units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling and runner options by Ollama's names; None leaves the engine's (or the Modelfile's) own default.

    Ranges and units are those of `OPTION_LIMITS`; the border (`api/native_json.py`) checks them.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    typical_p: float | None = None
    num_predict: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    num_ctx: int | None = None
    num_gpu: int | None = None

    def given(self) -> dict[str, Any]:
        """Only what is set, by name; `stop` as a list."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    def over(self, base: Options) -> Options:
        """These options where they are set, those of `base` elsewhere."""
        mine = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return replace(base, **mine)


@dataclass(frozen=True, slots=True)
class OptionLimit:
    """How an option is shown and checked. `reloads`: a change makes the engine load the model again."""

    low: float
    high: float
    unit: str
    about: str
    whole: bool = False
    reloads: bool = False


# Bounds are wide enough for every use that makes sense and narrow enough that a slip of the finger is caught at the border.
OPTION_LIMITS: Mapping[str, OptionLimit] = {
    "temperature": OptionLimit(0, 2, "", "0 always takes the likeliest word; higher is more varied"),
    "top_k": OptionLimit(0, 1000, "words", "choose among this many likeliest words; 0 means all", whole=True),
    "top_p": OptionLimit(0, 1, "", "choose among the likeliest words that together have this probability"),
    "min_p": OptionLimit(0, 1, "", "leave out words less likely than this share of the likeliest one"),
    "repeat_penalty": OptionLimit(0.5, 2, "", "above 1 discourages repeating; 1 is off"),
    "repeat_last_n": OptionLimit(-1, 32768, "tokens", "how far back repeats are looked for; -1 is the whole context", whole=True),
    "presence_penalty": OptionLimit(-2, 2, "", "above 0 discourages words that the text has already"),
    "frequency_penalty": OptionLimit(-2, 2, "", "above 0 discourages words the more often the text has them"),
    "typical_p": OptionLimit(0, 1, "", "choose among words that are about as surprising as is typical; 1 is off"),
    "num_predict": OptionLimit(-1, 131072, "tokens", "longest answer; -1 means until the model ends", whole=True),
    "seed": OptionLimit(-1, 2**32 - 1, "", "the same seed gives the same answer; -1 is a new one each time", whole=True),
    "num_ctx": OptionLimit(256, 1048576, "tokens", "context length", whole=True, reloads=True),
    "num_gpu": OptionLimit(-1, 999, "layers", "layers on the GPU; -1 lets the engine choose", whole=True, reloads=True),
}
STOP_MAX_COUNT = 16
STOP_MAX_CHARS = 256
