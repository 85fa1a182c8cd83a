"""Errors and warnings in the words of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.api.errors import error_body
from llava_gateway.cli.messages import failure_from_body, failure_from_error, warning_text
from llava_gateway.error_sentences import ERRORS, hint_of
from llava_gateway.errors import ContextLengthExceeded, GatewayError, InvalidOption, InvalidRequest, ModelLacksVision, ModelNotFound
from llava_gateway.notes import SENTENCES, Value, note
from tests.cli.program import run

OF_PROGRAMS = re.compile(
    r"\b(?:GET|POST|PATCH|DELETE|PUT) /"
    r"|curl|image_id|/docs\b|(?<!base64 )-[FHd] |\b[Ii]n JSON\b|\boptions\.|Retry-After|Content-Type|`tools`"
)
VALUES: dict[str, Value] = {
    "why": "json_nul",
    "count": 2,
    "whole": 1,
    "low": 0,
    "high": 1,
    "ways": (),
    "known": ("a",),
    "fields": ("region",),
    "field": "--region",
    "option": "top_k",
}


def kinds(of: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    return [of, *(kind for below in of.__subclasses__() for kind in kinds(below))]


def message_and_hint(error: GatewayError) -> tuple[str, str]:
    failure = failure_from_body(error_body(error, "req_1"))
    return failure.message, failure.hint


@pytest.mark.parametrize("reason", ERRORS)
def test_no_hint_speaks_of_routes_or_fields(reason: str) -> None:
    for error in (GatewayError(reason, values=VALUES), InvalidRequest(reason, values=VALUES)):
        message, hint = message_and_hint(error)
        assert message
        assert not OF_PROGRAMS.search(hint), hint


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: str(kind.code))
def test_every_kind_of_error_says_what_to_do(kind: type[GatewayError]) -> None:
    _, hint = message_and_hint(kind())
    assert hint
    assert not OF_PROGRAMS.search(hint), hint


@pytest.mark.parametrize("code", SENTENCES)
def test_no_warning_speaks_of_routes(code: str) -> None:
    fact = note(code, **VALUES)
    text = warning_text({"code": code, "message": fact.text, "values": fact.to_json()["values"]})
    assert text
    assert not OF_PROGRAMS.search(text), text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidOption("num_predict_zero", param="options.num_predict"), "--num-predict"),
        (InvalidRequest("text_too_long", values={"count": 9, "most": 8}, param="prompt"), "The question"),
        (InvalidRequest("size_wrong", param="images[0].image_size"), "--image-size"),
        (ContextLengthExceeded("prompt_too_long", values={"ways": ("num_ctx",), "num_ctx": 8192}), "--num-ctx 8192"),
        (ModelNotFound("model_not_found_named", values={"model": "x", "installed": ()}), "`llava-gateway models`"),
        (ModelLacksVision("model_lacks_vision_named", values={"model": "x", "installed": ("llava:7b",)}), "llava:7b"),
    ],
    ids=lambda value: value.reason if isinstance(value, GatewayError) else "",
)
def test_fields_are_flags(error: GatewayError, said: str) -> None:
    assert said in " ".join(message_and_hint(error))
    if error.param is None:
        assert (failure := failure_from_error(error)).message
        assert said in f"{failure.message} {failure.hint}"


def test_an_error_of_a_newer_gateway_is_shown_as_it_came() -> None:
    error: dict[str, Any] = {"code": "new", "reason": "newer", "message": "It is new.", "hint": "Wait.", "values": {}, "param": None}
    failure = failure_from_body({"error": error})
    assert (failure.message, failure.hint) == ("It is new.", "Wait.")
    assert warning_text({"code": "new", "message": "It is new.", "values": {}}) == "It is new."


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--region", "0.5,0"), "--region must be four numbers"),
        (("--image-size", "10"), "--image-size must be two whole numbers"),
        (("--model", "nope"), hint_of("model_not_found_named", {"installed": ("demo",)})),
        (("--keep-alive", "soon"), "--keep-alive must be"),
    ],
    ids=" ".join,
)
@pytest.mark.wording
def test_a_wrong_flag_is_told_as_the_flag(flags: tuple[str, ...], said: str, demo_url: str, red_circle: Path) -> None:
    done = run("ask", str(red_circle), "What is this?", *flags, "--url", demo_url)
    assert done.code == 1
    assert said in done.err
    assert not OF_PROGRAMS.search(done.err)
