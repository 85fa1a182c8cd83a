"""Facts and errors as values, and their English sentences. No other test checks the wording."""

from __future__ import annotations

import ast
import json
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_gateway.api.aliases import MEANINGS
from llava_gateway.api.errors import error_body
from llava_gateway.error_sentences import ERRORS
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidEncoding,
    InvalidJSON,
    InvalidOption,
    InvalidRequest,
    ModelLacksVision,
    ModelNotFound,
    NotFound,
    UpstreamUnavailable,
)
from llava_gateway.notes import SENTENCES, Note, Value, note, sentence

ROOT = Path(__file__).parents[1]
CHOSEN_WHERE_IT_HAPPENS = {
    *("first_frame", "first_page", "main_image", "kept_smaller", "kept_larger", "pages_used", "frames_used"),
    *("stretched", "shrunk", "enlarged", "model_reload"),
    *("default_only_one", "default_loaded", "default_installed", "default_smallest", "default_none"),
    *(code for code in SENTENCES if code.startswith("read_ahead_")),
}
"""Codes that are not literals in a call of `note`."""
TEXTS = [
    (note("rotated", degrees=90), "Rotated 90 degrees."),
    (note("sheet", count=1), "Placed 1 image on one contact sheet."),
    (note("sheet", count=3), "Placed 3 images on one contact sheet."),
    (note("region", x=0.25, y=0.5, width=1512, height=756), "Cut out 1512x756 pixels at 25% from the left and 50% from the top."),
    (note("encoded", format="PNG", count=1, bytes=91234, kilobytes=91.234), "Encoded as PNG: 1 file of 91.2 kB."),
    (note("num_visual_tokens_adjusted", tokens=576, wanted=144), "Used 576 tokens per image instead of 144."),
    (
        note("num_visual_tokens_adjusted", wanted=144),
        "Sent one square instead of 144 tokens: the token count of this model's images is not known.",
    ),
    (
        note("sight_ignored", fields=("detail", "region")),
        "Ignored detail or region: the question has no image. Change earlier images with PATCH /sessions/{id}.",
    ),
    (note("context_trimmed", turns=1, images=0, summarised=0), "Dropped 1 old turn to fit the context."),
    (
        note("context_trimmed", turns=39, images=2, summarised=1),
        "Dropped 39 old turns and 2 images to fit the context. A summary by the model takes their place.",
    ),
    (note("option_changed", option="num_ctx", old=4096, new=8192), "num_ctx changes from 4096 to 8192, so the model is reloaded."),
    (note("option_changed", option="num_gpu", new=0), "num_gpu changes to 0, so the model is reloaded."),
    (
        note("model_reload", reason="option_changed", option="num_ctx", old=4096, new=8192, last_load_ms=2340.0),
        "num_ctx changes from 4096 to 8192, so the model is reloaded. The last load took 2.3 s.",
    ),
    (note("model_reload", reason="model_not_loaded", model="llava:7b"), "llava:7b is not loaded yet."),
    (
        note("default_only_one", engine="embedded", version="llama.cpp b1", model="demo", silent=("ollama",), blind=()),
        "The embedded engine llama.cpp b1 answers with demo: it is the only model there that can see. Ollama does not answer.",
    ),
]
FAULTS = [
    (
        InvalidOption(
            "option_out_of_range",
            values={"option": "top_k", "low": 0, "high": 1000, "unit": "words", "whole": 1, "given": "1.5", "about": "0 means all"},
            param="options.top_k",
        ),
        "top_k must be a whole number from 0 to 1000 words; got 1.5.",
        "top_k: 0 means all.",
    ),
    (
        InvalidOption("preset_wrong", values={"preset": "mine", "why": "unknown_option", "field": "heat", "known": ("seed", "stop")}),
        "The preset mine of the settings: There is no option 'heat'.",
        "Options: seed, stop.",
    ),
    (
        InvalidOption("options_not_json", values={"why": "json_syntax", "what": "options", "line": 2, "column": 3}, param="options"),
        "options is not valid JSON at line 2, column 3.",
        'Send a JSON object such as {"temperature": 0.2}, or each option as a field of its own.',
    ),
    (
        InvalidJSON("json_values", values={"most": 50_000}),
        "The body has more than 50,000 values.",
        "Send UTF-8 JSON with finite numbers, without NUL characters, nested at most 64 deep, with at most 50,000 values.",
    ),
    (
        InvalidRequest("no_field", code="unknown_field", param="oops"),
        "There is no field 'oops'.",
        "See /docs for the fields this route takes.",
    ),
    (
        ContextLengthExceeded(
            "prompt_too_long",
            values={"n_prompt_tokens": 5000, "n_ctx": 4096, "room": 256, "ways": ("num_ctx", "new_session"), "num_ctx": 8192},
        ),
        "The prompt has 5000 tokens and 256 are reserved for the answer, but the model's context has only 4096.",
        "Try num_ctx 8192 (reloads the model), or a new session.",
    ),
    (
        ModelNotFound("model_not_found_named", values={"model": "x", "installed": ("llava:7b", "moondream")}),
        "No engine has the model 'x'.",
        "Installed with vision: llava:7b, moondream.",
    ),
    (
        ModelNotFound("model_not_found_named", values={"model": "x", "installed": ()}),
        "No engine has the model 'x'.",
        "GET /models lists the installed models. `ollama pull llava:7b` downloads a larger one.",
    ),
    (
        ModelNotFound("session_model_gone", values={"model": "x", "installed": ("llava:7b",)}),
        "x, which this session uses, is no longer available.",
        "Install it again, or name another model in the request. Installed with vision: llava:7b.",
    ),
    (
        ModelLacksVision("model_lacks_vision_named", values={"model": "x", "installed": ()}),
        "x can't see images.",
        "Download one with `ollama pull llava:7b`.",
    ),
    (
        UpstreamUnavailable("no_engine", values={"silent": ("ollama",), "blind": ("embedded",)}),
        "No engine can answer. Ollama does not answer. The embedded engine is running but has no model that can see.",
        "Start it (`ollama serve`), or run with --engine embedded.",
    ),
    (
        NotFound("piece_beyond", values={"count": 5}),
        "This image is sent as 5 files, pieces 0 to 4.",
        "GET /images/{id}/view shows what is sent.",
    ),
]
OTHER_CODES = (
    *("image_too_large", "image_too_small", "invalid_image_format", "empty_image_file", "too_many_images"),
    *("unknown_field", "method_not_allowed", "invalid_body"),
)
"""Codes of errors whose class has another code."""
QUICK = (
    *("tests/context", "tests/sessions/test_session.py", "tests/gateway/test_gateway.py", "tests/gateway/test_attachments.py"),
    *("tests/gateway/test_summary.py", "tests/images/test_anyres.py", "tests/images/test_auto.py", "tests/images/test_steps.py"),
    *("tests/api/test_ask.py", "tests/api/test_errors.py", "tests/api/test_images.py", "tests/api/test_view.py"),
    *("tests/api/test_read_ahead.py", "tests/cli/test_ask.py::test_a_phone_image_is_read_upright"),
)


