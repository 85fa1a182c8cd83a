"""Define the sampling and runner options with their ranges and units, and the other choices of a question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

Policy: TypeAlias = Literal["strict", "pin_images", "sliding", "summarise"]
"""What happens when a conversation no longer fits the context: reject the question; drop the oldest text but no image; drop the oldest
turns with their images; drop like pin_images, but put a summary in place of the dropped text."""
Detail: TypeAlias = Literal["auto", "low", "high"]
"""How much of an image is sent to the model."""


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling and runner options by Ollama's names; None keeps the default of the engine or the Modelfile.

    `OPTION_LIMITS` defines ranges and units; `api/native_json.py` checks them.
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
    num_thread: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that are set, by name; `stop` as a list."""
        values = ((name, getattr(self, name)) for name in _NAMES)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values if v is not None}

    @property
    def runner(self) -> Options:
        """Only the options whose change makes the engine reload the model."""
        return Options(num_ctx=self.num_ctx, num_gpu=self.num_gpu, num_thread=self.num_thread)

    def over(self, base: Options) -> Options:
        """Return these options, with the values of `base` for those that are not set."""
        if base == _NONE:
            return self
        mine = {name: value for name in _NAMES if (value := getattr(self, name)) is not None}
        return replace(base, **mine) if mine else base


_NAMES = tuple(field.name for field in fields(Options))
_NONE = Options()


@dataclass(frozen=True, slots=True)
class OptionLimit:
    """The range, unit and description of an option.

    Attributes:
        low, high: inclusive bounds.
        unit: unit to show; "" for none.
        about: description to show.
        whole: whether only whole numbers are valid.
        reloads: whether a change forces the engine to reload the model.
    """

    low: float
    high: float
    unit: str
    about: str
    whole: bool = False
    reloads: bool = False


# The bounds allow every sensible use and reject typing errors.
OPTION_LIMITS: Mapping[str, OptionLimit] = {
    "temperature": OptionLimit(0, 2, "", "0 always picks the most likely word; higher values vary more"),
    "top_k": OptionLimit(0, 1000, "words", "choose only from this many of the most likely words; 0 means all", whole=True),
    "top_p": OptionLimit(0, 1, "", "choose only from the most likely words that together reach this probability"),
    "min_p": OptionLimit(0, 1, "", "skip words whose probability is below this fraction of the highest one"),
    "repeat_penalty": OptionLimit(0.5, 2, "", "above 1 discourages repetition; 1 is off"),
    "repeat_last_n": OptionLimit(-1, 32768, "tokens", "how far to look back for repetition; -1 is the whole context", whole=True),
    "presence_penalty": OptionLimit(-2, 2, "", "above 0 discourages words that are already in the text"),
    "frequency_penalty": OptionLimit(-2, 2, "", "above 0 discourages a word each time it occurs in the text"),
    "typical_p": OptionLimit(0, 1, "", "choose only from words that are about as surprising as the average; 1 is off"),
    "num_predict": OptionLimit(-1, 131072, "tokens", "longest answer; -1 means until the model stops", whole=True),
    "seed": OptionLimit(-1, 2**32 - 1, "", "the same seed gives the same answer; -1 uses a new one each time", whole=True),
    "num_ctx": OptionLimit(256, 1048576, "tokens", "context length", whole=True, reloads=True),
    "num_gpu": OptionLimit(-1, 999, "layers", "layers that run on the GPU; -1 lets the engine decide", whole=True, reloads=True),
    "num_thread": OptionLimit(0, 1024, "threads", "processor threads; 0 lets the engine decide", whole=True, reloads=True),
}
STOP_MAX_COUNT = 16
STOP_MAX_CHARS = 256
