"""Facts as values: a `Note` says by code and values what happened; the English sentence for each code is written here and nowhere else.

No code reads a sentence back. The page has the words of its languages for the same codes; the command line prints `Note.text`.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Value: TypeAlias = int | float | str | tuple[str, ...]
Sentence: TypeAlias = str | Callable[[Mapping[str, Any]], str]
"""A template, or a function of the values. `{count:turn|turns}` chooses a word by number, `{known:, }` joins names with commas (without
it with "or"), `{what=The body}` has what stands there where there is no such value."""
Told: TypeAlias = tuple[Sentence, Sentence | None]
"""Of an error, what went wrong and what to do; None where that is what the error's class says."""


@dataclass(frozen=True, slots=True)
class Note:
    """One fact that a person should know: a change made to an image, a wish that could not be met, a warning, a reason.

    Attributes:
        code: stable and machine-readable; a key of `SENTENCES`.
        values: the numbers and names in it.
    """

    code: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.code, tuple(self.values.items())))

    @property
    def text(self) -> str:
        """The fact as an English sentence."""
        return sentence(self.code, self.values)

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, roughly."""
        return len(self.code) + sum(len(name) + len(str(value).encode()) for name, value in self.values.items())

    def to_json(self) -> dict[str, Any]:
        """Without the sentence, for storage and between processes."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in self.values.items()}
        return {"code": self.code, "values": values}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Note:
        values = {name: tuple(given) if isinstance(given, list) else given for name, given in value["values"].items()}
        return cls(value["code"], values)


def note(code: str, **values: Value) -> Note:
    return Note(code, values)


def sentence(code: str, values: Mapping[str, Any]) -> str:
    """The sentence for a code; the code itself where there is none, as a note from a newer gateway may have."""
    return worded(SENTENCES.get(code, code), values)


def worded(known: Sentence, values: Mapping[str, Any]) -> str:
    lenient = _Lenient(values)
    return known(lenient) if callable(known) else _FORMATTER.vformat(known, (), lenient)


class _Lenient(dict[str, Any]):
    """Values that may be missing, in a note that came with an imported session."""

    def __missing__(self, name: str) -> str:
        return "?"