def kinds(of: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    return [of, *(kind for below in of.__subclasses__() for kind in kinds(below))]


def reasons_in(path: Path) -> Iterator[str]:
    """Return the reasons that a module gives to errors."""
    names = {kind.__name__ for kind in kinds()} | {"ModelfileError", "GGUFError", "Says"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            yield from (value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str))


@pytest.mark.wording
@pytest.mark.parametrize(("fact", "text"), TEXTS, ids=lambda value: value.code if isinstance(value, Note) else "")
def test_a_fact_is_said_in_english(fact: Note, text: str) -> None:
    assert fact.text == text


@pytest.mark.wording
@pytest.mark.parametrize("code", SENTENCES)
def test_every_sentence_ends_and_speaks_of_images(code: str) -> None:
    text = sentence(code, {"reason": "model_not_loaded"})
    assert text.endswith(".")
    assert "picture" not in text


@pytest.mark.wording
@pytest.mark.parametrize(("error", "message", "hint"), FAULTS, ids=lambda value: value.reason if isinstance(value, GatewayError) else "")
def test_an_error_is_said_in_english(error: GatewayError, message: str, hint: str) -> None:
    assert (error.message, error.hint) == (message, hint)


@pytest.mark.wording
@pytest.mark.parametrize("reason", ERRORS)
def test_every_sentence_of_an_error_ends_and_speaks_of_images(reason: str) -> None:
    values: dict[str, Value] = {"why": "json_nul", "count": 2, "whole": 1, "low": 0, "high": 1, "ways": (), "known": ("a", "b")}
    for text in (said := GatewayError(reason, values=values)).message, said.hint:
        assert text == "?" or text.endswith((".", ")", '"'))
        assert "picture" not in text


@pytest.mark.wording
def test_what_to_do_about_a_charset_is_what_curl_takes() -> None:
    """`tests/api/test_charset.py` runs it."""
    assert "prompt=…;type=text/plain;charset=gbk" in InvalidEncoding().hint
    assert "chcp" not in InvalidEncoding().hint


@pytest.mark.wording
def test_what_is_missing_is_told_with_the_command_that_gets_it() -> None:
    assert "pip install 'llava-gateway[embedded]'" in UpstreamUnavailable("embedded_not_installed").hint


@pytest.mark.real
@pytest.mark.wording
def test_the_suite_passes_whatever_the_sentences_say() -> None:
    """Runs a quick part of the suite that goes through every layer; `make sentences` runs all of it."""
    command = (sys.executable, "-m", "pytest", "--other-words", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *QUICK)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_every_code_has_a_sentence_and_every_sentence_a_use() -> None:
    written = {code for path in (ROOT / "src/llava_gateway").rglob("*.py") for code in codes_in(path)}
    assert written | CHOSEN_WHERE_IT_HAPPENS == set(SENTENCES)


def test_every_reason_has_a_sentence_and_every_sentence_a_use() -> None:
    """Each string constant in the code that equals a reason counts as a use of it: many are chosen before they are raised."""
    sources = [path for path in (ROOT / "src/llava_gateway").rglob("*.py") if not path.name.endswith("_sentences.py")]
    texts = {text for path in sources for text in texts_in(path)}
    meanings = {f"unknown_{what}_{meaning}" for what in ("field", "option") for meaning in set(MEANINGS.values())}
    assert set(ERRORS) - texts - meanings == set()
    assert {reason for path in sources for reason in reasons_in(path)} | meanings <= set(ERRORS)


@pytest.mark.parametrize("code", sorted({error.code for error in kinds()} | set(OTHER_CODES)))
def test_what_a_code_means_needs_no_values(code: str) -> None:
    message, _ = ERRORS[code]
    assert isinstance(message, str)
    assert placeholders(message) == []


def test_an_error_carries_its_reason_and_values_to_the_client() -> None:
    error = ModelNotFound("model_not_found_named", values={"model": "x", "installed": ("a",)}, param="model")
    body = json.loads(json.dumps(error_body(error, "req_1")))["error"]
    assert (body["code"], body["reason"]) == ("model_not_found", "model_not_found_named")
    assert body["values"] == {"model": "x", "installed": ["a"]}
    assert (body["message"], body["hint"]) == (error.message, error.hint)


def test_an_error_of_another_class_keeps_its_reason() -> None:
    error = InvalidOption.of(InvalidJSON("json_syntax", values={"what": "options", "line": 1}), "options")
    assert (type(error), error.code, error.reason, error.param) == (InvalidOption, "invalid_option", "json_syntax", "options")
    assert error.values == {"what": "options", "line": 1}


def test_a_code_without_a_sentence_is_said_as_it_stands() -> None:
    """For example in an exported session of a newer gateway."""
    assert note("of_a_newer_gateway", count=3).text == "of_a_newer_gateway"


@pytest.mark.parametrize("value", [None, "model_reload", ("a", "b"), 2**53, -0.5], ids=str)
def test_values_that_are_missing_or_odd_break_no_sentence(value: Value | None) -> None:
    """For example in an exported session that a user has edited."""
    names = {name for template in SENTENCES.values() if isinstance(template, str) for name in placeholders(template)}
    names |= {"turns", "images", "summarised", "reason", "last_load_ms", "old", "new", "option", "engine", "version", "silent", "blind"}
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


def texts_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def codes_in(path: Path) -> Iterator[str]:
    """Return the codes that a module gives to `note`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "note":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
