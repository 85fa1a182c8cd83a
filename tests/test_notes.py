"""Facts as values, and their English sentences. No other test looks at the wording."""

from __future__ import annotations

import ast
import json
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_gateway.notes import SENTENCES, Note, Value, note, sentence

ROOT = Path(__file__).parents[1]
CHOSEN_WHERE_IT_HAPPENS = {
    *("first_frame", "first_page", "main_image", "kept_smaller", "kept_larger"),
    *("stretched", "shrunk", "enlarged", "model_reload"),
    *(code for code in SENTENCES if code.startswith("read_ahead_")),
}
"""Codes that are not written out in a call of `note`."""
TEXTS = [
    (note("rotated", degrees=90), "Rotated 90 degrees."),
    (note("sheet", count=1), "Laid 1 image on one contact sheet."),
    (note("sheet", count=3), "Laid 3 images on one contact sheet."),
    (note("region", x=0.25, y=0.5, width=1512, height=756), "Cut out 1512x756 pixels at 25% from the left and 50% from the top."),
    (note("encoded", format="PNG", count=1, bytes=91234, kilobytes=91.234), "Encoded as PNG: 1 file of 91.2 kB."),
    (note("num_visual_tokens_adjusted", tokens=576, wanted=144), "576 tokens per image instead of 144."),
    (
        note("num_visual_tokens_adjusted", wanted=144),
        "Sent one square instead of 144 tokens: the token count of this model's images is not known.",
    ),
    (
        note("sight_ignored", fields=("detail", "region")),
        "Ignored detail or region: the question has no image. PATCH /sessions/{id} changes earlier ones.",
    ),
    (note("context_trimmed", turns=1, images=0, summarised=0), "Dropped 1 old turn to fit the context."),
    (
        note("context_trimmed", turns=39, images=2, summarised=1),
        "Dropped 39 old turns and 2 images to fit the context. A summary by the model takes their place.",
    ),
    (note("option_changed", option="num_ctx", old=4096, new=8192), "num_ctx changes from 4096 to 8192, so the model is loaded again."),
    (note("option_changed", option="num_gpu", new=0), "num_gpu changes to 0, so the model is loaded again."),
    (
        note("model_reload", reason="option_changed", option="num_ctx", old=4096, new=8192, last_load_ms=2340.0),
        "num_ctx changes from 4096 to 8192, so the model is loaded again. The last load took 2.3 s.",
    ),
    (note("model_reload", reason="model_not_loaded", model="llava:7b"), "llava:7b is not loaded yet."),
]
QUICK = (
    *("tests/context", "tests/sessions/test_session.py", "tests/gateway/test_gateway.py", "tests/gateway/test_attachments.py"),
    *("tests/gateway/test_summary.py", "tests/images/test_anyres.py", "tests/images/test_auto.py", "tests/images/test_steps.py"),
    *("tests/api/test_ask.py", "tests/api/test_errors.py", "tests/api/test_images.py", "tests/api/test_view.py"),
    *("tests/api/test_read_ahead.py", "tests/cli/test_ask.py::test_a_phone_image_is_read_upright"),
)


@pytest.mark.wording
@pytest.mark.parametrize(("fact", "text"), TEXTS, ids=lambda value: value.code if isinstance(value, Note) else "")
def test_a_fact_is_said_in_english(fact: Note, text: str) -> None:
    assert fact.text == text


@pytest.mark.wording
@pytest.mark.parametrize("code", SENTENCES)
def test_every_sentence_ends_and_speaks_of_images(code: str) -> None:
    text = sentence(code, {"reason": "model_not_loaded"})
    assert text.endswith(".")
    assert "image" not in text


@pytest.mark.wording
def test_the_suite_passes_whatever_the_sentences_say() -> None:
    """A part of it that is quick and goes through every layer; `make sentences` takes all of it."""
    command = (sys.executable, "-m", "pytest", "--other-words", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *QUICK)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_every_code_has_a_sentence_and_every_sentence_a_use() -> None:
    written = {code for path in (ROOT / "src/llava_gateway").rglob("*.py") for code in codes_in(path)}
    assert written | CHOSEN_WHERE_IT_HAPPENS == set(SENTENCES)


def test_a_code_without_a_sentence_is_said_as_it_stands() -> None:
    """As in an exported session of a newer gateway."""
    assert note("of_a_newer_gateway", count=3).text == "of_a_newer_gateway"


@pytest.mark.parametrize("value", [None, "model_reload", ("a", "b"), 2**53, -0.5], ids=str)
def test_values_that_are_missing_or_odd_break_no_sentence(value: Value | None) -> None:
    """As in an exported session that somebody changed."""
    names = {name for template in SENTENCES.values() if isinstance(template, str) for name in placeholders(template)}
    names |= {"turns", "images", "summarised", "reason", "last_load_ms", "old", "new", "option"}
    for code in SENTENCES:
        assert Note(code, {} if value is None else dict.fromkeys(names, value)).text


@pytest.mark.parametrize("fact", [fact for fact, _ in TEXTS], ids=lambda fact: fact.code)
def test_a_fact_survives_json(fact: Note) -> None:
    again = Note.from_json(json.loads(json.dumps(fact.to_json())))
    assert again == fact
    assert hash(again) == hash(fact)


def test_its_size_counts_names_and_values() -> None:
    assert note("ab", name="é").size == 2 + 4 + 2


def placeholders(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def codes_in(path: Path) -> Iterator[str]:
    """The codes that a module gives to `note`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
