"""Modelfiles are read as Ollama reads them (parser/parser.go), with errors that say where."""

from __future__ import annotations

import pytest

from llava_gateway.engines.modelfile import MOST_INSTRUCTIONS, ExampleMessage, Modelfile, ModelfileError, parse_modelfile

WHOLE = '''\ufeff# a comment
FROM ./model.gguf
  from ./projector.gguf

TEMPLATE """{{ .System }}
USER: "{{ .Prompt }}" # no comment here
"""
SYSTEM You see images.
PARAMETER temperature 0.2
PARAMETER num_ctx 4096
PARAMETER use_mmap true
PARAMETER stop "</s>"
Parameter stop   USER:
MESSAGE user What is this?
MESSAGE assistant """A circle.
A red one."""
ADAPTER ./lora.gguf
LICENSE "MIT
and more"
'''


def test_every_instruction_is_read() -> None:
    assert parse_modelfile(WHOLE) == Modelfile(
        sources=("./model.gguf", "./projector.gguf"),
        parameters={"temperature": 0.2, "num_ctx": 4096, "use_mmap": True, "stop": ("</s>", "USER:")},
        template='{{ .System }}\nUSER: "{{ .Prompt }}" # no comment here\n',
        system="You see images.",
        messages=(ExampleMessage("user", "What is this?"), ExampleMessage("assistant", "A circle.\nA red one.")),
        adapters=("./lora.gguf",),
        licenses=("MIT\nand more",),
    )


def test_line_ends_of_every_kind_are_read_alike() -> None:
    assert parse_modelfile(WHOLE.replace("\n", "\r\n")) == parse_modelfile(WHOLE)


def test_the_last_of_what_may_stand_once_counts() -> None:
    modelfile = parse_modelfile("FROM a\nSYSTEM one\nSYSTEM two\nPARAMETER seed 1\nPARAMETER seed 2")
    assert (modelfile.system, modelfile.parameters) == ("two", {"seed": 2})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text", "plain text"),
        ("  around  ", "around"),
        ('" kept "', " kept "),
        ('"""one"""', "one"),
        ('""', ""),
        ('""""""', ""),
        ('say "hi" now', 'say "hi" now'),
        ('"""a\n\n# b\n  c """', "a\n\n# b\n  c "),
        ('"a\nb"', "a\nb"),
    ],
)
def test_quotes(value: str, text: str) -> None:
    assert parse_modelfile(f"FROM a\nSYSTEM {value}\n").system == text


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "no FROM"),
        ("SYSTEM x", None, "no FROM"),
        ("FROM a\nFORM b", 2, "'FORM' is no instruction"),
        ("FROM a\n123", 2, "'123' is no instruction"),
        ("FROM", 1, "FROM takes a value"),
        ("FROM ", 1, "name of a model or a file"),
        ("FROM a\nSYSTEM", 2, "SYSTEM takes a value"),
        ("FROM a\n\nPARAMETER temperature", 3, "a name and a value"),
        ("FROM a\nPARAMETER temperature warm", 2, "temperature takes a number, not 'warm'"),
        ("FROM a\nPARAMETER temperature nan", 2, "temperature takes a number, not 'nan'"),
        ("FROM a\nPARAMETER num_ctx 4096.5", 2, "num_ctx takes a whole number"),
        ("FROM a\nPARAMETER use_mmap maybe", 2, "true or false"),
        ("FROM a\nPARAMETER num_visual_tokens 5", 2, "no parameter 'num_visual_tokens'; known are frequency_penalty,"),
        ("FROM a\nMESSAGE robot hi", 2, "not by 'robot'"),
        (f"FROM a\nMESSAGE {'r' * 1000} hi", 2, f"not by '{'r' * 40}'"),
        (f"FROM a\nPARAMETER {'p' * 1000} 1", 2, f"no parameter '{'p' * 40}'"),
        ("FROM a\nMESSAGE user", 2, "a name and a value"),
        ('FROM a\n# x\nTEMPLATE """never\nclosed\n', 3, "never closed"),
        ('FROM a\nSYSTEM "never', 2, "never closed"),
    ],
)
def test_errors_say_where(text: str, line: int | None, says: str) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse_modelfile(text)
    assert caught.value.line == line
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"line {line}: " if line else "there")


def test_a_quote_of_many_lines_is_read_in_one_go() -> None:
    """Where each line looked at all before it, this took minutes."""
    lines = "\n" * 1_000_000
    assert parse_modelfile(f'FROM a\nSYSTEM """b{lines}c"""').system == f"b{lines}c"
    with pytest.raises(ModelfileError, match="never closed"):
        parse_modelfile(f'FROM a\nSYSTEM """b{lines}')


def test_instructions_are_counted() -> None:
    """Where each stop copied all before it, the last of these took ten seconds."""
    stops = [f"word {number}" for number in range(60_000)]
    lines = ["FROM a", "# nothing", *(f"PARAMETER stop {word}" for word in stops)]
    most = parse_modelfile("\n".join(lines[: MOST_INSTRUCTIONS + 1]))
    assert most.parameters["stop"] == tuple(stops[: MOST_INSTRUCTIONS - 1])
    with pytest.raises(ModelfileError, match=f"more than {MOST_INSTRUCTIONS:,} instructions") as caught:
        parse_modelfile("\n".join(lines))
    assert caught.value.line == MOST_INSTRUCTIONS + 2
