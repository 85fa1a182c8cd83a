"""Modelfiles are read as Ollama reads them (parser/parser.go), with errors that name the line."""

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
    ("text", "line", "reason", "values"),
    [
        ("", None, "modelfile_no_from", {}),
        ("SYSTEM x", None, "modelfile_no_from", {}),
        ("FROM a\nFORM b", 2, "modelfile_instruction", {"word": "FORM"}),
        ("FROM a\n123", 2, "modelfile_instruction", {"word": "123"}),
        ("FROM", 1, "modelfile_value", {"instruction": "FROM"}),
        ("FROM ", 1, "modelfile_from", {}),
        ("FROM a\nSYSTEM", 2, "modelfile_value", {"instruction": "SYSTEM"}),
        ("FROM a\n\nPARAMETER temperature", 3, "modelfile_name_and_value", {"instruction": "PARAMETER"}),
        ("FROM a\nPARAMETER temperature warm", 2, "modelfile_number", {"name": "temperature", "value": "warm"}),
        ("FROM a\nPARAMETER temperature nan", 2, "modelfile_number", {"name": "temperature", "value": "nan"}),
        ("FROM a\nPARAMETER num_ctx 4096.5", 2, "modelfile_whole_number", {"name": "num_ctx", "value": "4096.5"}),
        ("FROM a\nPARAMETER use_mmap maybe", 2, "modelfile_boolean", {"name": "use_mmap", "value": "maybe"}),
        ("FROM a\nPARAMETER num_visual_tokens 5", 2, "modelfile_parameter", {"name": "num_visual_tokens"}),
        ("FROM a\nMESSAGE robot hi", 2, "modelfile_role", {"role": "robot"}),
        (f"FROM a\nMESSAGE {'r' * 1000} hi", 2, "modelfile_role", {"role": "r" * 40}),
        (f"FROM a\nPARAMETER {'p' * 1000} 1", 2, "modelfile_parameter", {"name": "p" * 40}),
        ("FROM a\nMESSAGE user", 2, "modelfile_name_and_value", {"instruction": "MESSAGE"}),
        ('FROM a\n# x\nTEMPLATE """never\nclosed\n', 3, "modelfile_quote", {}),
        ('FROM a\nSYSTEM "never', 2, "modelfile_quote", {}),
    ],
)
def test_errors_say_where(text: str, line: int | None, reason: str, values: dict[str, str]) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse_modelfile(text)
    assert (caught.value.reason, caught.value.values.get("line")) == (reason, line)
    assert caught.value.values.items() >= values.items()


def test_a_quote_of_many_lines_is_read_in_one_go() -> None:
    """When each line read all lines before it again, this took minutes."""
    lines = "\n" * 1_000_000
    assert parse_modelfile(f'FROM a\nSYSTEM """b{lines}c"""').system == f"b{lines}c"
    with pytest.raises(ModelfileError) as caught:
        parse_modelfile(f'FROM a\nSYSTEM """b{lines}')
    assert caught.value.reason == "modelfile_quote"


def test_instructions_are_counted() -> None:
    """When each stop text copied all stop texts before it, the last of these took ten seconds."""
    stops = [f"word {number}" for number in range(60_000)]
    lines = ["FROM a", "# nothing", *(f"PARAMETER stop {word}" for word in stops)]
    most = parse_modelfile("\n".join(lines[: MOST_INSTRUCTIONS + 1]))
    assert most.parameters["stop"] == tuple(stops[: MOST_INSTRUCTIONS - 1])
    with pytest.raises(ModelfileError) as caught:
        parse_modelfile("\n".join(lines))
    assert caught.value.reason == "modelfile_instructions"
    assert caught.value.values == {"line": MOST_INSTRUCTIONS + 2, "most": MOST_INSTRUCTIONS}
