from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from llava_gateway.engines.modelfile import ModelfileError, parse_modelfile
from llava_gateway.errors import InvalidModelName, ModelfileNamesFiles
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.cli.program import run
from tests.ollama_server import REPOSITORY, RealOllama
from tests.serving import served_in_thread

VERSION = f"llama.cpp b{metadata.version('xllamacpp').rpartition('.')[2]}"


def test_the_table_says_what_a_model_can_do_and_who_answers_by_default(demo_url: str) -> None:
    done = run("models", "--url", demo_url)
    assert done.code == 0
    head, row, default = done.out.splitlines()
    assert head.split() == ["name", "engine", "vision", "context", "loaded", "size", "memory"]
    assert row.split()[:5] == ["*", "demo", "embedded", "yes", "4096"]
    assert row.split()[6:] == ["5.1", "MB", "about", "32.9", "MB"]  # with its context and the prompt cache
    assert default.startswith("* ")


def test_list_is_what_models_alone_prints(demo_url: str) -> None:
    assert run("models", "list", "--url", demo_url).out == run("models", "--url", demo_url).out
    assert json.loads(run("models", "list", "--json", "--url", demo_url).out)["models"][0]["name"] == "demo"


def test_json_is_what_the_gateway_says(demo_url: str) -> None:
    found = json.loads(run("models", "--json", "--url", demo_url).out)
    assert [model["name"] for model in found["models"]] == ["demo"]
    assert found["default"]["model"] == "demo"


def test_without_a_server_the_engines_are_asked_all_the_same() -> None:
    done = run("models")
    assert "demo" in done.out
    assert note("default_only_one", engine="embedded", version=VERSION, model="demo", silent=("ollama",), blind=()).text in done.out


def test_a_model_is_made_in_a_real_ollama_from_a_modelfile_and_deleted(own_ollama: RealOllama, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text("FROM demo\nSYSTEM Answer in Chinese.\n")
    done = run("models", "create", "chinese", "-f", str(modelfile), OLLAMA_HOST=own_ollama.url)
    assert (done.code, done.out) == (0, 'chinese is there: llava-gateway ask photo.jpg "What is this?" --model chinese:latest\n'), done.err
    assert done.err.splitlines()[-1] == "success"
    names = [model["name"] for model in json.loads(run("models", "--json", OLLAMA_HOST=own_ollama.url).out)["models"]]
    assert "chinese:latest" in names
    gone = run("models", "delete", "chinese", OLLAMA_HOST=own_ollama.url)
    assert (gone.code, gone.out) == (0, "Deleted chinese.\n"), gone.err


def test_a_modelfile_may_name_files_beside_it(own_ollama: RealOllama) -> None:
    done = run("models", "create", "again", "-f", str(REPOSITORY / "Modelfiles" / "demo"), OLLAMA_HOST=own_ollama.url)
    assert done.code == 0, done.err
    assert "copying demo.gguf" in done.err


def test_a_model_no_registry_has_is_not_pulled(own_ollama: RealOllama, tmp_path: Path) -> None:
    done = run("models", "pull", "no such name", OLLAMA_HOST=own_ollama.url)
    assert done.code == 1
    assert InvalidModelName().hint in done.err


@pytest.mark.parametrize("command", [("delete", "llava:7b"), ("create", "x", "-f", str(REPOSITORY / "Modelfiles" / "demo"))])
def test_an_ollama_that_is_not_there_is_said(command: tuple[str, ...]) -> None:
    done = run("models", *command)
    assert done.code == 1
    assert done.err.splitlines()[-2:] == [
        "Error: Ollama does not answer.",
        "Hint: Install it from https://ollama.com/download, or start it with `ollama serve`.",
    ]


@pytest.mark.parametrize("text", ["FRUM x", ""])
def test_a_wrong_modelfile_is_said_with_its_line(text: str, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(text)
    done = run("models", "create", "x", "-f", str(modelfile))
    assert done.code == 2
    with pytest.raises(ModelfileError) as wrong:
        parse_modelfile(text)
    assert f"Modelfile: {wrong.value}\n" in done.err
    assert run("models", "create", "x", "-f", "nowhere").code == 2


def test_with_an_address_the_ollama_of_that_gateway_is_meant(own_ollama: RealOllama, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text("FROM demo\nSYSTEM Answer in Chinese.\n")
    with served_in_thread(Settings(port=0, engine="ollama", ollama_host=own_ollama.url)) as url:
        done = run("models", "--url", url, "create", "there", "-f", str(modelfile))
        assert (done.code, done.out.endswith(f" --model there:latest --url {url}\n")) == (0, True), done.err
        assert done.err.splitlines()[-1] == "success"
        refused = run("models", "create", "there", "--url", url, "-f", str(REPOSITORY / "Modelfiles" / "demo"))
        assert (refused.code, ModelfileNamesFiles().hint in refused.err) == (1, True)
        assert InvalidModelName().hint in run("models", "pull", "--url", url, "no such name").err
        assert "there:latest" in run("models", "--url", url).out
        gone = run("models", "delete", "there", "--url", url)
        assert (gone.code, gone.out) == (0, "Deleted there.\n"), gone.err
        assert "there:latest" not in run("models", "--url", url).out


@pytest.mark.parametrize(
    "command",
    [("models", "delete", "demo"), ("models", "pull", "demo"), ("models", "create", "x", "-f", str(REPOSITORY / "Modelfiles" / "demo"))],
)
@pytest.mark.parametrize("place", [1, 2])
def test_an_address_counts_wherever_it_stands_and_before_that_of_the_environment(
    command: tuple[str, ...], place: int, real_ollama: RealOllama, demo_url: str
) -> None:
    """The Ollama in the settings is not changed if another gateway is named."""
    arguments = [*command[:place], "--url", "http://127.0.0.1:9", *command[place:]]
    done = run(*arguments, OLLAMA_HOST=real_ollama.url, LLAVA_GATEWAY_URL=demo_url)
    assert (done.code, "Error: No gateway answers at http://127.0.0.1:9." in done.err) == (1, True), done.err


def test_a_flag_of_the_group_that_the_command_does_not_take_is_refused() -> None:
    done = run("models", "--json", "delete", "demo")
    assert (done.code, "No such option: --json" in done.err) == (2, True)
