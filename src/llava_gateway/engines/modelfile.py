"""Parses a Modelfile, Ollama's recipe for a model (pure). The rules are those of Ollama's parser/parser.go.

FROM llava:7b                  a model, or files: several lines of FROM for text model and projector
PARAMETER temperature 0.2      typed; `stop` may come several times
TEMPLATE \"\"\"...\"\"\"             one pair of quotes, or three for text that has some; both may span lines
SYSTEM, MESSAGE user|assistant|system, ADAPTER, LICENSE
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from llava_gateway.errors import FileFault

ParameterValue: TypeAlias = int | float | bool | str | tuple[str, ...]

MOST_INSTRUCTIONS = 1000
"""Our own limit; Ollama has none. Every conversation contains each MESSAGE, so a model with more of them is of no use."""
_WHOLE = frozenset(
    {"num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"}
)
_REAL = frozenset({"top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"})
_LINE = re.compile(r"[ \t]*(?P<instruction>[A-Za-z]*)(?P<space>[ \t]*)(?P<rest>.*)", re.DOTALL)
_WORD = re.compile(r"(?P<word>[A-Za-z0-9_]+)[ \t]+(?P<rest>.*)", re.DOTALL)
_KNOWN = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "MESSAGE", "ADAPTER", "LICENSE")


class ModelfileError(FileFault):
    """An error in a Modelfile and its line, for the person who wrote the file."""


@dataclass(frozen=True, slots=True)
class ExampleMessage:
    """A message at the beginning of every conversation with the model."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Modelfile:
    """A parsed Modelfile. `sources` are model names or file paths, as written; `stop` among the `parameters` is a tuple."""

    sources: tuple[str, ...]
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    template: str | None = None
    system: str | None = None
    messages: tuple[ExampleMessage, ...] = ()
    adapters: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()


def parse_modelfile(text: str) -> Modelfile:
    """Parse a Modelfile. If an instruction that may appear once (TEMPLATE, SYSTEM, a parameter) is repeated, the last one counts, as in
    Ollama.

    Raises ModelfileError.
    """
    sources: list[str] = []
    adapters: list[str] = []
    licenses: list[str] = []
    messages: list[ExampleMessage] = []
    parameters: dict[str, ParameterValue] = {}
    stops: list[str] = []
    once: dict[str, str] = {}
    for line, instruction, word, value in _statements(text):
        match instruction:
            case "FROM":
                sources.append(value)
            case "ADAPTER":
                adapters.append(value)
            case "LICENSE":
                licenses.append(value)
            case "MESSAGE":
                if word not in ("system", "user", "assistant"):
                    raise ModelfileError("modelfile_role", line=line, role=word[:40])
                messages.append(ExampleMessage(cast("Literal['system', 'user', 'assistant']", word), value))
            case "PARAMETER" if word == "stop":
                stops.append(value)
            case "PARAMETER":
                parameters[word] = _parameter(word, value, line)
            case _:
                once[instruction] = value
    if stops:
        parameters["stop"] = tuple(stops)
    if not sources:
        raise ModelfileError("modelfile_no_from")
    return Modelfile(
        tuple(sources), parameters, once.get("TEMPLATE"), once.get("SYSTEM"), tuple(messages), tuple(adapters), tuple(licenses)
    )


def _statements(text: str) -> list[tuple[int, str, str, str]]:
    """List (line number, instruction, its first word if it has one, value) for every statement."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[tuple[int, str, str, str]] = []
    number = 0
    while number < len(lines):
        line, number = lines[number], number + 1
        begin = number
        if not line.strip() or line.lstrip(" \t").startswith("#"):
            continue
        instruction, rest = _instruction(line, begin)
        word = ""
        if instruction in ("PARAMETER", "MESSAGE"):
            if not (parts := _WORD.fullmatch(rest)):
                raise ModelfileError("modelfile_name_and_value", line=begin, instruction=instruction)
            word, rest = parts["word"], parts["rest"]
        if (value := _unquote(rest.strip())) is None:
            end = _closing(lines, number, rest)
            value = _unquote("\n".join([rest, *lines[number:end]]).strip()) if end else None
            if end is None or value is None:
                raise ModelfileError("modelfile_quote", line=begin)
            number = end
        if not value and instruction == "FROM":
            raise ModelfileError("modelfile_from", line=begin)
        if len(found) == MOST_INSTRUCTIONS:
            raise ModelfileError("modelfile_instructions", line=begin, most=MOST_INSTRUCTIONS)
        found.append((begin, instruction, word, value))
    return found


def _instruction(line: str, number: int) -> tuple[str, str]:
    """Split a line into (instruction in capitals, the rest)."""
    parts = _LINE.fullmatch(line)
    name = parts["instruction"].upper() if parts else ""
    if name not in _KNOWN or not parts:
        first = line.split()[0][:40]
        raise ModelfileError("modelfile_instruction", line=number, word=first, known=_KNOWN)
    if not parts["space"]:
        raise ModelfileError("modelfile_value", line=number, instruction=name)
    return name, parts["rest"]


def _closing(lines: Sequence[str], number: int, rest: str) -> int | None:
    """Return the number of the line that ends with the closing quote for `rest`, counted from `number`; None if the quote never closes."""
    quote = '"""' if rest.lstrip().startswith('"""') else '"'
    return next((index + 1 for index in range(number, len(lines)) if lines[index].rstrip().endswith(quote)), None)


def _unquote(value: str) -> str | None:
    """Return the text inside the quotes; `value` itself if it has none; None if the closing quote is still missing."""
    for quote in ('"""', '"'):
        if value.startswith(quote):
            closed = len(value) >= 2 * len(quote) and value.endswith(quote)
            return value[len(quote) : -len(quote)] if closed else None
    return value


def _parameter(name: str, value: str, line: int) -> ParameterValue:
    try:
        if name in _WHOLE:
            return int(value)
        if name in _REAL:
            return _finite(float(value))
        if name == "use_mmap":
            return {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError):
        reason = "modelfile_whole_number" if name in _WHOLE else "modelfile_number" if name in _REAL else "modelfile_boolean"
        raise ModelfileError(reason, line=line, name=name, value=value[:40]) from None
    known = tuple(sorted(_WHOLE | _REAL | {"stop", "use_mmap"}))
    raise ModelfileError("modelfile_parameter", line=line, name=name[:40], known=known)


def _finite(number: float) -> float:
    """Return the number, unless it is NaN or Inf: Go accepts these, but nothing can use them. Raises ValueError."""
    if not math.isfinite(number):
        raise ValueError(number)
    return number
