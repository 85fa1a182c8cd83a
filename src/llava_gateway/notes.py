"""Facts as values: a `Note` has a code and values; this module has the English sentence for each code, and no other module does.

No code parses a sentence. The page has its own words for the same codes in each language; the command line prints `Note.text`.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Value: TypeAlias = int | float | str | tuple[str, ...]
Sentence: TypeAlias = str | Callable[[Mapping[str, Any]], str]
"""A template, or a function of the values. `{count:turn|turns}` chooses a word by number, `{known:, }` joins names with commas (without
a format with "or"), `{what=The body}` inserts "The body" if there is no such value.
"""
ErrorText: TypeAlias = tuple[Sentence, Sentence | None]
"""The message and the hint of an error. If the hint is None, that of the error's class is used."""


@dataclass(frozen=True, slots=True)
class Note:
    """A fact for the user: a change to an image, an unmet wish, a warning, a reason.

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
        """The approximate memory that it takes, in bytes."""
        return len(self.code) + sum(len(name) + len(str(value).encode()) for name, value in self.values.items())

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON without the sentence, for storage and other processes."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in self.values.items()}
        return {"code": self.code, "values": values}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Note:
        values = {name: tuple(given) if isinstance(given, list) else given for name, given in value["values"].items()}
        return cls(value["code"], values)


def note(code: str, **values: Value) -> Note:
    return Note(code, values)


def sentence(code: str, values: Mapping[str, Any]) -> str:
    """Return the sentence for a code; the code itself if it is unknown, as in a note from a newer gateway."""
    return format_sentence(SENTENCES.get(code, code), values)


def format_sentence(known: Sentence, values: Mapping[str, Any]) -> str:
    lenient = _Lenient(values)
    return known(lenient) if callable(known) else _FORMATTER.vformat(known, (), lenient)


class _Lenient(dict[str, Any]):
    """Values of a note, of which some may be missing in an imported session."""

    def __missing__(self, name: str) -> str:
        return "?"


class _Formatter(string.Formatter):
    """Formats the templates that `Sentence` describes."""

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
    return f"{values['option']} changes{before} to {values['new']}, so the model is reloaded."


def _visual_tokens(values: Mapping[str, Any]) -> str:
    if "tokens" not in values:
        return f"Sent one square instead of {values['wanted']} tokens: the token count of this model's images is not known."
    return f"Used {values['tokens']} tokens per image instead of {values['wanted']}."


RELOADS = ("model_not_loaded", "option_changed", "model_loading", "engine_restarts", "num_ctx_released")
"""Why a model is loaded."""
INSTALL_MCP = "pip install 'llava-gateway[mcp]'"
INSTALL_EMBEDDED = "pip install 'llava-gateway[embedded]'"
"""The embedded engine is an extra of our own package, and the only engine that comes with one."""
ENGINES = {"ollama": "Ollama", "openai": "The OpenAI-compatible server", "embedded": "The embedded engine"}


def _engine(values: Mapping[str, Any]) -> str:
    engine = str(values["engine"])
    return f"{ENGINES.get(engine, engine)} {values.get('version', '')}".strip()


def absent(values: Mapping[str, Any]) -> str:
    """List the engines that do not answer, those that are not installed, and those without a model that can see."""
    kinds = ("silent", "uninstalled", "blind")
    silent, uninstalled, blind = (names if isinstance(names := values.get(kind), tuple) else () for kind in kinds)
    return "".join(
        (
            *(f" {ENGINES.get(name, name)} does not answer." for name in silent),
            *(f" {ENGINES.get(name, name)} is not installed: `{INSTALL_EMBEDDED}` installs it." for name in uninstalled),
            *(f" {ENGINES.get(name, name)} is running but has no model that can see." for name in blind),
        )
    )


def _answers(why: str) -> Sentence:
    return lambda values: f"{_engine(values)} answers with {values['model']}: {why}.{absent(values)}"


SENTENCES: dict[str, Sentence] = {
    # Changes to an image: to its file ...
    "decoded": "Decoded {format} of {width}x{height} pixels.",
    "raw_preview": "Used the preview of {width}x{height} pixels from the camera raw file.",
    "svg_drawn": "Drew the SVG with {width}x{height} pixels.",
    "rotated": "Rotated {degrees} degrees.",
    "rotated_and_mirrored": "Rotated {degrees} degrees and mirrored.",
    "mirrored": "Mirrored.",
    "flipped": "Flipped upside down.",
    "rotated_by_hand": "Rotated {degrees} degrees by hand.",
    "first_frame": "Kept only the first frame of an animation.",
    "first_page": "Kept only the first of several pages.",
    "main_image": "Kept only the main image of several.",
    "page": "Page {page} of {count}.",
    "frame": "Frame {frame} of {count}, counted from 0.",
    "frame_at": "Frame {frame} of {count}, counted from 0, at {seconds:.1f} s.",
    "exif_unreadable": "Ignored unreadable EXIF data.",
    "gps_removed": "Removed the GPS position.",
    "metadata_removed": "Removed metadata.",
    "eight_bit": "Converted {bits:bit|bits} per channel to 8.",
    "eight_bit_stretched": "Converted {bits:bit|bits} per channel to 8 and stretched them to the full range.",
    "lab_to_srgb": "Converted Lab to sRGB.",
    "cmyk_to_srgb": "Converted CMYK to sRGB.",
    "profile_broken": "Ignored a broken colour profile.",
    "hdr_to_sdr": "Reduced the brightness range from HDR ({transfer}) to that of usual images.",
    "square_pixels": "Stretched to {width}x{height}, because the file's pixels are not square.",
    "profile_to_srgb": "Converted the colour profile {profile} to sRGB.",
    "white_ground": "Filled transparent parts with white.",
    "gray_ground": "Filled transparent parts with gray, because white would have hidden something.",
    "ground": "Filled transparent parts with {colour}.",
    "transparency_ignored": "Ignored the transparency, which would have hidden the whole image.",
    "kept_as": "Converted {original} to {format}.",
    "kept_smaller": "Shrunk from {from_width}x{from_height} to {width}x{height}.",
    "kept_larger": "Enlarged from {from_width}x{from_height} to {width}x{height}.",
    "sheet": "Placed {count:image|images} on one contact sheet.",
    # ... and before it is sent to a model.
    "overview": "Made an overview of the whole image.",
    "region": "Cut out {width}x{height} pixels at {x:.0%} from the left and {y:.0%} from the top.",
    "strip": "Took part {number} of {count}: {width}x{height} pixels at {x:.0%} from the left and {y:.0%} from the top.",
    "shrunk": "Shrunk from {from_width}x{from_height} to {width}x{height}.",
    "enlarged": "Enlarged from {from_width}x{from_height} to {width}x{height}.",
    "stretched": "Stretched from {from_width}x{from_height} to {width}x{height}.",
    "padded": "Padded to {width}x{height}.",
    "cut": "Cut into {columns}x{rows} tiles of {width}x{height}.",
    "encoded": "Encoded as {format}: {count:file|files} of {kilobytes:.1f} kB.",
    "tokens": "{tokens} tokens, {label}.",
    "tokens_unknown": "Only the engine knows the token count.",
    # Wishes for an image that could not be met.
    "image_size_adjusted": "Used {width}x{height} pixels instead of {wanted_width}x{wanted_height}.",
    "num_visual_tokens_adjusted": _visual_tokens,
    "max_image_tokens_adjusted": "Used {tokens} tokens, the minimum for this image, instead of at most {wanted}.",
    "image_cost_unknown": "Ignored {field}: the token count of this model's images is not known.",
    "detail_auto_context": "Used {tokens} tokens instead of {full}. More would take too much of the {limit} tokens of context.",
    "detail_auto_slow": (
        "Used {tokens} tokens instead of {full}. Reading {largest} tokens would take about {seconds} s. Send detail high for more."
    ),
    "detail_auto_unmeasured": (
        "Used {tokens} tokens instead of {full}. The speed of this model is not known yet. Send detail high for more."
    ),
    "long_image": (
        "This image of {width}x{height} pixels is so long that the model can't read text less than about {text} pixels high."
        " Send detail high: in {parts} parts, it can read text {parts_text} pixels high."
    ),
    "long_image_parts": (
        "Sent this image of {width}x{height} pixels in {parts} parts. Text less than about {text} pixels high is still too small."
        " A larger num_ctx allows more parts. Or send a region."
    ),
    "long_image_whole": (
        "This image of {width}x{height} pixels is so long that the model can't read text less than about {text} pixels high."
        " Send a region of it."
    ),
    "sight_ignored": "Ignored {fields}: the question has no image. Change earlier images with PATCH /sessions/{{id}}.",
    "sight_ignored_on_sheet": "Ignored {fields}: images on one sheet can't have settings of their own.",
    # Warnings about images.
    "pages_used": "Used {shown:page|pages} of {count}: {pages}. Choose others with `pages`.",
    "frames_used": "Used {shown:frame|frames} of {count}, counted from 0: {pages}. Choose others with `frames`.",
    "animation_sheet": "Used {shown:frame|frames} of {count} of an animation, counted from 0: {frames}. They are placed on one sheet.",
    "animation_cut": "The animation is cut off. It was read as one with {count:frame|frames}.",
    "page_unreadable": "Left out page {page}, which can't be read.",
    "text_layer_cut": "Left out some of the text of the document to fit the context. The images of its pages are complete.",
    "pdf_fonts_missing": "The text of page {page} was not drawn: its fonts are neither in the PDF nor installed here.",
    "svg_references_left_out": "The drawing lacks {count:image|images} that its file only refers to. An image file may not open others.",
    "svg_html_left_out": "The drawing lacks its parts in HTML (foreignObject).",
    "svg_fonts_missing": "No font here has these characters of the drawing: {characters}.",
    "selection_ignored": "Ignored {field} for a file in the format {format}.",
    "end_missing": "The file lacks its end marker, but the whole image is there.",
    "checksum_wrong": "The file has a wrong checksum ({chunks}), but the whole image could be read.",
    "image_incomplete": "The file is cut off: {percent} % of the image is there. The rest was left white.",
    "image_incomplete_about": "The file is cut off: about {percent} % of the image is there.",
    "first_frame_only": "Used only the first frame or page of a file.",
    "contact_sheet": "{model} takes one image at a time, so the {count} images are placed on one sheet and numbered from 1.",
    "image_left_out": "{model} can't take more images at once. Left out {count:image|images} from unanswered questions.",
    "images_unseen": "{model} can't see images. It answers from what was said about {count:image|images} in this session.",
    "context_images_gone": "Left out {count:image|images} of earlier questions, which are no longer stored.",
    "image_ignored": (
        "The model seems not to have seen the image: the prompt has {surplus} tokens beyond its text instead of about {expected}."
    ),
    # Warnings about the context and the engine.
    "context_trimmed": _dropped,
    "context_full": "The answer was cut off: all {limit} tokens of context are used. Use a larger num_ctx or start a new session.",
    "format_cut": "The answer was cut off before its JSON was complete. Raise num_predict, or ask for less.",
    "num_ctx_adjusted": "num_ctx is {num_ctx} instead of {wanted}.",
    "num_ctx_grown": "num_ctx grew from {old} to {new} tokens, so the model is reloaded.",
    "limit_assumed": "The engine reports its context only once the model is loaded. Until then, {limit} tokens are assumed.",
    "fields_ignored": "Ignored {fields}: this gateway has no such field.",
    "option_ignored": "Ignored {option}: this engine or this model does not support it.",
    "model_reload": _reloaded,
    # Why a model is loaded.
    "model_not_loaded": "{model} is not loaded yet.",
    "option_changed": _option_changed,
    "model_loading": "{model} is loading.",
    "engine_restarts": "The engine stopped unexpectedly and is restarting.",
    "num_ctx_released": "The model is reloaded with its own num_ctx. An earlier request had set it to {old}.",
    # Why a model answers if the request names none, or why none does.
    "default_unknown": "No engine has been asked yet.",
    "default_asked_for": "{model} answers because the settings name it.",
    "default_not_there": "The settings name {model}, but no engine has it.",
    "default_file": "{model} answers because its file was given.",
    "default_only_one": _answers("it is the only model there that can see"),
    "default_loaded": _answers("it is already loaded"),
    "default_installed": _answers("it is installed"),
    "default_smallest": _answers("it is the smallest model there that can see"),
    "default_none": lambda values: f"No engine has a model that can see.{absent(values)}",
    # Why nothing, or not everything, was read ahead.
    "read_ahead_off": "Read-ahead is switched off (setting read_ahead).",
    "read_ahead_nothing_to_read": "There is neither an image nor an earlier turn to read.",
    "read_ahead_text_first": "This model's template puts the question before the image, so nothing can be read ahead.",
    "read_ahead_unloaded": "The model is unloaded after each answer (keep_alive 0), so nothing read now would be kept.",
    "read_ahead_session_busy": "The session is answering a question.",
    "read_ahead_answering": "The engine is answering questions.",
    "read_ahead_question": "A question was answered first.",
    "read_ahead_newer": "A newer read-ahead request took its place.",
}
