"""Tests of the lists of models: every engine's, as Ollama describes its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
import pytest

from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.upstream import FROM_US
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.reverse_proxies import free_port
from tests.scripted_engine import ScriptedEngine
from tests.serving import serving

NOWHERE = "127.0.0.1:1"
"""An address where no Ollama answers, so that the scripted engine's own facts are shown."""
LOADED = ModelInfo(
    "llava:7b",
    "ollama",
    vision=True,
    context_length=4096,
    loaded=True,
    loaded_context=2048,
    size_bytes=4_000,
    memory_bytes=5_000,
    gpu_bytes=3_000,
    family="llama",
    parameters="7B",
    quantization="Q4_0",
    tools=True,
    modified=1_700_000_000.5,
)


def engine(*models: ModelInfo, name: Any = "ollama") -> ScriptedEngine:
    found = ScriptedEngine(name=name)
    found.installed = models
    return found


async def test_tags_list_the_models_of_every_engine(serve: Serve) -> None:
    texts = replace(LOADED, name="vectors", engine="openai", vision=False, tools=False, embeds=True, loaded=False, modified=None)
    served = await serve(engine(LOADED), engine(texts, name="openai"), ollama_host=NOWHERE)
    first, second = (await served.client.get("/api/tags")).json()["models"]
    assert list(first) == ["name", "model", "modified_at", "size", "digest", "details", "capabilities"]
    assert (first["name"], first["model"], first["size"], first["modified_at"]) == ("llava:7b", "llava:7b", 4000, "2023-11-14T22:13:20.5Z")
    assert first["details"] == {
        "parent_model": "",
        "format": "",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "7B",
        "quantization_level": "Q4_0",
        "context_length": 4096,
    }
    assert first["capabilities"] == ["completion", "vision", "tools"]
    assert (second["name"], second["capabilities"], second["modified_at"]) == ("vectors:latest", ["embedding"], "0001-01-01T00:00:00Z")


async def test_digests_are_distinct_and_stay(serve: Serve) -> None:
    models = [replace(LOADED, name=f"llava:{size}") for size in ("7b", "13b", "34b")]
    served = await serve(engine(*models), ollama_host=NOWHERE)
    first, again = [[row["digest"] for row in (await served.client.get("/api/tags")).json()["models"]] for _ in range(2)]
    assert first == again
    assert len(set(first)) == 3
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in first)


async def test_a_name_means_the_same_model_everywhere(serve: Serve) -> None:
    ollama, other = engine(replace(LOADED, name="demo:latest")), engine(replace(LOADED, name="demo", engine="openai"), name="openai")
    served = await serve(ollama, other, ollama_host=NOWHERE)
    assert [row["name"] for row in (await served.client.get("/api/tags")).json()["models"]] == ["demo:latest"]
    body = {"model": "demo", "prompt": "Hi", "stream": False}
    assert (await served.client.post("/api/generate", json=body)).json()["model"] == "demo"
    assert (len(ollama.requests), len(other.requests)) == (1, 0)


async def test_ps_lists_loaded_models(serve: Serve) -> None:
    served = await serve(engine(LOADED, replace(LOADED, name="other", loaded=False)), ollama_host=NOWHERE)
    (row,) = (await served.client.get("/api/ps")).json()["models"]
    assert list(row) == ["name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"]
    assert (row["name"], row["size"], row["size_vram"], row["context_length"]) == ("llava:7b", 5000, 3000, 2048)


async def test_show_describes_a_model_of_another_engine(serve: Serve) -> None:
    served = await serve(engine(replace(LOADED, engine="openai"), name="openai"))
    for body in ({"model": "llava:7b"}, {"model": "", "name": "LLaVA:7b", "verbose": True, "options": None}):
        shown = (await served.client.post("/api/show", json=body)).json()
        assert list(shown) == ["modelfile", "details", "model_info", "capabilities", "modified_at"]
        assert shown["model_info"] == {"general.architecture": "llama", "llama.context_length": 4096}


@pytest.mark.parametrize(("name", "status"), [("nope", 404), ("", 400), ("llava:cloud", 404)])
async def test_show_of_no_model(serve: Serve, name: str, status: int) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/api/show", json={"model": name})
    assert response.status_code == status
    assert response.json()["error"] == (f"model '{name}' not found" if name else "model is required")


async def test_the_version_is_one_that_clients_accept(serve: Serve) -> None:
    served = await serve(ScriptedEngine(name="openai"))
    assert (await served.client.get("/api/version")).json() == {"version": "0.34.2"}
    with_ollama = await serve(ScriptedEngine())
    assert (await with_ollama.client.get("/api/version")).json() == {"version": "1.0"}  # what that engine says of itself


def test_the_root_says_that_ollama_runs_but_browsers_get_the_page(demo: httpx2.Client) -> None:
    assert demo.head("/").status_code == 200
    root = demo.get("/")
    assert (root.text, root.headers["content-type"]) == ("Ollama is running", "text/plain; charset=utf-8")
    page = demo.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert "<html" in page.text
    assert page.headers["vary"] == root.headers["vary"] == "Accept"


def test_head_is_answered_where_ollama_answers_it(demo: httpx2.Client) -> None:
    assert [demo.head(path).status_code for path in ("/api/version", "/api/tags")] == [200, 200]


def test_the_embedded_model_is_listed_shown_and_unloaded(demo_url: str) -> None:
    with httpx2.Client(base_url=demo_url, timeout=60, trust_env=False) as client:
        (tag,) = client.get("/api/tags").json()["models"]
        assert (tag["name"], tag["capabilities"], tag["details"]["format"]) == ("demo:latest", ["completion", "vision"], "gguf")
        assert tag["modified_at"] > "2020"
        client.post("/api/chat", json={"model": "demo"})
        (loaded,) = client.get("/api/ps").json()["models"]
        assert loaded["digest"] == tag["digest"]
        client.post("/api/generate", json={"model": "demo", "keep_alive": 0})
        assert client.get("/api/ps").json() == {"models": []}
        assert client.post("/api/generate", json={"model": "demo", "prompt": "Hi", "stream": False}).json()["done"]


@pytest.mark.wording
async def test_a_gateway_that_is_its_own_ollama_notices_it(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with serving(Settings(port=port, engine="ollama", ollama_host=f"127.0.0.1:{port}", image_workers=1)) as served:
        assert (await served.client.get("/api/tags")).json() == {"models": []}
        assert (await served.client.get("/readyz")).status_code == 503
        assert (await served.client.get("/api/version", headers=FROM_US)).status_code == 403
    assert any("is that of the gateway itself" in record.message for record in caplog.records)
