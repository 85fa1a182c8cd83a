from __future__ import annotations

import json
from typing import Any

import pytest

from llava_gateway.cli.checks import KNOWN_FAULTS, check_default, check_engine, check_listening, known_faults
from llava_gateway.engines.base import Health, ModelInfo
from llava_gateway.engines.pool import Default, EngineState, PoolState
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.cli.program import LIMIT, run
from tests.ollama_server import RealOllama
from tests.synthetic_llava import SyntheticPair

LLAVA = ModelInfo("llava:7b", "ollama", vision=True)
BLIND = ModelInfo("llama3", "ollama", vision=False)


def checks(*arguments: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run("doctor", "--json", *arguments, stdin=b"", limit=LIMIT, **variables)
    report = json.loads(done.out)
    assert report["ok"] == (done.code == 0)
    return done.code, {check["name"]: check for check in report["checks"]}


def test_the_embedded_engine_is_examined() -> None:
    code, found = checks()
    assert code == 0
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"):
        assert found[f"decoder {kind}"]["status"] == "ok"
    assert found["ollama"]["status"] == "warn"
    assert "ollama serve" in found["ollama"]["advice"]
    assert found["embedded"]["detail"].startswith("The embedded engine llama.cpp b")
    assert found["model"]["status"] == "warn"
    assert found["sight"] == {"name": "sight", "status": "ok", "detail": "demo distinguishes a red circle from a blue one.", "advice": ""}
    assert found["EXIF orientation"]["detail"].startswith("the engine alone ignores it")
    assert found["shrinking"]["detail"] == "the engine antialiases: it sees a fine checkerboard as gray."


def test_a_real_ollama_is_examined(real_ollama: RealOllama) -> None:
    code, found = checks("--engine", "ollama", OLLAMA_HOST=real_ollama.url, LLAVA_GATEWAY_MODEL="demo")
    assert code == 0
    assert "demo:latest" in found["ollama"]["detail"]
    assert found["model"]["status"] == "ok"
    assert found["sight"]["status"] == "ok"
    assert found["EXIF orientation"]["detail"].startswith("the engine alone ignores it")
    assert found["shrinking"]["detail"].startswith("the engine antialiases")


def test_a_model_that_makes_nothing_of_images_fails(endless_pair: SyntheticPair) -> None:
    code, found = checks("--gguf", str(endless_pair.gguf), "--mmproj", str(endless_pair.mmproj))
    assert code == 1
    assert found["sight"]["status"] == "fail"
    assert "does not see images" in found["sight"]["advice"]
    assert found["EXIF orientation"]["detail"].startswith("unknown")


def test_an_engine_that_was_chosen_and_is_not_there_fails() -> None:
    done = run("doctor", "--engine", "ollama")
    assert done.code == 1
    lines = done.out.splitlines()
    assert "fail ollama: Ollama does not answer." in lines
    assert "     -> Install it from https://ollama.com/download and start it (`ollama serve`)." in lines
    assert any(line.startswith("fail model: ") for line in lines)
    assert not any("sight" in line for line in lines)


def test_the_model_is_not_asked_when_it_should_not_be() -> None:
    code, found = checks("--no-ask", "--engine", "embedded")
    assert code == 0
    assert "sight" not in found
    assert "ollama" not in found


def test_only_the_formats_of_the_settings_are_tried() -> None:
    _, found = checks("--no-ask", LLAVA_GATEWAY_IMAGE_FORMATS='["PNG"]')
    assert [name for name in found if name.startswith("decoder")] == ["decoder PNG"]


def test_whoever_listens_is_named(demo_url: str) -> None:
    check = check_listening(Settings(port=int(demo_url.rpartition(":")[2])))
    assert check.status == "ok"
    assert check.detail.endswith(f"answers at {demo_url}.")


def test_a_port_something_else_has_is_a_warning(real_ollama: RealOllama) -> None:
    check = check_listening(Settings(port=int(real_ollama.url.rpartition(":")[2])))
    assert check.status == "warn"
    assert "is taken" in check.detail


@pytest.mark.parametrize(
    ("version", "families", "issues"),
    [
        ("0.1.33", ["llama"], ["4163"]),
        ("0.1.34", ["llama"], []),
        ("0.13.2", ["llama"], []),
        ("0.13.3", ["llama"], ["13549"]),
        ("0.24.0", ["mllama"], ["13549"]),
        ("0.30.0-rc1", ["llama"], []),
        ("0.34.2", ["llama", "mllama"], ["16490"]),
        ("", ["llama"], []),
    ],
)
def test_what_is_known_of_a_version_is_told(version: str, families: list[str], issues: list[str]) -> None:
    models = tuple(ModelInfo(family, "ollama", vision=True, family=family) for family in families)
    state = PoolState((EngineState("ollama", Health(True, version), models),), Default(models[0], note("default_unknown")))
    told = known_faults(state)
    assert [fault.what for fault in KNOWN_FAULTS if any(issue in fault.what for issue in issues)] == [
        check.detail.partition(": ")[2] for check in told
    ]
    assert all(check.status == "warn" for check in told)


def test_an_engine_without_a_model_that_sees_is_told_how_to_get_one() -> None:
    check = check_engine(EngineState("ollama", Health(True, "0.34.2"), (BLIND,)), chosen=False)
    assert (check.status, check.detail) == ("warn", "Ollama 0.34.2 has no model that can see.")
    assert "ollama pull llava:7b" in check.advice
    assert check_engine(EngineState("ollama", Health(True), (BLIND,)), chosen=True).status == "fail"


def test_the_default_model_should_see() -> None:
    assert check_default(Settings(), PoolState((), Default(LLAVA, note("default_unknown")))).status == "ok"
    assert check_default(Settings(), PoolState((), Default(BLIND, note("default_unknown")))).status == "warn"
    assert check_default(Settings(), PoolState((), Default(None, note("default_unknown")))).status == "fail"
