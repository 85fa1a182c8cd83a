"""The Modelfiles of Modelfiles/ explain their use, parse, and create a model in the real Ollama."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import httpx2
import pytest

from llava_gateway.built_in import built_in_presets
from llava_gateway.engines.modelfile import Modelfile, parse_modelfile
from llava_gateway.engines.ollama_library import OllamaLibrary
from tests.ollama_server import RealOllama

FOLDER = Path(__file__).parents[1] / "Modelfiles"
SIZES = ("7b", "13b", "34b")
USES = ("factual", "ocr")
LLAVA = [f"llava-{size}-{use}" for size in SIZES for use in USES]


def parsed(name: str) -> Modelfile:
    return parse_modelfile((FOLDER / name).read_text("utf-8"))


def test_there_is_one_for_each_size_and_use_and_the_demo_model() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*LLAVA, "demo"}


@pytest.mark.parametrize("name", [*LLAVA, "demo"])
def test_the_head_tells_how_to_create_it(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    assert f"ollama create {name} -f {name}\n" in text.partition("FROM")[0]


@pytest.mark.parametrize("name", LLAVA)
def test_it_builds_on_the_size_in_its_name(name: str) -> None:
    modelfile = parsed(name)
    assert modelfile.sources == (f"llava:{name.split('-')[1]}",)
    assert modelfile.system
    assert modelfile.parameters["num_ctx"] in (4096, 8192)


@pytest.mark.parametrize("size", SIZES)
def test_factual_samples_as_the_preset_does(size: str) -> None:
    preset = {key: value for key, value in built_in_presets()["factual"].items() if key != "about"}
    parameters = dict(parsed(f"llava-{size}-factual").parameters)
    del parameters["num_ctx"]
    assert parameters == preset


@pytest.mark.parametrize("size", SIZES)
def test_ocr_leaves_nothing_to_chance(size: str) -> None:
    parameters = parsed(f"llava-{size}-ocr").parameters
    assert (parameters["temperature"], parameters["repeat_penalty"]) == (0, 1)


def test_the_demo_model_comes_from_the_files_that_ship() -> None:
    for source in parsed("demo").sources:
        assert (FOLDER / source).resolve().parent == (FOLDER.parent / "src" / "llava_gateway" / "demo").resolve()
        assert (FOLDER / source).is_file()


@pytest.mark.parametrize("name", LLAVA)
async def test_the_real_ollama_makes_the_model(name: str, real_ollama: RealOllama, tmp_path: Path) -> None:
    modelfile = dataclasses.replace(parsed(name), sources=("demo",))
    library = OllamaLibrary(real_ollama.url)
    try:
        steps = [step.status async for step in library.create(name, modelfile, tmp_path)]
        async with httpx2.AsyncClient(base_url=real_ollama.url) as client:
            shown = (await client.post("/api/show", json={"model": name})).json()
        await library.delete(name)
    finally:
        await library.aclose()
    assert steps[-1] == "success"
    assert shown["system"] == modelfile.system
    assert "vision" in shown["capabilities"]
    lines = dict(line.split(maxsplit=1) for line in shown["parameters"].splitlines())
    assert {key: float(lines[key]) for key in modelfile.parameters} == modelfile.parameters