class _Formatter(string.Formatter):
    """Adds what `Sentence` tells of templates."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        name, _, otherwise = field_name.partition("=")
        return kwargs.get(name, otherwise) if otherwise else kwargs[name], name

    def format_field(self, value: Any, format_spec: str) -> str:
        one, bar, many = format_spec.partition("|")
        if bar:
            return f"{value} {one if value == 1 else many}"
        if isinstance(value, tuple | list):
            return (format_spec or " or ").join(map(str, value))
        return value if isinstance(value, str) else format(value, format_spec)


_FORMATTER = _Formatter()


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _dropped(values: Mapping[str, Any]) -> str:
    counts = (values["turns"], "old turn", "old turns"), (values["images"], "image", "images")
    what = " and ".join(_counted(count, one, many) for count, one, many in counts if count)
    summary = " A summary by the model takes their place." if values.get("summarised") else ""
    return f"Dropped {what} to fit the context.{summary}"


def _reloaded(values: Mapping[str, Any]) -> str:
    reason, took = values["reason"], values.get("last_load_ms")
    why = sentence(reason if reason in RELOADS else "model_not_loaded", values)
    return why + (f" The last load took {took / 1000:.1f} s." if isinstance(took, int | float) else "")


def _option_changed(values: Mapping[str, Any]) -> str:
    before = f" from {values['old']}" if "old" in values else ""
    return f"{values['option']} changes{before} to {values['new']}, so the model is loaded again."


def _visual_tokens(values: Mapping[str, Any]) -> str:
    if "tokens" not in values:
        return f"Sent one square instead of {values['wanted']} tokens: the token count of this model's images is not known."
    return f"{values['tokens']} tokens per image instead of {values['wanted']}."


RELOADS = ("model_not_loaded", "option_changed", "model_loading", "engine_restarts", "num_ctx_released")
"""Why a model is loaded."""
ENGINES = {"ollama": "Ollama", "openai": "The OpenAI-compatible server", "embedded": "The embedded engine"}


def _engine(values: Mapping[str, Any]) -> str:
    engine = str(values["engine"])
    return f"{ENGINES.get(engine, engine)} {values.get('version', '')}".strip()


def absent(values: Mapping[str, Any]) -> str:
    """Which engines do not answer, and which have no model that can see."""
    silent, blind = (names if isinstance(names := values.get(name), tuple) else () for name in ("silent", "blind"))
    return "".join(
        (
            *(f" {ENGINES.get(name, name)} does not answer." for name in silent),
            *(f" {ENGINES.get(name, name)} is there but has no model that can see." for name in blind),
        )
    )


def _answers(why: str) -> Sentence:
    return lambda values: f"{_engine(values)} answers with {values['model']}: {why}.{absent(values)}"


SENTENCES: dict[str, Sentence] = {
    # What was done to an image: to its file ...
    "decoded": "Decoded {format} of {width}x{height} pixels.",
    "rotated": "Rotated {degrees} degrees.",
    "rotated_and_mirrored": "Rotated {degrees} degrees and mirrored.",
    "mirrored": "Mirrored.",
    "flipped": "Flipped upside down.",
    "rotated_by_hand": "Rotated {degrees} degrees by hand.",
    "first_frame": "Kept only the first frame of an animation.",
    "first_page": "Kept only the first of several pages.",
    "main_image": "Kept only the main image of several.",
    "exif_unreadable": "Ignored unreadable EXIF data.",
    "gps_removed": "Removed the GPS position.",
    "metadata_removed": "Removed metadata.",
    "eight_bit": "Converted {bits} bits per channel to 8.",
    "eight_bit_stretched": "Converted {bits} bits per channel to 8 and stretched them to the full range.",
    "lab_to_srgb": "Converted Lab to sRGB.",
    "cmyk_to_srgb": "Converted CMYK to sRGB.",
    "profile_broken": "Ignored a broken colour profile.",
    "profile_to_srgb": "Converted the colour profile {profile} to sRGB.",
    "white_ground": "Made transparent parts white.",
    "kept_as": "Converted {original} to {format}.",
    "kept_smaller": "Shrunk from {from_width}x{from_height} to {width}x{height}.",
    "kept_larger": "Enlarged from {from_width}x{from_height} to {width}x{height}.",
    "sheet": "Laid {count:image|images} on one contact sheet.",
    # ... and on its way to a model.
    "overview": "Made an overview of the whole image.",
    "region": "Cut out {width}x{height} pixels at {x:.0%} from the left and {y:.0%} from the top.",
    "shrunk": "Shrunk from {from_width}x{from_height} to {width}x{height}.",
    "enlarged": "Enlarged from {from_width}x{from_height} to {width}x{height}.",
    "stretched": "Stretched from {from_width}x{from_height} to {width}x{height}.",
    "padded": "Padded to {width}x{height}.",
    "cut": "Cut into {columns}x{rows} tiles of {width}x{height}.",
    "encoded": "Encoded as {format}: {count:file|files} of {kilobytes:.1f} kB.",
    "tokens": "{tokens} tokens, {label}.",
    "tokens_unknown": "Only the engine knows the token count.",
    # Wishes for an image that could not be met.
    "image_size_adjusted": "{width}x{height} pixels instead of {wanted_width}x{wanted_height}.",
    "num_visual_tokens_adjusted": _visual_tokens,
    "max_image_tokens_adjusted": "{tokens} tokens, the fewest possible for this image, instead of at most {wanted}.",
    "image_cost_unknown": "Ignored {field}: the token count of this model's images is not known.",
    "detail_auto_context": "{tokens} tokens instead of {full}: more would take too much of the {limit} tokens of context.",
    "detail_auto_slow": "{tokens} tokens instead of {full}: reading {largest} tokens takes about {seconds} s. Send detail high for more.",
    "detail_auto_unmeasured": "{tokens} tokens instead of {full}: the speed of this model is not measured yet. Send detail high for more.",
    "sight_ignored": "Ignored {fields}: the question has no image. PATCH /sessions/{{id}} changes earlier ones.",
    "sight_ignored_on_sheet": "Ignored {fields}: images on one sheet have none of their own.",
    # Warnings about images.
    "first_frame_only": "Only the first frame or page of a file is used.",
    "contact_sheet": "{model} takes one image at a time, so the {count} images go on one sheet, numbered from 1.",
    "image_left_out": "{model} takes no more images at once: left out {count:image|images} of unanswered questions.",
    "image_ignored": "The model seems not to have seen the image: beyond its text the prompt has {surplus} tokens, not about {expected}.",
    # Warnings about the context and the engine.
    "context_trimmed": _dropped,
    "context_full": "The answer was cut off: all {limit} tokens of context are used. Use a larger num_ctx or a new session.",
    "num_ctx_adjusted": "num_ctx is {num_ctx} instead of {wanted}.",
    "num_ctx_grown": "num_ctx grew from {old} to {new} tokens; the model is loaded again.",
    "limit_assumed": "The engine reports its context only once the model is loaded; {limit} tokens are assumed.",
    "option_ignored": "Ignored {option}: this engine or this model does not have it.",
    "model_reload": _reloaded,
    # Why a model is loaded.
    "model_not_loaded": "{model} is not loaded yet.",
    "option_changed": _option_changed,
    "model_loading": "{model} is being loaded.",
    "engine_restarts": "The engine ended and is started again.",
    "num_ctx_released": "The model is loaded again with its own num_ctx: it runs with {old}, which an earlier request asked for.",
    # Why a model answers where none is named, or none does.
    "default_unknown": "No engine has been asked yet.",
    "default_asked_for": "{model} answers because the settings ask for it.",
    "default_not_there": "{model} was asked for, but no engine has it.",
    "default_file": "{model} answers because its file was given.",
    "default_only_one": _answers("it is the one model there that can see"),
    "default_loaded": _answers("it is loaded already"),
    "default_installed": _answers("it is installed"),
    "default_smallest": _answers("it is the smallest one there that can see"),
    "default_none": lambda values: f"No engine has a model that can see.{absent(values)}",
    # Why nothing was read ahead, or not all.
    "read_ahead_off": "Reading ahead is switched off (the setting read_ahead).",
    "read_ahead_nothing_to_read": "There is neither an image nor an earlier turn.",
    "read_ahead_text_first": "This model's template puts the question before the image.",
    "read_ahead_unloaded": "The model is unloaded after each answer (keep_alive 0), so nothing read now would be kept.",
    "read_ahead_session_busy": "The session is answering a question.",
    "read_ahead_answering": "The engine is answering questions.",
    "read_ahead_question": "A question went first.",
    "read_ahead_newer": "A newer request to read ahead took its place.",
}
