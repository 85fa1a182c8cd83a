"""Installing and deleting models in a real Ollama, from files of this machine and from a registry on loopback."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.engines import ollama_library
from llava_gateway.engines.modelfile import ModelfileError, parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_library import OllamaLibrary, without_files
from llava_gateway.errors import (
    CloudModelRefused,
    DownloadDamaged,
    GatewayError,
    InvalidModelfile,
    InvalidModelName,
    ModelfileNamesFiles,
    ModelNotFound,
    RegistryUnavailable,
    UpstreamError,
    UpstreamUnavailable,
)
from llava_gateway.settings import Settings
from tests.engines.fake_upstream import Exchange, Script, fake_upstream
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
def registry(real_ollama: RealOllama) -> Iterator[Registry]:
    """Serve a registry that has the demo model."""
    with Registry(real_ollama.models).serving() as registry:
        yield registry


@pytest.fixture
async def bare(ollama_binary: Path, tmp_path: Path) -> AsyncIterator[OllamaLibrary]:
    """Open the library of an Ollama without models."""
    server = RealOllama.start(ollama_binary, tmp_path)
    library = OllamaLibrary(server.url)
    yield library
    await library.aclose()
    server.stop()


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
    pair = write_pair(tmp_path, inner=UNHURRIED)  # 25 MB, more than the socket buffers hold
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
    ("recipe", "named"),
    [
        ("FROM demo.gguf\nFROM nowhere.gguf", {"files": ("nowhere.gguf",)}),
        ("FROM demo.gguf\nADAPTER lora.gguf", {"file": "lora.gguf"}),
        ("FROM a\nFROM b", {"files": ("a", "b")}),
    ],
)
async def test_files_that_are_not_there_are_named(library: OllamaLibrary, recipe: str, named: dict[str, Any]) -> None:
    with pytest.raises(ModelfileError) as refused:
        [step async for step in library.create("made", parse_modelfile(recipe), DEMO_FILES)]
    assert refused.value.values == named


async def test_pull_tells_how_far_it_is(bare: OllamaLibrary, registry: Registry) -> None:
    registry.pause_at = 1_000_000  # Ollama does not report a file that arrives within 60 ms
    steps = []
    async for step in bare.pull(registry.demo):
        steps.append(step)
        if step.completed == registry.pause_at:
            registry.go_on.set()
    assert [step.step for step in steps][:2] == ["manifest", "download"]
    assert [step.step for step in steps][-3:] == ["verify", "write", "success"]
    assert steps[1].total in {(DEMO_FILES / name).stat().st_size for name in ("demo.gguf", "demo-mmproj.gguf")}
    assert steps[1].digest
    await bare.delete(registry.demo)


async def test_a_pull_goes_on_where_it_was_stopped(bare: OllamaLibrary, registry: Registry) -> None:
    registry.pause_at = 1_000_000
    async with aclosing(bare.pull(registry.demo)) as steps:
        async for step in steps:
            if step.completed == registry.pause_at:
                break
    registry.pause_at = 500_000
    async for step in bare.pull(registry.demo):
        if step.completed == 1_500_000:
            registry.go_on.set()
    assert registry.go_on.is_set()
    first, second, *_ = registry.ranges
    assert (first[0], second[0], first[1]) == (0, 1_000_000, second[1])
    assert step.step == "success"


async def test_a_file_that_was_damaged_on_its_way_is_not_kept(bare: OllamaLibrary, registry: Registry) -> None:
    registry.damaged = True
    with pytest.raises(DownloadDamaged):
        [step async for step in bare.pull(registry.demo)]
    registry.damaged = False
    assert [step async for step in bare.pull(registry.demo)][-1].step == "success"


async def test_what_is_not_there(library: OllamaLibrary, registry: Registry) -> None:
    with pytest.raises(ModelNotFound):
        await library.delete("no-such-model")
    with pytest.raises(ModelNotFound):
        [step async for step in library.pull(f"127.0.0.1:{registry.server_port}/library/no-such-model")]
    with pytest.raises(InvalidModelName):
        [step async for step in library.pull("a b//c")]
    with pytest.raises(RegistryUnavailable):
        [step async for step in library.pull(f"127.0.0.1:{free_port()}/library/demo")]


async def test_a_template_ollama_can_not_read(library: OllamaLibrary) -> None:
    with pytest.raises(InvalidModelfile) as refused:
        [step async for step in library.create("made", parse_modelfile("FROM demo\nTEMPLATE {{ .Broken"), None)]
    assert refused.value.reason == "modelfile_template"


@pytest.mark.parametrize(
    "recipe",
    ["FROM ./demo.gguf", "FROM /etc/passwd", "FROM ~/x", "FROM C:\\x", "FROM demo.gguf", "FROM demo.GGUF", "FROM ..",
     "FROM demo\nFROM other", "FROM demo\nADAPTER lora.gguf", "FROM http://127.0.0.1/a/b", 'FROM """a\nb"""'],
)  # fmt: skip
def test_what_a_client_sends_can_not_name_files(recipe: str) -> None:
    with pytest.raises(ModelfileNamesFiles):
        without_files(parse_modelfile(recipe))


def test_what_a_client_sends_can_not_lead_to_the_cloud() -> None:
    with pytest.raises(CloudModelRefused):
        without_files(parse_modelfile("FROM gpt-oss:20b-cloud"))


async def test_without_a_folder_a_model_is_made_and_no_file_is_looked_at(library: OllamaLibrary) -> None:
    steps = [step async for step in library.create("child", without_files(parse_modelfile("FROM demo\nSYSTEM Be brief.")), None)]
    assert (steps[0].step, steps[-1].step) == ("build", "success")
    await library.delete("child")


async def test_nobody_there() -> None:
    library = OllamaLibrary(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UpstreamUnavailable):
        await library.delete("demo")
    await library.aclose()


def says(words: str, status: int = 200) -> Script:
    """Return an Ollama whose downloads fail with these words: before the first step if the status is not 200, else in the middle."""

    async def script(exchange: Exchange) -> None:
        if status != 200:
            await exchange.reply(status, {"error": words})
            return
        await exchange.head()
        await exchange.line({"status": "pulling manifest"})
        await exchange.line({"error": words})
        await exchange.end()

    return script


async def cut(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.line({"status": "pulling manifest"})


async def no_json(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.chunk(b"<html>\n")
    await exchange.end()


NO_HOST = (
    'pull model manifest: Get "https://registry.ollama.ai/v2/library/llava/manifests/7b": dial tcp: lookup registry.ollama.ai: no such host'
)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (says("open /usr/share/ollama/blobs: permission denied", 500), "upstream_error"),
        (says("open /usr/share/ollama/blobs: permission denied"), "upstream_error"),
        (says("write /usr/share/ollama/blobs/sha256-1-partial: no space left on device"), "disk_full"),
        (says("write C:\\blobs: There is not enough space on the disk."), "disk_full"),
        (says(NO_HOST), "registry_unavailable"),
        (says('max retries exceeded: Get "https://cdn/x": EOF'), "registry_unavailable"),
        (says("pull model manifest: 502: <html>"), "registry_unavailable"),
        (says("pull model manifest: 401: {}"), "model_not_found"),
        (says("pull model manifest: file does not exist"), "model_not_found"),
        (says("pull model manifest: 412: \n\nThe model you are pulling requires a newer version of Ollama."), "ollama_outdated"),
        (says("digest mismatch, file must be downloaded again: want sha256:1, got sha256:2"), "download_damaged"),
        (cut, "upstream_disconnected"),
        (no_json, "upstream_protocol_error"),
    ],
)
async def test_faults(fault: Script, code: str) -> None:
    async with fake_upstream(fault) as fake:
        library = OllamaLibrary(fake.url)
        with pytest.raises(GatewayError) as caught:
            [step async for step in library.pull("demo")]
        await library.aclose()
    assert caught.value.code == code
    assert "/usr" not in caught.value.message


async def test_a_pull_waits_for_the_end_of_the_one_that_was_stopped_before_it() -> None:
    calls = 0

    async def stopping_twice(exchange: Exchange) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            await says("context canceled")(exchange)
            return
        await exchange.head()
        await exchange.line({"status": "success"})
        await exchange.end()

    async with fake_upstream(stopping_twice) as fake:
        library = OllamaLibrary(fake.url)
        assert [step.step async for step in library.pull("demo")] == ["manifest", "manifest", "success"]
        await library.aclose()
    assert calls == 3


async def test_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    await OllamaLibrary("http://127.0.0.1:9").aclose()

    def read_again(*_: object, **__: object) -> None:
        raise AssertionError("everybody waits 30 ms for that")

    monkeypatch.setattr(ssl, "create_default_context", read_again)
    await OllamaLibrary("http://127.0.0.1:9").aclose()


async def test_a_pull_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama_library, "STOPPING_PAUSES", (0.001,))
    async with fake_upstream(says("context canceled")) as fake:
        library = OllamaLibrary(fake.url)
        with pytest.raises(UpstreamError) as caught:
            [step async for step in library.pull("demo")]
        await library.aclose()
    assert (caught.value.retryable, len(fake.requests)) == (True, 2)
