"""Models come and go in a real Ollama, from files of this machine and from a registry on loopback."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llava_gateway.engines.modelfile import ModelfileError, parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_library import OllamaLibrary
from llava_gateway.errors import InvalidRequest, ModelNotFound, UpstreamError, UpstreamUnavailable
from llava_gateway.settings import Settings
from tests.engines.fake_upstream import Exchange, fake_upstream
from tests.engines.test_upstream import free_port
from tests.ollama_server import RealOllama
from tests.real_ollama.registry import Registry
from tests.synthetic_llava import UNHURRIED, write_pair

DEMO_FILES = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"


@pytest.fixture
async def library(real_ollama: RealOllama) -> AsyncIterator[OllamaLibrary]:
    library = OllamaLibrary(real_ollama.url)
    yield library
    await library.aclose()


@pytest.fixture
def registry(real_ollama: RealOllama) -> Iterator[str]:
    """HOST:PORT of a registry that has the demo model."""
    with Registry(real_ollama.models) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def names(server: RealOllama) -> set[str]:
    engine = OllamaEngine(Settings(ollama_host=server.url))
    try:
        return {model.name for model in await engine.models()}
    finally:
        await engine.aclose()


async def test_create_with_everything_a_modelfile_can_say_and_delete(library: OllamaLibrary, real_ollama: RealOllama) -> None:
    recipe = """
        FROM ./demo.gguf
        FROM demo-mmproj.gguf
        TEMPLATE "{{ range .Messages }}{{ .Content }}{{ end }}"
        SYSTEM Be brief.
        PARAMETER min_p 0.1
        PARAMETER stop A
        PARAMETER stop B
        MESSAGE user Hello
        LICENSE MIT
    """
    steps = [step async for step in library.create("made", parse_modelfile(recipe), DEMO_FILES)]
    assert [step.status for step in steps][:2] == ["copying demo.gguf", "copying demo-mmproj.gguf"]
    assert steps[0].total == (DEMO_FILES / "demo.gguf").stat().st_size
    assert steps[-1].status == "success"
    assert "made:latest" in await names(real_ollama)
    await library.delete("made")
    assert "made:latest" not in await names(real_ollama)


async def test_a_large_file_that_is_there_already_is_not_sent_again(library: OllamaLibrary, tmp_path: Path) -> None:
    pair = write_pair(tmp_path, inner=UNHURRIED)  # 25 MB: more than the sockets between us take in
    for name in ("large", "large-again"):
        steps = [step.status async for step in library.create(name, parse_modelfile(f"FROM {pair.gguf.name}"), tmp_path)]
        assert steps[-1] == "success"
    for name in ("large", "large-again"):
        await library.delete(name)


async def test_create_from_a_model_that_is_there(library: OllamaLibrary, real_ollama: RealOllama, tmp_path: Path) -> None:
    steps = [step.status async for step in library.create("child", parse_modelfile("FROM demo\nSYSTEM Be brief."), tmp_path)]
    assert steps[-1] == "success"
    await library.delete("child")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [("FROM demo.gguf\nFROM nowhere.gguf", "nowhere.gguf"), ("FROM demo.gguf\nADAPTER lora.gguf", "lora.gguf"), ("FROM a\nFROM b", "a, b")],
)
async def test_files_that_are_not_there_are_named(library: OllamaLibrary, recipe: str, says: str) -> None:
    with pytest.raises(ModelfileError, match=says):
        [step async for step in library.create("made", parse_modelfile(recipe), DEMO_FILES)]


async def test_pull_tells_how_far_it_is(library: OllamaLibrary, real_ollama: RealOllama, registry: str) -> None:
    name = f"{registry}/library/demo"
    steps = [step async for step in library.pull(name, insecure=True)]
    assert steps[0].status == "pulling manifest"
    assert steps[-1].status == "success"
    assert {step.total for step in steps if step.completed == step.total} >= {(DEMO_FILES / "demo.gguf").stat().st_size}
    assert f"{name}:latest" in await names(real_ollama)
    await library.delete(name)


async def test_what_is_not_there(library: OllamaLibrary, registry: str) -> None:
    with pytest.raises(ModelNotFound):
        await library.delete("no-such-model")
    with pytest.raises(ModelNotFound):
        [step async for step in library.pull(f"{registry}/library/no-such-model", insecure=True)]
    with pytest.raises(InvalidRequest):
        [step async for step in library.pull("a b//c")]


async def test_nobody_there() -> None:
    library = OllamaLibrary(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UpstreamUnavailable):
        await library.delete("demo")
    await library.aclose()


async def failing(exchange: Exchange) -> None:
    await exchange.reply(500, {"error": "open /usr/share/ollama/blobs: permission denied"})


async def failing_later(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.line({"status": "pulling manifest"})
    await exchange.line({"error": "open /usr/share/ollama/blobs: permission denied"})
    await exchange.end()


async def cut(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.line({"status": "pulling manifest"})


async def no_json(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.chunk(b"<html>\n")
    await exchange.end()


@pytest.mark.parametrize(
    ("fault", "code"),
    [(failing, "upstream_error"), (failing_later, "upstream_error"), (cut, "upstream_disconnected"), (no_json, "upstream_protocol_error")],
)
async def test_faults(fault: object, code: str) -> None:
    async with fake_upstream(fault) as fake:  # type: ignore[arg-type]
        library = OllamaLibrary(fake.url)
        with pytest.raises(UpstreamError) as caught:
            [step async for step in library.pull("demo")]
        await library.aclose()
    assert caught.value.code == code
    assert "/usr" not in caught.value.message
